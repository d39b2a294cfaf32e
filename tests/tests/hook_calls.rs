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

use prefork_tests::fleet::{Outcome, Server};
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
fn hooks_run_in_order_and_with_the_pids_they_are_about() {
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
fn a_child_that_is_lost_before_the_fleet_is_ready_delays_readiness_and_is_recovered() {
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

/// Runs a fleet whose `hook` returns an error; checks that the fleet ends with it.
fn run_with_failing_hook(journal: &Journal, hook: &str) -> Outcome {
    let outcome = journal.server().set("fails", hook).run();
    assert_eq!(outcome.error(), format!("hook {hook} failed: no, as told"));
    outcome
}

#[test]
fn an_error_of_on_child_spawn_stops_the_fleet_and_names_the_hook() {
    let journal = Journal::new();
    run_with_failing_hook(&journal, "on_child_spawn");
    assert_eq!(journal.lines().len(), 1, "no second child is started: {:#?}", journal.lines());
}

#[test]
fn an_error_of_on_master_ready_stops_the_fleet_and_names_the_hook() {
    let journal = Journal::new();
    let outcome = run_with_failing_hook(&journal, "on_master_ready");
    assert_eq!(outcome.children, 2);
}

#[test]
fn an_error_of_on_child_recover_stops_the_fleet_and_names_the_hook() {
    let journal = Journal::new();
    let mut fleet = journal.server().set("fails", "on_child_recover").start();
    send(fleet.first_children()[0], Signal::SIGKILL);
    assert_eq!(fleet.wait().code(), Some(1));
    fleet.assert_nothing_left();
    fleet.console.wait_for("error: hook on_child_recover failed: no, as told");
}

#[test]
fn a_hook_that_panics_leaves_no_child_behind() {
    for hook in ["on_child_spawn", "on_master_ready"] {
        let journal = Journal::new();
        let outcome = journal.server().set("panics", hook).run();
        assert_eq!(outcome.status.code(), Some(101), "the panic goes on: {outcome:#?}");
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
fn an_error_stops_the_fleet_in_good_order_and_requests_in_flight_are_answered() {
    let journal = Journal::new();
    let gate = journal.0.path().join("open");
    let server = journal.server().set("fails", "on_child_recover").set("gate", gate.display());
    let mut fleet = server.set("shutdown_grace", "1m").start();
    let addr = fleet.addr();
    // Both children get some.
    let in_flight: Vec<_> = (0..8).map(|_| client::begin(addr, "/gate")).collect();
    let [victim, survivor] = fleet.first_children()[..] else { panic!("two children") };
    send(victim, Signal::SIGKILL);
    fleet.console.wait_for("hook on_child_recover failed");
    fleet.wait_until_it_refuses();
    fs::write(&gate, "").unwrap();
    let answers: Vec<_> = in_flight.into_iter().filter_map(|request| request.finish().ok()).collect();
    assert!(answers.iter().all(|answer| *answer == survivor.to_string()), "{answers:?}");
    assert_eq!(fleet.wait().code(), Some(1));
    assert!(!fleet.console.says("killing"), "{:#?}", fleet.console.lines());
}

#[test]
fn the_master_never_takes_the_exit_status_of_a_process_that_a_hook_started() {
    let journal = Journal::new();
    let fleet = journal.server().set("workers", 1).set("helper", 1).start();
    // Elsewhere nobody could take it away, for whoever started a process has a handle to it.
    wait::until("the end of the helper", || cfg!(windows) || !proc::zombies(fleet.master()).is_empty());
    send(fleet.first_children()[0], Signal::SIGKILL);
    journal.wait_for("helper Ok(Some(7))");
    fleet.stop();
}

#[test]
fn a_producer_may_alter_the_command() {
    let journal = Journal::new();
    let fleet = journal.server().set("produces", "alters").start();
    assert_eq!(client::get(fleet.addr(), "/variable/TEST_PRODUCED"), r#"Some("yes")"#);
    #[cfg(unix)]
    assert_eq!(client::get(fleet.addr(), "/arguments"), "renamed");
    let produced = |lines: &[String]| lines.iter().filter(|line| *line == "command_producer").count();
    assert_eq!(produced(&journal.lines()), 2);
    fleet.replace(&[fleet.first_children()[0]]);
    assert_eq!(produced(&journal.lines()), 3, "a successor is started the same way");
    assert_eq!(client::get(fleet.addr(), "/variable/TEST_PRODUCED"), r#"Some("yes")"#);
    fleet.stop();
}

#[test]
fn a_producer_may_wrap_the_command_in_another() {
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
fn an_error_of_the_producer_comes_back() {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", "error").run();
    assert_eq!(outcome.error(), "command_producer failed: no child today");
    assert_eq!(outcome.children, 0);
    assert_eq!(journal.lines(), ["command_producer"], "tried once");
}

#[test]
fn a_panic_of_the_producer_leaves_no_child_behind() {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", "panic").run();
    assert_eq!(outcome.status.code(), Some(101), "{outcome:#?}");
}

/// A process that does not take the handshake is found out, whatever it does, and is not tried again
/// and again.
fn a_stranger_is_refused(produces: &str) {
    let journal = Journal::new();
    let outcome = journal.server().set("produces", produces).set("start_timeout", "1s").run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    // The stranger may be this very program, and have its own errors.
    let error = outcome.stderr.last().unwrap();
    assert!(error.starts_with("error: command_producer failed: "), "{outcome:#?}");
    assert!(error.contains("did not take the handshake"), "{error}");
    let starts = journal.lines().iter().filter(|line| *line == "command_producer").count();
    assert!(starts <= 2, "{starts} starts of {produces}: {outcome:#?}");
}

#[test]
fn a_producer_that_starts_something_that_ends_is_found_out() {
    a_stranger_is_refused("ends");
}

#[test]
fn a_producer_that_takes_the_handshake_away_is_found_out() {
    a_stranger_is_refused("null_stdin");
}

#[test]
fn a_producer_that_starts_something_that_stays_is_found_out() {
    a_stranger_is_refused("stays");
}

#[test]
fn a_producer_that_loses_the_marker_starts_children_and_no_masters() {
    // A child that took itself for a master would start children, which would take themselves for
    // masters, and so on.
    let journal = Journal::new();
    let fleet = journal.server().set("produces", "no_marker").start();
    assert_eq!(client::get(fleet.addr(), "/role"), "true");
    let starts = journal.lines().iter().filter(|line| *line == "command_producer").count();
    assert_eq!(starts, 2);
    fleet.stop();
}

/// What is in the journal about the end of the master.
fn deaths(journal: &Journal) -> Vec<String> {
    let mut lines = journal.lines();
    lines.retain(|line| line.starts_with("on_master_death"));
    lines.sort();
    lines
}

#[test]
fn on_master_death_runs_in_every_child_when_the_master_is_killed() {
    let journal = Journal::new();
    let mut fleet = journal.server().start();
    let mut expected: Vec<_> =
        fleet.first_children().iter().map(|child| format!("on_master_death {child}")).collect();
    expected.sort();
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    wait::until("the end of the orphans", || fleet.processes().is_empty());
    fleet.assert_nothing_left();
    assert_eq!(deaths(&journal), expected, "of {}", pids(&fleet.first_children()));
}

#[test]
fn on_master_death_does_not_run_when_the_fleet_is_stopped() {
    let journal = Journal::new();
    let fleet = journal.server().start();
    fleet.replace(&[fleet.first_children()[0]]);
    fleet.stop();
    assert_eq!(deaths(&journal), Vec::<String>::new());
}
