//! A server under test: started with options, watched, and cleared away whatever happens.

use std::env;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::console::Console;
use crate::proc::Family;
use crate::signal::{self, RELOAD_AND_UPGRADE, Signal, send};
use crate::{client, proc, wait};

/// How to start a server program.
#[derive(Debug)]
pub struct Server {
    /// The command, for whatever the methods here do not offer.
    pub command: Command,
    family: Family,
    /// Where each child that gets as far as `main` leaves a file.
    started: TempDir,
}

impl Server {
    /// The program `executable`, on a port of 127.0.0.1 that the system chooses, with two children.
    pub fn new(executable: impl AsRef<Path>) -> Self {
        Self::by(Command::new(executable.as_ref()))
    }

    /// The example `name`, on a port of 127.0.0.1 that the system chooses, with two children.
    pub fn example(name: &str) -> Self {
        // Cargo puts a test into `target/PROFILE/deps`, and the examples beside that folder.
        let test = env::current_exe().expect("the test's own path");
        let target = test.parent().and_then(Path::parent).expect("the target directory");
        let path = target.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
        let hint = "run `cargo build -p prefork-examples --examples`";
        assert!(path.exists(), "{} is not there: {hint}", path.display());
        let server = Self::new(path).env("PREFORK_ADDR", "127.0.0.1:0").env("PREFORK_WORKERS", "2");
        // On a busy machine wine takes seconds to tell which connections are open.
        if cfg!(windows) { server.env("PREFORK_SHUTDOWN_GRACE", "20s") } else { server }
    }

    /// A program that is started by another, which is to execute its last arguments.
    pub fn through(wrapper: &[&str], executable: impl AsRef<Path>) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(executable.as_ref());
        Self::by(command)
    }

    /// A program that is started by the shell, which is to run `exec "$0"` at the end of `script`.
    pub fn in_shell(script: &str, executable: impl AsRef<Path>) -> Self {
        Self::through(&["sh", "-c", script], executable)
    }

    fn by(mut command: Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}.{}", process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let started = tempfile::tempdir().expect("a temporary directory");
        // What a developer has set for servers of his own.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PREFORK_")) {
            command.env_remove(name);
        }
        command
            .env("TEST_STARTED", started.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let family = Family::of(&mut command, &id);
        let server = Self { command, family, started };
        server.set("addr", "127.0.0.1:0").set("workers", 2)
    }

    /// Sets an option of the program's; [`app`](crate::app) lists them.
    #[must_use]
    pub fn set(mut self, option: &str, value: impl Display) -> Self {
        self.command.env(format!("TEST_{}", option.to_uppercase()), value.to_string());
        self
    }

    /// Leaves an option of the program's at its default.
    #[must_use]
    pub fn unset(mut self, option: &str) -> Self {
        self.command.env_remove(format!("TEST_{}", option.to_uppercase()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the server and waits for nothing.
    pub fn launch(self) -> Fleet {
        let Self { mut command, family, started } = self;
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        family.begins_with(&child);
        let console = Console::read(child.stderr.take().expect("standard error is a pipe"));
        Fleet { child, console, family, started }
    }

    /// Starts the server and waits until all its children are ready.
    pub fn start(self) -> Fleet {
        let fleet = self.launch();
        fleet.console.wait_for("ready (pids");
        fleet
    }

    /// Starts a server that is expected to end by itself, and waits for its end.
    pub fn run(self) -> Outcome {
        self.launch().expect_end()
    }
}

/// A server that was started. Dropping it kills whatever is left of it.
#[derive(Debug)]
pub struct Fleet {
    child: Child,
    /// What it says on standard error.
    pub console: Console,
    family: Family,
    started: TempDir,
}

impl Fleet {
    /// The process that was started: the master, unless something wraps it.
    pub fn master(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens first, on loopback if that is everywhere.
    pub fn addr(&self) -> SocketAddr {
        *self.addrs().first().expect("an address of TCP")
    }

    /// Its addresses of TCP.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        listening_addrs(&self.console.wait_for("listening on "))
    }

    /// The master's children, zombies included.
    pub fn children(&self) -> Vec<u32> {
        proc::children(self.master())
    }

    /// The pids that were announced when the fleet became ready, in the order of the slots.
    pub fn first_children(&self) -> Vec<u32> {
        let line = self.console.wait_for("ready (pids");
        let pids = line.split_once("(pids ").and_then(|(_, rest)| rest.split_once(')'));
        let pids = pids.expect("pids in parentheses").0.split_whitespace();
        pids.map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// Every process of this server that has not ended, wrappers and grandchildren included.
    pub fn processes(&self) -> Vec<u32> {
        self.family.members()
    }

    /// How many children got as far as `main`.
    pub fn children_started(&self) -> usize {
        self.started.path().read_dir().map_or(0, Iterator::count)
    }

    /// Sends the master a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.master(), signal);
    }

    /// Sends the master a signal, and waits for the `n`th line that answers it.
    pub fn operate(&self, signal: Signal, n: usize, answer: &str) {
        self.signal(signal);
        self.console.wait_for_nth(n, answer);
    }

    /// How many descriptors the master has, and how many listening sockets of the fleet's port are among
    /// them.
    pub fn master_descriptors(&self) -> (usize, usize) {
        let master = self.master();
        (proc::handle_count(master), proc::held_listeners(master, self.addr().port()))
    }

    /// Waits for the master's end; checks that it never met something that it thought impossible.
    pub fn wait(&mut self) -> ExitStatus {
        let console = self.console.clone();
        let what = || format!("the end of the master; it said {:#?}", console.lines());
        let status = wait::for_some_or(what, || self.try_wait());
        let bugs = console.lines_with("a bug in prefork");
        assert!(bugs.is_empty(), "{:#?}", console.lines());
        status
    }

    /// How the master ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the master can be waited for")
    }

    /// Waits until the fleet has `count` children and none of `gone` is among them; returns them.
    pub fn wait_for_children(&self, count: usize, gone: &[u32]) -> Vec<u32> {
        let said = || self.console.lines();
        let what = || format!("{count} children without {gone:?}; the master said {:#?}", said());
        wait::for_some_or(what, || {
            let children = self.children();
            let alive = children.iter().all(|pid| proc::is_alive(*pid) && !gone.contains(pid));
            (children.len() == count && alive).then_some(children)
        })
    }

    /// Kills children with SIGKILL and waits until as many others are ready.
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

    /// Waits until a fleet that was asked to stop, or whose master is dead, takes no connection more.
    #[cfg(unix)]
    pub fn wait_until_it_refuses(&self) {
        let addr = self.addr();
        // Without a client's help: nobody may have to connect before a door can be shut.
        wait::until("a closed port", || proc::listening_inodes(addr.port()).is_empty());
        assert!(client::is_refused(addr));
    }

    /// The same, as far as it goes: Windows can have the socket that all children share refuse what is
    /// new, but wine does not know how, and there a drain does not depend on it.
    #[cfg(windows)]
    pub fn wait_until_it_refuses(&self) {
        let is_told = || self.console.says("stopping") || self.console.says("lost its master");
        wait::until("word of the stop", is_told);
    }

    /// Waits until every child has been ready for a second, after which a clean exit is no failure.
    pub fn let_children_settle(&self) {
        self.console.wait_for("ready (pids");
        // Not in place of a condition: the age is the condition.
        std::thread::sleep(Duration::from_millis(1100));
    }

    /// Asks the master to stop and checks that it did so in good order.
    pub fn stop(self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        self.expect_stopped()
    }

    /// Waits for the end of a fleet that was asked to stop: status 0, nobody killed, nothing left.
    pub fn expect_stopped(mut self) -> Vec<String> {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}; {:#?}", self.console.lines());
        self.assert_nothing_left();
        let lines = self.console.wait_for_end();
        let killed = lines.iter().any(|line| line.contains("killing"));
        assert!(!killed, "a child had to be killed: {lines:#?}");
        lines
    }

    /// Waits for the end of a fleet that ends by itself: nothing is left.
    pub fn expect_end(mut self) -> Outcome {
        let status = self.wait();
        self.assert_no_process_left();
        let children = self.children_started();
        Outcome { status, stderr: self.console.wait_for_end(), children }
    }

    /// Checks that no process is left, and that the port can be had.
    pub fn assert_nothing_left(&self) {
        self.assert_no_process_left();
        for addr in self.addrs() {
            if cfg!(windows) {
                // The system may close what a process had a moment after its end.
                wait::until("the end of the listening", || client::is_refused(addr));
            }
            assert!(client::is_refused(addr), "somebody still listens on {addr}");
            TcpListener::bind(addr).unwrap_or_else(|error| panic!("{addr} is not free: {error}"));
        }
    }

    /// Checks that no process is left.
    pub fn assert_no_process_left(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "left behind: {left:?}; {:#?}", self.console.lines());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A child that was being started meanwhile shows up in the next round.
        wait::until("the end of every process", || {
            let left = self.processes();
            left.iter().for_each(|pid| {
                let _ = signal::try_send(*pid, Signal::SIGKILL);
            });
            left.is_empty()
        });
    }
}

/// A server that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: Vec<String>,
    /// How many of its children got as far as `main`.
    pub children: usize,
}

impl Outcome {
    /// The one line that says what was wrong, without `error: `. Checks that there is just one, and
    /// that the status is 1.
    pub fn error(&self) -> &str {
        let errors: Vec<&str> = self.stderr.iter().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(errors.len(), 1, "not exactly one error: {self:#?}");
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        errors[0]
    }

    /// Checks that the server refused to start: one line that contains `reason`, and no child.
    pub fn assert_refused(&self, reason: &str) {
        let error = self.error();
        assert!(error.contains(reason), "expected {reason:?}, not {error:?}");
        assert_eq!(self.stderr.len(), 1, "more than one line: {self:#?}");
        assert_eq!(self.children, 0, "children were started: {self:#?}");
    }
}

/// Waits until a child watches its master: then it is ready, or as good as.
#[cfg(unix)]
pub fn wait_until_it_serves(child: u32) {
    wait::until("a child that serves", || proc::thread_count(child) >= 2);
}

/// How a master describes the end of a child that exited with `status`.
pub fn exited(status: u8) -> String {
    if cfg!(windows) { format!("code {status}") } else { format!("status {status}") }
}

/// How a master describes the end of a child that got a SIGKILL.
pub fn killed() -> String {
    if cfg!(windows) { exited(9) } else { "signal 9 (SIGKILL)".to_owned() }
}

/// Reads `… listening on 127.0.0.1:4711, unix:/run/app.sock (…`.
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
