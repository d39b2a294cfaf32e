//! `reload --wait`: what it waits for, and its exit status.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Stdio};

use super::{Fleet, wait_for};

/// A `reload --wait` that runs. It is killed when it is dropped.
struct Waiting<'a> {
    fleet: &'a Fleet,
    process: Child,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'a> Waiting<'a> {
    /// Begins to wait for a canary.
    fn start(fleet: &'a Fleet, arguments: &[&str]) -> Self {
        let mut command = fleet.command(&["reload", "--canary", "1", "--wait"]);
        let err = File::create(fleet.path("waiting")).unwrap();
        let process = command.args(arguments).stdout(Stdio::piped()).stderr(err).spawn().unwrap();
        Self { fleet, process }
    }

    /// Begins to wait, until the canary is seen to hold.
    fn hold(fleet: &'a Fleet, arguments: &[&str]) -> Self {
        let mut waiting = Self::start(fleet, arguments);
        wait_for("hold", || waiting.err().contains("\nholding: 1 of 2 children\n"));
        assert!(waiting.process.try_wait().unwrap().is_none());
        waiting
    }

    fn err(&self) -> String {
        fs::read_to_string(self.fleet.path("waiting")).unwrap()
    }

    /// The exit status, standard output and standard error.
    fn end(mut self) -> (i32, String, String) {
        wait_for("end of the command", || self.process.try_wait().unwrap().is_some());
        let mut out = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.process.wait().unwrap().code().unwrap(), out, self.err())
    }
}

/// Asserts that it was not done, and why.
fn assert_failed(waiting: Waiting<'_>, code: i32, reason: &str) {
    let (status, out, err) = waiting.end();
    assert_eq!(status, code, "{out}{err}");
    let last = err.lines().last().unwrap_or_default();
    assert!(out.is_empty() && last.contains(reason), "{out}{err}");
}

#[test]
fn promotion_ends_it_with_0_when_every_child_is_new() {
    let fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    assert_eq!(fleet.ctl(&["promote"]).0, 0);
    let (status, out, err) = waiting.end();
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.starts_with("reloaded: every child is of generation 1 ("), "{out}{err}");
    assert!(err.contains("holding: generation 1 has 1 of 2"), "{err}");
    assert!(err.contains("\n  promoted: generation 1"), "{err}");
    assert!(fleet.ctl(&["status"]).1.contains("2 of 2 ready, generation 1"));
}

#[test]
fn end_of_the_hold_and_a_reload_without_canary_are_waited_for() {
    let fleet = Fleet::start();
    let (status, out, err) = Waiting::start(&fleet, &["--hold", "50ms"]).end();
    assert_eq!(status, 0, "{out}{err}");
    let (status, out, err) = fleet.ctl(&["reload", "--wait"]);
    assert!(status == 0 && out.starts_with("reloaded: every child is of generation 2"), "{out}{err}");
}

#[test]
fn rollback_ends_it_with_1_and_the_reason() {
    let fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    assert_eq!(fleet.ctl(&["rollback"]).0, 0);
    assert_failed(waiting, 1, "rolling back generation 1: requested");
    // A child that fails while it holds.
    let waiting = Waiting::hold(&fleet, &[]);
    let status = fleet.ctl(&["status", "--json"]).1;
    let new = r#""generation":2,"state":"ready""#;
    let pid = status.split("\"pid\":").find(|child| child.contains(new)).unwrap().split(',').next().unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_failed(waiting, 1, "rolling back generation 2: new child 0 failed");
}

#[test]
fn reason_of_a_child_that_fails_in_the_hold_is_told() {
    for json in [false, true] {
        let fleet = Fleet::start();
        let mut waiting = Waiting::start(&fleet, if json { &["--json"] } else { &[] });
        wait_for("hold", || fleet.log().contains("holding: generation 1"));
        fs::write(fleet.path("lost"), "").unwrap();
        wait_for("end of the command", || {
            fleet.connect();
            waiting.process.try_wait().unwrap().is_some()
        });
        let (status, out, err) = waiting.end();
        assert_eq!(status, 1, "{out}{err}");
        let told = if json { out.lines().last().unwrap() } else { &err };
        assert!(told.contains("has returned an error: lost the database"), "{out}{err}");
    }
}

#[test]
fn failure_of_a_child_after_the_promotion_ends_it_with_1() {
    let fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    fs::write(fleet.path("broken"), "").unwrap();
    assert_eq!(fleet.ctl(&["promote"]).0, 1);
    assert_failed(waiting, 1, "reload aborted: new child 1 failed; 1 of 2 children replaced");
}

#[test]
fn other_changes_meanwhile_are_told_apart() {
    let fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    assert_eq!(fleet.ctl(&["recycle", "1"]).0, 0);
    assert_eq!(fleet.ctl(&["reload", "--canary", "0"]).0, 0);
    assert_failed(waiting, 1, "generation 2 has taken the place of generation 1");
    let waiting = Waiting::hold(&fleet, &[]);
    assert_eq!(fleet.ctl(&["upgrade"]).0, 0);
    assert_failed(waiting, 1, "generation 4 has taken the place of generation 3");
}

#[test]
fn end_of_the_fleet_ends_it() {
    let mut fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    assert_eq!(fleet.ctl(&["stop"]).0, 0);
    assert_failed(waiting, 1, "the fleet was asked to stop");
    fleet.wait();
    let mut fleet = Fleet::start();
    let waiting = Waiting::hold(&fleet, &[]);
    let master = nix::unistd::Pid::from_raw(i32::try_from(fleet.master.id()).unwrap());
    nix::sys::signal::kill(master, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_failed(waiting, 3, "generation 1 was not complete when it answered last");
    fleet.wait();
}

#[test]
fn answer_in_json_has_the_end_in_its_last_line() {
    let fleet = Fleet::start();
    let (status, out, err) = fleet.ctl(&["reload", "--wait", "--json", "--canary", "1", "--hold", "50ms"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("holding: generation 1"), "{out}");
    let expected =
        r#""message":"reloaded: every child is of generation 1","operation":"reload","result":"done""#;
    assert!(lines[1].contains(expected), "{out}");
}
