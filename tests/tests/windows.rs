//! What is special to Windows. Everything else is in the other files, as on Unix.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");

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
fn a_fleet_lives_without_a_console_and_without_standard_handles() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let said = |what: &str| {
        fs::read_to_string(&log).unwrap_or_default().lines().find_map(|line| {
            line.split_once(what)
                .map(|(_, rest)| rest.split([' ', ',']).next().unwrap_or_default().to_owned())
        })
    };
    let server = Server::through(&[SERVER, "serve"], SERVER).set("log_file", log.display());
    let mut fleet = server.launch();
    let master: u32 = wait::for_value("a master", || said("master pid ")).parse().unwrap();
    wait::until("a fleet that is ready", || said("children ready").is_some());
    let addr = said("listening on ").unwrap().parse().unwrap();
    let victim = client::serving_pid(addr);
    send(victim, Signal::SIGKILL);
    wait::until("a successor", || said(&format!("in place of pid {victim}")).is_some());
    assert!(proc::children(master).contains(&client::serving_pid(addr)));
    client::try_get(addr, "/panic").unwrap_err();
    send(master, Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    assert_eq!(
        fleet.console.wait_for_end(),
        Vec::<String>::new(),
        "whoever panics says so, if somebody listens"
    );
}

#[test]
fn a_program_that_runs_can_be_renamed_and_a_reload_takes_what_has_its_name_then() {
    let directory = tempfile::tempdir().unwrap();
    let (program, old) = (directory.path().join("program.exe"), directory.path().join("old.exe"));
    fs::copy(KEEP_ALIVE_SERVER, &program).unwrap();
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

/// Has a child start a process that would stay for ever; returns both.
fn leave_one_behind(fleet: &RunningFleet) -> (u32, u32) {
    let child = client::get(fleet.addr(), "/leave/later").parse().unwrap();
    (child, wait::for_value("a process that is left", || proc::children(child).pop()))
}

#[test]
fn what_children_have_started_outlives_them_but_not_the_fleet() {
    let mut fleet = Server::new(SERVER).start();
    let (child, left) = leave_one_behind(&fleet);
    fleet.replace(&[child]);
    assert!(proc::is_alive(left), "a child's end is not the fleet's");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    wait::until("the end of what was left behind", || fleet.processes().is_empty());
}

#[test]
fn what_children_have_started_ends_with_the_last_orphan() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let mut fleet = Server::new(SERVER).set("gate", open.display()).set("shutdown_grace", "1m").start();
    let (_, left) = leave_one_behind(&fleet);
    let in_flight = client::begin(fleet.addr(), "/gate");
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    fleet.console.wait_for_nth(2, "lost its master");
    assert!(proc::is_alive(left), "the orphans drain");
    fs::write(&open, "").unwrap();
    in_flight.finish().unwrap();
    wait::until("the end of everything", || fleet.processes().is_empty());
    fleet.assert_nothing_left();
}

#[test]
fn a_child_that_never_comes_for_its_listeners_ends_with_its_master() {
    let mut fleet = Server::new(SERVER).set("boot", "hang").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    wait::until("the end of the orphans", || fleet.processes().is_empty());
}
