//! Starts a server under test with its options, and kills all of its processes when it is dropped.
//!
//! - `server.rs`: the program and its options
//! - `fleet.rs`: the running server
//! - `outcome.rs`: its end

mod outcome;
mod server;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

pub use outcome::Outcome;
pub use server::{AS_NOBODY, Server, preloads};

use crate::console::Console;
use crate::proc::ProcessTree;
use crate::signal::{self, RELOAD_AND_UPGRADE, Signal, send};
use crate::{client, proc, wait};

/// A server that was started. Its drop kills every process that is left.
#[derive(Debug)]
pub struct RunningFleet {
    child: Child,
    /// Its standard error.
    pub console: Console,
    tree: ProcessTree,
    started: TempDir,
}

impl RunningFleet {
    /// The pid of the process that was started: the master, or its wrapper.
    pub fn master(&self) -> u32 {
        self.child.id()
    }

    /// Its first TCP address; a wildcard address becomes loopback.
    pub fn addr(&self) -> SocketAddr {
        *self.addrs().first().expect("a TCP address")
    }

    /// Its TCP addresses.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        listening_addrs(&self.console.wait_for("listening on "))
    }

    /// The address of its health endpoint.
    pub fn health_addr(&self) -> SocketAddr {
        self.nth_health_addr(1)
    }

    /// The address in the `n`th message about a health endpoint: each program that takes over has one.
    pub fn nth_health_addr(&self, n: usize) -> SocketAddr {
        let line = self.console.wait_for_nth(n, "health endpoint on ");
        line.rsplit(' ').next().and_then(|addr| addr.parse().ok()).expect("an address")
    }

    /// The master's children, zombies included, without templates.
    pub fn children(&self) -> Vec<u32> {
        proc::children_of_fleet(self.master())
    }

    /// The pids in the first message of readiness, in the order of the slots.
    pub fn first_children(&self) -> Vec<u32> {
        let line = self.console.wait_for("ready (pids");
        let pids = line.split_once("(pids ").and_then(|(_, rest)| rest.split_once(')'));
        let pids = pids.expect("pids in parentheses").0.split_whitespace();
        pids.map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// Every live process of this server, wrappers and grandchildren included.
    pub fn processes(&self) -> Vec<u32> {
        self.tree.live_pids()
    }

    /// The number of children that reached `main`.
    pub fn children_started(&self) -> usize {
        self.started.path().read_dir().map_or(0, Iterator::count)
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        send(self.master(), signal);
    }

    /// Sends a signal to the master, which may have ended.
    pub fn try_signal(&self, signal: Signal) {
        let _ = signal::try_send(self.master(), signal);
    }

    /// Sends a signal to the master, and waits until `n` lines contain `answer`.
    pub fn operate(&self, signal: Signal, n: usize, answer: &str) {
        self.signal(signal);
        self.console.wait_for_nth(n, answer);
    }

    /// The number of descriptors of the master, and how many of them are listening sockets of its port.
    pub fn master_descriptors(&self) -> (usize, usize) {
        let master = self.master();
        (proc::handle_count(master), proc::held_listeners(master, self.addr().port()))
    }

    /// Waits for the end of the master; panics if it reported a bug in prefork.
    pub fn wait(&mut self) -> ExitStatus {
        let console = self.console.clone();
        let what = || format!("end of the master; standard error: {:#?}", console.lines());
        let status = wait::for_value_or(what, || self.try_wait());
        let bugs = console.lines_with("a bug in prefork");
        assert!(bugs.is_empty(), "{:#?}", console.lines());
        status
    }

    /// The exit status of the master, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the master can be waited for")
    }

    /// Waits until the fleet has `count` live children and none of them is in `gone`; returns them.
    pub fn wait_for_children(&self, count: usize, gone: &[u32]) -> Vec<u32> {
        let stderr = || self.console.lines();
        let what = || format!("{count} children without {gone:?}; standard error: {:#?}", stderr());
        wait::for_value_or(what, || {
            let children = self.children();
            let alive = children.iter().all(|pid| proc::is_alive(*pid) && !gone.contains(pid));
            (children.len() == count && alive).then_some(children)
        })
    }

    /// Kills children with SIGKILL and waits until their successors are ready.
    pub fn replace(&self, victims: &[u32]) -> Vec<u32> {
        let before = self.children();
        victims.iter().for_each(|victim| send(*victim, Signal::SIGKILL));
        let children = self.wait_for_children(before.len(), victims);
        for successor in children.iter().filter(|child| !before.contains(child)) {
            self.console.wait_for(&format!("(pid {successor}) is ready"));
        }
        children
    }

    /// Runs `check` at once, and after each of: a scale-up to three children, a crash, a reload, and where
    /// the platform has it an upgrade.
    pub fn check_through_operations(&self, check: impl Fn()) {
        check();
        self.signal(Signal::SIGTTIN);
        self.wait_for_children(3, &[]);
        check();
        self.replace(&self.first_children()[..1]);
        check();
        for (signal, generation) in RELOAD_AND_UPGRADE.iter().zip(1..) {
            self.signal(*signal);
            self.console.wait_for(&format!("is of generation {generation}"));
            check();
        }
    }

    /// Waits until a stopping fleet, or one whose master is dead, refuses connections.
    #[cfg(unix)]
    pub fn wait_until_it_refuses(&self) {
        let addr = self.addr();
        // No client connects meanwhile: the accept gates must close without one.
        wait::until("closed port", || proc::listening_inodes(addr.port()).is_empty());
        assert!(client::is_refused(addr));
    }

    /// Waits until the stop is logged. Windows can make the shared socket refuse connections, but wine
    /// cannot, and a drain on Windows does not depend on it.
    #[cfg(windows)]
    pub fn wait_until_it_refuses(&self) {
        let is_logged = || self.console.says("stopping") || self.console.says("lost its master");
        wait::until("message of the stop", is_logged);
    }

    /// Waits until every child has been ready for a second. From then on a clean exit is not a failure.
    pub fn wait_until_ready_for_a_second(&self) {
        self.console.wait_for("ready (pids");
        // The age of the children is the condition.
        std::thread::sleep(Duration::from_millis(1100));
    }

    /// Repeats `request` until the master takes it for a second request to stop. One that comes right after
    /// the first is the same request.
    pub fn insist(&self, request: impl Fn()) {
        wait::until("stop at once", || {
            request();
            self.console.says("stopping at once")
        });
    }

    /// Sends SIGTERM to the master; checks the stop as [`expect_stopped`](Self::expect_stopped) does.
    pub fn stop(self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        self.expect_stopped()
    }

    /// Waits for the end of a stopping fleet; panics unless the status is 0, no child was killed, no
    /// process is left and the port is free. Returns the lines of standard error.
    pub fn expect_stopped(mut self) -> Vec<String> {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}; {:#?}", self.console.lines());
        self.assert_nothing_left();
        let lines = self.console.wait_for_end();
        let killed = lines.iter().any(|line| line.contains("killing"));
        assert!(!killed, "a child was killed: {lines:#?}");
        lines
    }

    /// Waits for the end of a fleet that ends by itself; panics if a process is left.
    pub fn expect_end(mut self) -> Outcome {
        let status = self.wait();
        self.assert_no_process_left();
        let children = self.children_started();
        Outcome { status, stderr: self.console.wait_for_end(), children }
    }

    /// Panics unless no process is left and the port is free.
    pub fn assert_nothing_left(&self) {
        self.assert_no_process_left();
        for addr in self.addrs() {
            if cfg!(windows) {
                // The system may close the sockets of a process a moment after its end.
                wait::until("closed port", || client::is_refused(addr));
            }
            assert!(client::is_refused(addr), "{addr} still accepts connections");
            TcpListener::bind(addr).unwrap_or_else(|error| panic!("{addr} is not free: {error}"));
        }
    }

    /// Panics unless no process is left.
    pub fn assert_no_process_left(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "processes are left: {left:?}; {:#?}", self.console.lines());
    }
}

impl Drop for RunningFleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A child that was just being started appears in the next round.
        wait::until("end of every process", || {
            let left = self.processes();
            left.iter().for_each(|pid| {
                let _ = signal::try_send(*pid, Signal::SIGKILL);
            });
            left.is_empty()
        });
    }
}

/// Waits until a child has its link thread, which starts just before the child is ready.
#[cfg(unix)]
pub fn wait_until_serving(child: u32) {
    wait::until("serving child", || proc::thread_count(child) >= 2);
}

/// The master's description of an exit with `status`.
pub fn exited(status: u8) -> String {
    if cfg!(windows) { format!("code {status}") } else { format!("status {status}") }
}

/// The master's description of an end by SIGKILL.
pub fn killed() -> String {
    if cfg!(windows) { exited(9) } else { "signal 9 (SIGKILL)".to_owned() }
}

/// Parses `… listening on 127.0.0.1:4711, unix:/run/app.sock (…`.
fn listening_addrs(line: &str) -> Vec<SocketAddr> {
    let addrs = line.split_once("listening on ").and_then(|(_, rest)| rest.split_once(" ("));
    let addrs = addrs.expect("addresses").0.split(", ").filter(|addr| !addr.starts_with("unix:"));
    let read = |addr: &str| {
        let mut addr: SocketAddr = addr.parse().expect("an address");
        if addr.ip().is_unspecified() && addr.is_ipv4() {
            addr.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        addr
    };
    addrs.map(read).collect()
}
