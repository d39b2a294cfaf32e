//! A fleet operated from inside its master.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use prefork_tests::client;
use prefork_tests::fleet::Server;
use tempfile::TempDir;

const FLEET_HANDLE_SERVER: &str = env!("CARGO_BIN_EXE_fleet_handle_server");

/// The file of commands that the server follows.
struct Commands(TempDir);

impl Commands {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("commands")
    }

    fn server(&self) -> Server {
        Server::new(FLEET_HANDLE_SERVER).set("commands", self.path().display())
    }

    fn give(&self, command: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        writeln!(file, "{command}").unwrap();
    }
}

#[test]
fn stop_by_handle_answers_requests_in_flight() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let commands = Commands::new();
    let fleet = commands.server().set("gate", open.display()).set("shutdown_grace", "1m").start();
    let in_flight: Vec<_> = (0..4).map(|_| client::begin(fleet.addr(), "/gate")).collect();
    commands.give("stop");
    fleet.wait_until_it_refuses();
    fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    fleet.expect_stopped();
}

#[test]
fn second_stop_by_handle_kills_at_once() {
    let commands = Commands::new();
    let mut fleet = commands.server().set("shutdown_grace", "1h").start();
    let request = client::begin(fleet.addr(), "/hold");
    commands.give("stop");
    fleet.console.wait_for("stopping: ");
    fleet.insist(|| commands.give("stop"));
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
    request.finish().unwrap_err();
}

#[test]
fn stop_before_the_start_stops_after_it() {
    // The children have the handle as well, and it does nothing there.
    let outcome = Server::new(FLEET_HANDLE_SERVER).set("early", 1).run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    assert!(outcome.stderr.iter().any(|line| line.contains("stopping: ")), "{outcome:#?}");
    let outcome = Server::new(FLEET_HANDLE_SERVER)
        .set("early", 5)
        .set("boot", "hang")
        .set("shutdown_grace", "1h")
        .run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
}

#[test]
fn fleet_with_unused_handle_recovers() {
    let fleet = Server::new(FLEET_HANDLE_SERVER).start();
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children()[..1]);
    fleet.stop();
}

#[test]
fn reload_and_resize_by_handle_have_the_effect_that_status_tells() {
    let commands = Commands::new();
    let fleet = commands.server().start();
    fleet.console.wait_for("status in on_master_ready: serving");
    commands.give("status");
    fleet.console.wait_for("status: serving generation 0 ready 2 of 2, 2 children");
    commands.give("reload");
    fleet.console.wait_for("reloaded: every child is of generation 1");
    commands.give("resize 4");
    fleet.console.wait_for("resized from 2 to 4 children");
    fleet.wait_for_children(4, &[]);
    commands.give("resize 1");
    fleet.console.wait_for("resized from 4 to 1 child");
    let last = fleet.wait_for_children(1, &[]);
    commands.give("resize 9000");
    fleet.console.wait_for("resize: workers cannot be `9000`: expected a number from 1 to 8192");
    assert_eq!(client::serving_pid(fleet.addr()), last[0]);
    commands.give("stop");
    let lines = fleet.expect_stopped();
    assert_eq!(lines.last().map(String::as_str), Some("status at the end: ended"));
}

#[test]
fn child_that_retires_after_its_requests_is_replaced_without_loss() {
    let fleet = Server::new(FLEET_HANDLE_SERVER).set("max_requests", 100).start();
    let first = fleet.first_children();
    let tally = client::under_load(fleet.addr(), "/", 4, || {
        fleet.console.wait_for_nth(4, "asked to be replaced; replacing it, new before old");
    });
    // On Windows a server that does not take `Shutdown` accepts until it ends.
    assert!(cfg!(windows) || tally.failures.is_empty(), "{tally:?}");
    let successors = tally.answers.keys().filter(|pid| !first.iter().any(|old| **pid == old.to_string()));
    assert!(successors.count() >= 2, "{tally:?}");
    fleet.stop();
}
