//! What is special to Windows. Everything else is in the other files, as on Unix.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be done is a failure")]

use std::fs;

use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const OPERATED: &str = env!("CARGO_BIN_EXE_operated");

#[test]
fn without_reuseport_nothing_is_started() {
    let outcome = Server::new(SERVER).set("reuseport", "0").run();
    outcome.assert_refused("windows only supports reuseport = true");
    let outcome = Server::new(SERVER).env("PREFORK_REUSEPORT", "false").run();
    outcome.assert_refused("windows only supports reuseport = true");
}

#[test]
fn an_operator_is_told_what_stands_for_a_signal() {
    let fleet = Server::new(SERVER).start();
    let event = format!(r"stop with Ctrl-C or the event Global\prefork-{}-stop", fleet.master());
    fleet.console.wait_for(&event);
    fleet.stop();
}

#[test]
fn a_program_that_runs_can_be_renamed_and_a_reload_takes_what_has_its_name_then() {
    let directory = tempfile::tempdir().unwrap();
    let (program, old) = (directory.path().join("program.exe"), directory.path().join("old.exe"));
    fs::copy(OPERATED, &program).unwrap();
    let fleet = Server::new(&program).start();
    let first = fleet.first_children();
    // Only the other program knows this request; the first answers everything with its pid.
    let knows = || client::get(fleet.addr(), "/variable/TEST_NONE") == "None";
    fs::rename(&program, &old).unwrap();
    fs::copy(SERVER, &program).unwrap();
    fleet.signal(Signal::SIGHUP);
    fleet.console.wait_for("reloaded:");
    fleet.wait_for_children(2, &first);
    wait::until("the other program", knows);
    fleet.stop();
}
