//! The hooks: the moment and the arguments of each call, and the effect of an error or a panic.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::path::PathBuf;

use prefork_tests::fleet::{Outcome, Server, preloads};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

/// The file that the hooks write to.
struct Journal(TempDir);

impl Journal {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn lines(&self) -> Vec<String> {
        let journal = fs::read_to_string(self.path()).unwrap_or_default();
        journal.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, line: &str) {
        wait::until(line, || self.lines().iter().any(|written| written == line));
    }

    fn server(&self) -> Server {
        Server::new(HOOKS_SERVER).set("journal", self.path().display())
    }
}

fn pids(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn usr1_runs_on_log_reopen_in_the_master_and_in_every_child() {
    let journal = Journal::new();
    let fleet = journal.server().set("workers", 3).set("reopens", "yes").start();
    fleet.signal(Signal::SIGUSR1);
    for pid in fleet.first_children().into_iter().chain([fleet.master()]) {
        journal.wait_for(&format!("on_log_reopen {pid}"));
    }
    fleet.console.wait_for("logs reopened in the master, and requested of 3 children");
    assert_eq!(journal.lines().iter().filter(|line| line.starts_with("on_log_reopen")).count(), 4);
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn usr1_while_a_child_ends_is_no_warning() {
    let (journal, gate) = (Journal::new(), ResponseGate::new());
    let server = journal.server().set("reopens", "yes").set("waits", "on_child_recover");
    let fleet = server.gate(&gate).start();
    let [first, second] = fleet.first_children()[..] else { panic!("two children") };
    send(first, Signal::SIGKILL);
    wait::until("the hook", || journal.lines().iter().any(|line| line.starts_with("on_child_recover")));
    send(second, Signal::SIGKILL);
    wait::until("its end", || proc::zombies(fleet.master()).contains(&second));
    fleet.signal(Signal::SIGUSR1);
    gate.open();
    fleet.console.wait_for("logs reopened");
    assert_eq!(fleet.console.lines_with("could not be sent"), Vec::<String>::new());
    fleet.stop();
}

#[test]
fn failing_on_log_reopen_is_logged_and_changes_nothing() {
    for (how, message) in [("fails", "failed: failed on request"), ("panics", "panicked")] {
        let journal = Journal::new();
        let server = journal.server().set("workers", 1).set("reopens", "yes");
        let fleet = server.set(how, "on_log_reopen").start();
        fleet.signal(Signal::SIGUSR1);
        let expected = format!("hook on_log_reopen {message}");
        wait::until("the message of both processes", || fleet.console.lines_with(&expected).len() == 2);
        assert_eq!(fleet.children(), fleet.first_children(), "{how}");
        fleet.stop();
    }
}

#[test]
fn usr1_without_the_hook_is_logged_and_ignored() {
    let fleet = Server::new(HOOKS_SERVER).start();
    fleet.signal(Signal::SIGUSR1);
    fleet.console.wait_for("the request to reopen logs has no effect: there is no hook on_log_reopen");
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn hooks_run_in_order_with_their_pids() {
    let journal = Journal::new();
    let fleet = journal.server().set("workers", 3).start();
    let [a, b, c] = fleet.first_children()[..] else { panic!("three children") };
    journal.wait_for(&format!("on_master_ready {a} {b} {c}"));
    let mut expected = vec![
        format!("on_child_spawn {a}"),
        format!("on_child_spawn {b}"),
        format!("on_child_spawn {c}"),
        format!("on_master_ready {a} {b} {c}"),
    ];
    assert_eq!(journal.lines(), expected);

    let children = fleet.replace(&[b]);
    let new = *children.iter().find(|child| ![a, c].contains(child)).unwrap();
    journal.wait_for(&format!("on_child_recover {b} {new}"));
    expected.push(format!("on_child_spawn {new}"));
    expected.push(format!("on_child_recover {b} {new}"));
    assert_eq!(journal.lines(), expected);

    fleet.stop();
    assert_eq!(journal.lines(), expected, "a stop calls no hook, and on_master_ready runs once");
}

#[test]
fn child_lost_before_readiness_is_recovered_and_delays_on_master_ready() {
    let journal = Journal::new();
    let server = journal.server().set("boot", "exit1").set("recover", 1);
    let outcome = server.run();
    let lines = journal.lines();
    assert!(!lines.iter().any(|line| line.starts_with("on_master_ready")), "{lines:#?}");
    let spawned = lines.iter().filter(|line| line.starts_with("on_child_spawn")).count();
    let recovered: Vec<_> = lines.iter().filter(|line| line.starts_with("on_child_recover")).collect();
    assert_eq!(spawned, 2 + recovered.len(), "on_child_spawn runs once per start: {lines:#?}");
    assert!(outcome.error().contains("too many children failed"));
}

#[cfg(target_os = "linux")]
#[test]
fn large_fleet_whose_first_children_fail_is_not_started_whole() {
    let server = Server::new(HOOKS_SERVER).set("boot", "exit1").set("outlives", "yes");
    let outcome = server.set("workers", 100).run();
    assert!(outcome.error().contains("5 failures, 4 allowed"), "{outcome:#?}");
    assert!(outcome.children < 50, "{} children were started", outcome.children);
}

/// Runs a fleet whose `hook` returns an error; checks that the fleet ends with it.
fn run_with_failing_hook(journal: &Journal, hook: &str) -> Outcome {
    let outcome = journal.server().set("fails", hook).run();
    assert_eq!(outcome.error(), format!("hook {hook} failed: failed on request"));
    outcome
}

#[test]
fn error_in_on_child_spawn_stops_fleet() {
    let journal = Journal::new();
    run_with_failing_hook(&journal, "on_child_spawn");
    assert_eq!(journal.lines().len(), 1, "no second child is started: {:#?}", journal.lines());
}

#[test]
fn error_in_on_master_ready_stops_fleet() {
    let journal = Journal::new();
    let outcome = run_with_failing_hook(&journal, "on_master_ready");
    assert_eq!(outcome.children, 2);
}

#[test]
fn error_in_on_child_recover_stops_fleet() {
    let journal = Journal::new();
    let mut fleet = journal.server().set("fails", "on_child_recover").start();
    send(fleet.first_children()[0], Signal::SIGKILL);
    assert_eq!(fleet.wait().code(), Some(1));
    fleet.assert_nothing_left();
    fleet.console.wait_for("error: hook on_child_recover failed: failed on request");
}

#[test]
fn panic_in_hook_leaves_no_child() {
    for hook in ["on_child_spawn", "on_master_ready"] {
        let journal = Journal::new();
        let outcome = journal.server().set("panics", hook).run();
        assert_eq!(outcome.status.code(), Some(101), "the panic ends the master: {outcome:#?}");
        let named = outcome.stderr.iter().any(|line| line.contains(&format!("hook {hook} panicked")));
        assert!(named, "{outcome:#?}");
    }
    let journal = Journal::new();
    let mut fleet = journal.server().set("panics", "on_child_recover").start();
    send(fleet.first_children()[0], Signal::SIGKILL);
    assert_eq!(fleet.wait().code(), Some(101));
    fleet.assert_nothing_left();
}

#[test]
fn error_in_hook_stops_gracefully_and_answers_requests_in_flight() {
    let journal = Journal::new();
    let gate = ResponseGate::new();
    let mut fleet = journal.server().set("fails", "on_child_recover").gate(&gate).start();
    // Eight requests reach both children.
    let in_flight = client::begin_many(fleet.addr(), "/gate", 8);
    let [victim, survivor] = fleet.first_children()[..] else { panic!("two children") };
    send(victim, Signal::SIGKILL);
    fleet.console.wait_for("hook on_child_recover failed");
    fleet.wait_until_it_refuses();
    gate.open();
    let answers: Vec<_> = in_flight.into_iter().filter_map(|request| request.finish().ok()).collect();
    assert!(answers.iter().all(|answer| *answer == survivor.to_string()), "{answers:?}");
    assert_eq!(fleet.wait().code(), Some(1));
    assert!(!fleet.console.says("killing"), "{:#?}", fleet.console.lines());
}

#[test]
fn hook_can_wait_for_process_that_it_started() {
    let journal = Journal::new();
    let fleet = journal.server().set("workers", 1).set("helper", 1).start();
    // On Windows the handle of the process keeps its exit status, so nothing is to wait for.
    wait::until("end of the helper", || cfg!(windows) || !proc::zombies(fleet.master()).is_empty());
    send(fleet.first_children()[0], Signal::SIGKILL);
    journal.wait_for("helper Ok(Some(7))");
    fleet.stop();
}

#[test]
fn producer_can_change_command() {
    let journal = Journal::new();
    let fleet = journal.server().set("produces", "alters").start();
    assert_eq!(client::get(fleet.addr(), "/variable/TEST_PRODUCED"), r#"Some("yes")"#);
    #[cfg(unix)]
    assert_eq!(client::get(fleet.addr(), "/arguments"), "renamed");
    let produced = |lines: &[String]| lines.iter().filter(|line| *line == "command_producer").count();
    // With a template, the producer starts that alone.
    assert_eq!(produced(&journal.lines()), if preloads() { 1 } else { 2 });
    fleet.replace(&[fleet.first_children()[0]]);
    assert_eq!(produced(&journal.lines()), if preloads() { 1 } else { 3 }, "it starts the successor too");
    assert_eq!(client::get(fleet.addr(), "/variable/TEST_PRODUCED"), r#"Some("yes")"#);
    fleet.stop();
}

#[test]
fn producer_can_wrap_command() {
    let journal = Journal::new();
    let fleet = journal.server().set("produces", "wraps").start();
    assert_eq!(client::get(fleet.addr(), "/variable/TEST_PRODUCED"), r#"Some("yes")"#);
    assert_eq!(client::get(fleet.addr(), "/role"), "true");
    #[cfg(unix)]
    assert_eq!(proc::name(fleet.first_children()[0]).as_deref(), Some("hooks_: child 0"));
    fleet.replace(&[fleet.first_children()[0]]);
    fleet.stop();
}

#[test]
fn error_in_producer_ends_fleet() {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", "error").run();
    assert_eq!(outcome.error(), "command_producer failed: no child today");
    assert_eq!(outcome.children, 0);
    assert_eq!(journal.lines(), ["command_producer"], "one attempt");
}

#[test]
fn panic_in_producer_leaves_no_child() {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", "panic").run();
    assert_eq!(outcome.status.code(), Some(101), "{outcome:#?}");
}

/// Checks that a process that does not take the handshake ends the fleet after at most two starts.
fn check_refused_producer(produces: &str) {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", produces).set("start_timeout", "1s").run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    // The process may be this program, which prints errors of its own.
    let error = outcome.stderr.last().unwrap();
    assert!(error.starts_with("error: command_producer failed: "), "{outcome:#?}");
    assert!(error.contains("did not take the handshake"), "{error}");
    let starts = journal.lines().iter().filter(|line| *line == "command_producer").count();
    assert!(starts <= 2, "{starts} starts of {produces}: {outcome:#?}");
}

#[test]
fn producer_of_process_that_exits_is_refused() {
    check_refused_producer("ends");
}

#[test]
fn producer_that_replaces_stdin_is_refused() {
    check_refused_producer("null_stdin");
}

#[test]
fn producer_of_process_without_handshake_is_refused() {
    check_refused_producer("stays");
}

#[test]
fn producer_that_removes_marker_still_starts_children() {
    // If a child took the role of a master, it would start children, and so on without end.
    let journal = Journal::new();
    let fleet = journal.server().set("produces", "no_marker").start();
    assert_eq!(client::get(fleet.addr(), "/role"), "true");
    let starts = journal.lines().iter().filter(|line| *line == "command_producer").count();
    assert_eq!(starts, if preloads() { 1 } else { 2 });
    fleet.stop();
}

/// The lines of `on_master_death`, sorted.
fn on_master_death_lines(journal: &Journal) -> Vec<String> {
    let mut lines = journal.lines();
    lines.retain(|line| line.starts_with("on_master_death"));
    lines.sort();
    lines
}

#[test]
fn kill_of_master_runs_on_master_death_in_every_child() {
    let journal = Journal::new();
    let mut fleet = journal.server().start();
    let mut expected: Vec<_> =
        fleet.first_children().iter().map(|child| format!("on_master_death {child}")).collect();
    expected.sort();
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    wait::until("end of the orphans", || fleet.processes().is_empty());
    fleet.assert_nothing_left();
    assert_eq!(on_master_death_lines(&journal), expected, "of {}", pids(&fleet.first_children()));
}

#[test]
fn stop_does_not_run_on_master_death() {
    let journal = Journal::new();
    let fleet = journal.server().start();
    fleet.replace(&[fleet.first_children()[0]]);
    fleet.stop();
    assert_eq!(on_master_death_lines(&journal), Vec::<String>::new());
}
