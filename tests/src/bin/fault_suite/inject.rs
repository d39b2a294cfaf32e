//! Injects the faults of a volley, and undoes those that last for a while.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::{fs, time::Instant};

use prefork_tests::accepts::Stage;
use prefork_tests::proc;
use prefork_tests::signal::{Signal, try_send};
use socket2::SockRef;

use crate::commands::{self, Command as Order};
use crate::faults::{Attack, Fault, HoldEnd, Program};
use crate::fleet::{BOUND, Fleet, Site, make_executable};
use crate::invariants::Size;
use crate::journal::{Journal, Millis, now};
use crate::report::Tally;
use crate::wire::{self, Connection, Target};

/// How long a file that an upgrade cannot use stays.
const UPGRADE_TIME: Millis = 1200;

/// What ends a fault.
#[derive(Debug)]
pub(crate) enum Undo {
    Continue(u32),
    ReadLog,
    RestoreTables,
    LiftProcessLimit,
    RestoreProgram,
    /// The file itself: meanwhile another may have taken its place, while the fleet runs this one.
    MakeExecutable(File),
    Behave,
    Close(Vec<TcpStream>),
    EndHold(HoldEnd),
    Unfollow(Vec<UnixStream>),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Injector<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) site: &'a Site,
    pub(crate) target: &'a Target,
    pub(crate) journal: &'a Journal,
    pub(crate) tally: &'a mut Tally,
    pub(crate) size: &'a mut Size,
    undo: Vec<(Millis, Undo)>,
    /// Requests that attacked; their connections stay open until the end of the volley.
    attacks: Vec<Connection>,
    /// Commands that were sent in this volley.
    orders: Vec<Order>,
}

impl<'a> Injector<'a> {
    pub(crate) fn new(
        fleet: &'a mut Fleet,
        (site, target): (&'a Site, &'a Target),
        journal: &'a Journal,
        tally: &'a mut Tally,
        size: &'a mut Size,
    ) -> Self {
        Self {
            fleet,
            site,
            target,
            journal,
            tally,
            size,
            undo: Vec::new(),
            attacks: Vec::new(),
            orders: Vec::new(),
        }
    }

    /// Returns when every fault is undone, and every command answered.
    pub(crate) fn volley(&mut self, volley: &[(Millis, Fault)]) {
        let certain = volley.iter().filter(|(_, fault)| !leaves_sizes_alone(*fault)).count() <= 1;
        for (pause, fault) in volley {
            self.wait(now() + pause);
            self.journal.note(format!("fault: {fault:?}"));
            let done = self.inject(*fault, certain);
            self.tally.injected(&fault.name(), done);
        }
        while let Some(next) = self.undo.iter().map(|(at, _)| *at).min() {
            self.wait(next);
        }
        for order in std::mem::take(&mut self.orders) {
            match order.end() {
                Ok(answer) => self.journal.note(answer),
                Err(problem) => self.journal.violation(problem),
            }
        }
    }

    fn order(&mut self, target: &str) -> bool {
        self.fleet.upgrades |= target == "/upgrade";
        let order = Order::send(&self.site.control(), target);
        let is_sent = order.is_some();
        self.orders.extend(order);
        is_sent
    }

    /// Waits, and undoes what is due meanwhile.
    fn wait(&mut self, until: Millis) {
        loop {
            let at = now();
            let due = self.undo.iter().position(|(time, _)| *time <= at);
            match due.map(|due| self.undo.swap_remove(due).1) {
                Some(undo) => self.undo(undo),
                None if at >= until => return,
                None => {
                    self.fleet.children();
                    note_deaths(self.journal);
                    thread::sleep(Duration::from_millis((until - at).min(10)));
                }
            }
        }
    }

    pub(crate) fn later(&mut self, delay: Millis, undo: Undo) {
        self.undo.push((now() + delay, undo));
    }

    /// Returns whether the fault could be injected.
    fn inject(&mut self, fault: Fault, certain: bool) -> bool {
        let master = self.fleet.master();
        match fault {
            Fault::KillChild(number) => return self.child(number).is_some_and(|child| self.kill(child)),
            Fault::KillAllChildren => self.fleet.children().into_iter().for_each(|child| {
                self.kill(child);
            }),
            Fault::StopChild(number, time) => {
                let Some(child) = self.child(number) else { return false };
                self.stop_process(child, time);
            }
            Fault::SignalChild(number, signal) => {
                let Some(child) = self.child(number) else { return false };
                self.journal.note(format!("{signal} to child {child}"));
                return try_send(child, signal).is_ok();
            }
            Fault::Attack(attack) => return self.attack(attack),
            Fault::Reload => self.fleet.signal(Signal::SIGHUP),
            Fault::ReopenLogs => self.fleet.signal(Signal::SIGUSR1),
            Fault::Upgrade(program) => self.upgrade(program),
            Fault::Command(target) => return self.order(target),
            Fault::Canary(end, time) => {
                self.later(time, Undo::EndHold(end));
                return self.order(&format!("/reload?canary=1&hold={time}ms"));
            }
            Fault::Followers(count, time) => {
                let followers = commands::follow(&self.site.control(), count);
                self.later(time, Undo::Unfollow(followers));
            }
            Fault::Resize => {
                let signal = self.size.resize(certain);
                self.journal.note(format!("{signal} to the master"));
                self.fleet.signal(signal);
            }
            Fault::StopMaster(time) => self.stop_process(master, time),
            Fault::StallLog(time) => {
                self.fleet.log.stall(true);
                self.later(time, Undo::ReadLog);
            }
            Fault::FillMastersTable(time) => return self.fill_table(master, time),
            Fault::FillChildsTable(number, time) => {
                return self.child(number).is_some_and(|child| self.fill_table(child, time));
            }
            Fault::FillProcessTable(time) => {
                let filled = self.site.limit.as_ref().is_some_and(crate::cgroup::ProcessLimit::fill);
                self.later(time, Undo::LiftProcessLimit);
                return filled;
            }
            Fault::ProgramNotExecutable(time) => {
                let Ok(program) = File::open(self.site.program.path()) else { return false };
                make_executable(&program, false);
                self.later(time, Undo::MakeExecutable(program));
            }
            Fault::Boot(how, time) => {
                self.site.behave(&format!("boot={how}"));
                self.later(time, Undo::Behave);
            }
            Fault::SlowHook(time) => {
                self.site.behave("hook=slow");
                self.later(time, Undo::Behave);
            }
            Fault::ResetConnections(count) => {
                let connections = open(self.target.addr, count, "GET /r/reset HT");
                let reset =
                    |stream: &TcpStream| SockRef::from(stream).set_linger(Some(Duration::ZERO)).is_ok();
                return connections.iter().all(reset);
            }
            Fault::HalfRequests(count, time) => {
                let connections = open(self.target.addr, count, "GET /r/half HTTP/1.1\r\nHost: te");
                self.later(time, Undo::Close(connections));
            }
            Fault::IdleConnections(count, time) => {
                let connections = open(self.target.addr, count, "");
                self.later(time, Undo::Close(connections));
            }
            Fault::Template(fault) => return self.inject_template(fault),
        }
        true
    }

    fn undo(&mut self, undo: Undo) {
        self.journal.note(match &undo {
            Undo::Close(connections) => format!("undo: close {} connections", connections.len()),
            undo => format!("undo: {undo:?}"),
        });
        match undo {
            Undo::Continue(pid) => drop(try_send(pid, Signal::SIGCONT)),
            Undo::ReadLog => self.fleet.log.stall(false),
            Undo::RestoreTables => {
                // Children that were started meanwhile have inherited the limit.
                let processes = [self.fleet.children(), self.fleet.templates(), vec![self.fleet.master()]];
                for pid in processes.concat() {
                    limit_descriptors(pid, None);
                }
            }
            Undo::LiftProcessLimit => self.site.limit.iter().for_each(crate::cgroup::ProcessLimit::lift),
            Undo::RestoreProgram => self.site.restore_program(),
            Undo::MakeExecutable(program) => make_executable(&program, true),
            Undo::Behave => self.site.behave(""),
            Undo::Close(connections) => drop(connections),
            Undo::Unfollow(followers) => drop(followers),
            Undo::EndHold(end) => {
                if let Some(command) = end.command() {
                    self.order(command);
                }
            }
        }
    }

    /// A live child.
    pub(crate) fn child(&mut self, number: usize) -> Option<u32> {
        let children = self.fleet.children();
        (!children.is_empty()).then(|| children[number % children.len()])
    }

    pub(crate) fn kill(&mut self, child: u32) -> bool {
        self.journal.doom(child, "killed");
        try_send(child, Signal::SIGKILL).is_ok()
    }

    pub(crate) fn stop_process(&mut self, pid: u32, time: Millis) {
        self.journal.note(format!("SIGSTOP to {pid}"));
        let _ = try_send(pid, Signal::SIGSTOP);
        self.later(time, Undo::Continue(pid));
    }

    pub(crate) fn upgrade(&mut self, program: Program) {
        self.fleet.upgrades = true;
        match program {
            Program::Good => self.site.restore_program(),
            Program::Failing => self.site.program.replace_with("/bin/false"),
            Program::Missing => drop(fs::remove_file(self.site.program.path())),
            Program::NotExecutable => {
                self.site.restore_program();
                File::open(self.site.program.path()).iter().for_each(|file| make_executable(file, false));
            }
        }
        self.fleet.signal(Signal::SIGUSR2);
        if program != Program::Good {
            self.later(UPGRADE_TIME, Undo::RestoreProgram);
        }
    }

    fn fill_table(&mut self, pid: u32, time: Millis) -> bool {
        self.later(time, Undo::RestoreTables);
        fill_descriptors(pid)
    }

    /// Sends a request. With TLS that takes a child which is not stopped, for example.
    fn send(&mut self, path: &str) -> Option<Connection> {
        let target = self.target;
        thread::scope(|scope| {
            let sent = scope.spawn(|| {
                let mut connection = Connection::open(target).ok()?;
                connection.send(path).ok().map(|()| connection)
            });
            while !sent.is_finished() {
                self.wait(now() + 1);
            }
            sent.join().ok().flatten()
        })
    }

    fn attack(&mut self, attack: Attack) -> bool {
        let began = now();
        let Some(connection) = self.send(attack.path()) else { return false };
        let start = Instant::now();
        let child = loop {
            let accepted = connection.accepted(self.target);
            if let Some(accepted) = accepted.filter(|accepted| accepted.stage >= Stage::Read) {
                break accepted.pid;
            }
            if start.elapsed() > BOUND {
                return false;
            }
            // A fault that is due to end may be what the request waits for.
            self.wait(now() + 1);
        };
        match attack.dooms() {
            Some(how) => self.journal.doom_since(child, began, how),
            None => self.journal.note(format!("child {child}: {attack:?}")),
        }
        self.attacks.push(connection);
        true
    }
}

/// Notes when doomed children have died.
pub(crate) fn note_deaths(journal: &Journal) {
    journal.dying().into_iter().filter(|child| !proc::is_alive(*child)).for_each(|child| journal.dead(child));
}

/// Faults that cannot undo a grow.
fn leaves_sizes_alone(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::SignalChild(..)
            | Fault::ReopenLogs
            | Fault::StopChild(..)
            | Fault::StallLog(_)
            | Fault::SlowHook(_)
            | Fault::FillChildsTable(..)
            | Fault::ResetConnections(_)
            | Fault::HalfRequests(..)
            | Fault::IdleConnections(..)
            | Fault::Attack(Attack::Panic | Attack::SendDescriptors)
    )
}

/// Connections on which `text` was sent.
fn open(addr: SocketAddr, count: usize, text: &str) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect_timeout(&addr, wire::LIMIT).ok()?;
        stream.write_all(text.as_bytes()).ok()?;
        Some(stream)
    };
    (0..count).filter_map(connect).collect()
}

/// Leaves the process no number for another descriptor.
pub(crate) fn fill_descriptors(pid: u32) -> bool {
    let highest = proc::descriptors(pid).iter().map(|(number, _)| *number).max();
    highest.is_some_and(|highest| limit_descriptors(pid, Some(highest + 1)))
}

/// Sets the soft limit on descriptors of a process, or sets it to the hard limit.
fn limit_descriptors(pid: u32, limit: Option<u32>) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("1024");
    let soft = limit.map_or_else(|| hard.to_owned(), |limit| limit.to_string());
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")]);
    command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}
