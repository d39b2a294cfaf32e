//! What children log of themselves reaches those who follow the log at the master: the outcome of an operation, and the
//! clients of `/events`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::path::PathBuf;

use prefork_tests::control::{Asked, ControlPath};
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const FAILING_SERVER: &str = env!("CARGO_BIN_EXE_failing_server");
const HOSTILE_SERVER: &str = env!("CARGO_BIN_EXE_hostile_server");

/// A fleet whose next children fail as it is told.
struct Failing {
    control: ControlPath,
    fleet: RunningFleet,
    directory: tempfile::TempDir,
}

impl Failing {
    fn start(start: impl FnOnce(Server) -> RunningFleet) -> Self {
        let (control, directory) = (ControlPath::default(), tempfile::tempdir().unwrap());
        let server = Server::new(FAILING_SERVER).set("next", directory.path().join("next").display());
        Self { fleet: start(control.of(server)), control, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn set_next(&self, way: &str, reason: &str) {
        fs::write(self.path("new"), format!("fails={way}\nreason={reason}\n")).unwrap();
        fs::rename(self.path("new"), self.path("next")).unwrap();
    }

    /// A reload whose first child fails.
    fn failed_reload(&self) -> String {
        let answer = self.control.post("/reload");
        assert!(answer.is(500, "aborted"), "{answer:?}");
        let (_, log) = answer.body.split_once("\"log\":[").unwrap();
        log.to_owned()
    }
}

/// Follows the events. What happens from now on is among them.
fn follow(control: &ControlPath) -> Asked {
    let events = control.begin("GET", "/events", "");
    // The server has read the first request when it answers the second.
    assert_eq!(control.get("/livez").status, 200);
    events
}

/// What a child says of each of its ways to fail, after its name and before the reason.
const WAYS: [(&str, &str); 5] = [
    ("init", "cannot start: init failed: "),
    ("init_panic", "panicked at tests/src/bin/failing_server.rs:"),
    ("error", "has returned an error: cannot serve: "),
    ("panic", "panicked at tests/src/bin/failing_server.rs:"),
    ("task_panic", "panicked at tests/src/bin/failing_server.rs:"),
];

#[test]
fn outcome_of_a_failed_reload_has_the_reason_that_the_child_gives() {
    let failing = Failing::start(Server::start);
    for (way, says) in WAYS {
        failing.set_next(way, "no such table");
        let log = failing.failed_reload();
        let line = log.split("\",\"").find(|line| line.contains("no such table"));
        let line = line.unwrap_or_else(|| panic!("{way}: {log}"));
        assert!(line.starts_with("child 0 (pid ") && line.contains(says), "{way}: {log}");
        assert_eq!(log.matches("no such table").count(), 1, "{way}: {log}");
        assert!(log.contains("exited before it was ready: status 1"), "{way}: {log}");
    }
    failing.fleet.stop();
}

#[test]
fn reason_is_never_missed_although_the_child_exits_right_after_it() {
    let failing = Failing::start(Server::start);
    // The master reads it in several turns.
    let reason = "a long reason ".repeat(60);
    for round in 0..25 {
        let way = ["error", "panic"][round % 2];
        failing.set_next(way, &format!("{reason}{round}"));
        let log = failing.failed_reload();
        assert!(log.contains(&format!("{reason}{round}\"")), "{log}");
    }
    failing.fleet.stop();
}

#[test]
fn reason_comes_before_the_exit_although_the_master_meets_both_at_once() {
    let gate = ResponseGate::new();
    let failing = Failing::start(|server| server.gate(&gate).start());
    let (first, master) = (failing.fleet.first_children(), failing.fleet.master());
    let reason = format!("{}without end", "a long reason ".repeat(60));
    failing.set_next("error", &reason);
    let reload = failing.control.begin("POST", "/reload", "");
    let new = || failing.fleet.children().into_iter().find(|child| !first.contains(child));
    wait::until("new child", || new().is_some());
    let new = new().unwrap();
    send(master, Signal::SIGSTOP);
    gate.open();
    wait::until("end of the new child", || proc::zombies(master).contains(&new));
    send(master, Signal::SIGCONT);
    let answer = reload.answer();
    assert!(answer.is(500, "aborted") && answer.says(&reason), "{answer:?}");
    failing.fleet.stop();
}

/// Lets children fail in three ways, each for a reason of its own.
fn fail_in_three_ways(failing: &Failing) {
    for (way, reason) in
        [("error", "the first reason"), ("panic", "the second reason"), ("init", "the third")]
    {
        failing.set_next(way, reason);
        failing.failed_reload();
    }
}

fn count(lines: &[String]) -> [usize; 3] {
    let count = |reason| lines.iter().filter(|line| line.contains(reason)).count();
    ["the first reason", "the second reason", "the third"].map(count)
}

#[test]
fn what_a_child_says_is_on_the_terminal_once() {
    let failing = Failing::start(Server::start);
    fail_in_three_ways(&failing);
    // The first two are printed by the standard library.
    let lines = failing.fleet.stop();
    assert_eq!(count(&lines), [1, 1, 1], "{lines:#?}");
}

#[test]
fn what_a_child_says_is_once_in_the_log_of_a_logger() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let log = || fs::read_to_string(&file).unwrap_or_default();
    let mut failing = Failing::start(|server| server.set("log_file", file.display()).launch());
    wait::until("ready fleet", || log().contains("2 children ready"));
    fail_in_three_ways(&failing);
    failing.fleet.signal(Signal::SIGTERM);
    assert_eq!(failing.fleet.wait().code(), Some(0));
    let printed = failing.fleet.console.wait_for_end();
    let logged: Vec<String> = log().lines().map(ToOwned::to_owned).collect();
    assert_eq!((count(&printed), count(&logged)), ([1, 1, 0], [1, 1, 1]), "{printed:#?} {logged:#?}");
}

#[test]
fn events_have_what_children_log_with_their_slot_pid_and_generation() {
    let failing = Failing::start(Server::start);
    let mut events = follow(&failing.control).lines();
    failing.set_next("error", "no such \"table\"");
    failing.failed_reload();
    let mut find = |text: &str| events.find(|line| line.contains(text)).unwrap();
    let started = find("\"event\":\"child_started\"");
    let (_, pid) = started.split_once("\"pid\":").unwrap();
    let pid = pid.split(',').next().unwrap();
    let line = find("\"event\":\"serve_failed\"");
    let end = format!(
        "\"level\":\"error\",\"event\":\"serve_failed\",\"slot\":0,\"pid\":{pid},\"generation\":1,\"from\":\"child\",\"message\":\"child 0 \
         (pid {pid}) has returned an error: cannot serve: no such \\\"table\\\"\"}}"
    );
    assert!(line.starts_with("{\"time\":1") && line.ends_with(&end), "{line}");
    find("exited before it was ready");
    drop(events);
    failing.fleet.stop();
}

#[test]
fn what_a_hostile_child_sends_is_taken_as_its_own_and_bounded() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(HOSTILE_SERVER)).start();
    let events = follow(&control);
    let pid = client::get(fleet.addr(), "/log");
    let is_taken = |line: &String| line.contains("forged") && !line.contains("\"event\":\"unknown_message\"");
    let mut lines = events.lines().filter(is_taken);
    let forged = lines.next().unwrap();
    assert!(forged.contains(&format!("\"pid\":{pid},\"generation\":0,")), "{forged}");
    assert!(forged.contains("\"event\":\"reload_aborted\"") && !forged.contains("4711"), "{forged}");
    assert!(forged.contains("forged \\\\n\\\\u{1b}[2J") && !forged.contains('\u{1b}'), "{forged}");
    let long = lines.next().unwrap();
    assert!(long.len() < 1300 && long.contains("xxx"), "{long}");
    drop(lines);
    let status = control.get("/status");
    assert!(status.says(&format!("\"pid\":{pid},\"generation\":0,\"state\":\"ready\"")), "{status:?}");
    fleet.stop();
}

#[test]
fn child_that_floods_its_master_with_its_log_is_killed_and_replaced() {
    let control = ControlPath::default();
    let mut fleet = control.of(Server::new(HOSTILE_SERVER)).start();
    let events = follow(&control);
    let hostile = client::begin(fleet.addr(), "/log-flood").pid();
    fleet
        .console
        .wait_for(&format!("(pid {hostile}) sent its master more than 64 messages within 10s; killing it"));
    fleet.console.wait_for(&format!("in place of pid {hostile}"));
    let lines = events.lines().take_while(|line| !line.contains("\"event\":\"child_replaced\""));
    let count = lines.filter(|line| line.contains("flood of a child")).count();
    // What is read together with the message that is too much counts as well.
    assert!((1..=80).contains(&count), "{count} messages");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
}
