//! A request to stop comes before everything that is queued, and is not lost in an upgrade.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
use prefork_tests::skip::skipped;
use prefork_tests::{proc, wait};
use tempfile::TempDir;

const FLEET_HANDLE_SERVER: &str = env!("CARGO_BIN_EXE_fleet_handle_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

/// A start of 40 children of which each takes as long as the gate is closed.
struct SlowStart {
    gate: ResponseGate,
    journal: TempDir,
}

impl SlowStart {
    fn new() -> Self {
        Self { gate: ResponseGate::new(), journal: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.journal.path().join("journal")
    }

    fn lines(&self, kind: &str) -> usize {
        let journal = fs::read_to_string(self.path()).unwrap_or_default();
        journal.lines().filter(|line| line.starts_with(kind)).count()
    }

    /// Starts a server with this option; returns once the master is in the first hook of this name.
    fn launch(&self, option: (&str, &str), hook: &str) -> RunningFleet {
        let server = Server::new(HOOKS_SERVER).set("journal", self.path().display()).gate(&self.gate);
        let fleet = server.set("workers", 40).set(option.0, option.1).launch();
        wait::until("first hook", || self.lines(hook) == 1);
        fleet
    }
}

#[test]
fn term_during_slow_hook_calls_no_further_hook() {
    let start = SlowStart::new();
    let mut fleet = start.launch(("waits", "on_child_spawn"), "on_child_spawn");
    fleet.signal(Signal::SIGTERM);
    start.gate.open();
    assert_eq!(fleet.wait().code(), Some(0));
    assert_eq!(start.lines("on_child_spawn"), 1);
}

#[test]
fn term_during_slow_start_of_a_child_starts_no_further_child() {
    let start = SlowStart::new();
    let mut fleet = start.launch(("produces", "waits"), "command_producer");
    fleet.signal(Signal::SIGTERM);
    start.gate.open();
    assert_eq!(fleet.wait().code(), Some(0));
    assert_eq!(start.lines("command_producer"), 1);
}

#[test]
fn stop_by_handle_before_the_start_starts_at_most_one_child() {
    let outcome = Server::new(FLEET_HANDLE_SERVER).set("workers", 40).set("early", 1).run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    assert!(outcome.children <= 1, "{outcome:#?}");
}

/// A fleet in whose master a thread of the program's own receives signals.
fn with_thread_for_signals() -> (RunningFleet, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let commands = directory.path().join("commands");
    (Server::new(FLEET_HANDLE_SERVER).set("commands", commands.display()).start(), directory)
}

/// Delays the next exec of the process by two seconds. `None` where no process may be traced.
fn delay_exec(pid: u32) -> Option<Tracer> {
    let delay = "--inject=execve:delay_enter=2000000";
    let pid = pid.to_string();
    let mut strace = Command::new("strace");
    strace.args(["--attach", &pid, "--trace=execve", delay]).stderr(Stdio::null());
    strace.spawn().ok().map(Tracer)
}

struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the process has been in a tracing stop for a while: its exec is delayed.
fn wait_until_delayed(pid: u32) {
    let mut since = Instant::now();
    wait::until("delayed exec", || {
        if proc::state(pid) != Some('t') {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(200)
    });
}

#[test]
fn term_during_the_exec_stops_the_new_program() {
    let (mut fleet, _directory) = with_thread_for_signals();
    let tracer = delay_exec(fleet.master());
    let is_traced = || proc::status_field(fleet.master(), "TracerPid").is_some_and(|pid| pid != "0");
    let start = Instant::now();
    while tracer.is_some() && !is_traced() && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    if !is_traced() {
        return skipped("strace");
    }
    fleet.operate(Signal::SIGUSR2, 1, "executing ");
    wait_until_delayed(fleet.master());
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("upgraded: ");
    fleet.console.wait_for("stopping: ");
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
}
