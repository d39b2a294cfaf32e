//! A stop from inside the master: the same as one by a signal.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, what cannot be done is a failure")]

use std::fs;
use std::path::PathBuf;

use prefork_tests::client;
use prefork_tests::fleet::Server;
use tempfile::TempDir;

const HANDLED: &str = env!("CARGO_BIN_EXE_handled");

/// Stops a fleet as often as the file has bytes.
struct Stops(TempDir);

impl Stops {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("stops")
    }

    fn server(&self) -> Server {
        Server::new(HANDLED).set("stops", self.path().display())
    }

    fn ask(&self, times: usize) {
        fs::write(self.path(), "x".repeat(times)).unwrap();
    }
}

#[test]
fn a_stop_from_inside_is_graceful_and_requests_in_flight_are_answered() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let stops = Stops::new();
    let fleet = stops.server().set("gate", open.display()).set("shutdown_grace", "1m").start();
    let in_flight: Vec<_> = (0..4).map(|_| client::begin(fleet.addr(), "/gate")).collect();
    stops.ask(1);
    fleet.wait_until_it_refuses();
    fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    fleet.expect_stopped();
}

#[test]
fn a_second_stop_from_inside_kills_at_once() {
    let stops = Stops::new();
    let mut fleet = stops.server().set("shutdown_grace", "1h").start();
    let request = client::begin(fleet.addr(), "/hold");
    stops.ask(1);
    fleet.console.wait_for("stopping: ");
    stops.ask(2);
    fleet.console.wait_for("stopping at once");
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
    request.finish().unwrap_err();
}

#[test]
fn a_fleet_that_is_stopped_before_it_starts_stops_then() {
    // The children have the handle as well, and it does nothing there.
    let outcome = Server::new(HANDLED).set("early", 1).run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    assert!(outcome.stderr.iter().any(|line| line.contains("stopping: ")), "{outcome:#?}");
    let outcome = Server::new(HANDLED).set("early", 5).set("boot", "hang").set("shutdown_grace", "1h").run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
}

#[test]
fn nobody_needs_it() {
    let fleet = Server::new(HANDLED).start();
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children()[..1]);
    fleet.stop();
}
