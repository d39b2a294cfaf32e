//! Behaviour that only Windows has. All other tests run on Windows too.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");

#[test]
fn reuseport_off_is_refused() {
    let outcome = Server::new(SERVER).set("reuseport", "0").run();
    outcome.assert_refused("windows only supports reuseport = true");
    let outcome = Server::new(SERVER).env("PREFORK_REUSEPORT", "false").run();
    outcome.assert_refused("windows only supports reuseport = true");
}

#[test]
fn control_socket_is_refused() {
    let outcome = Server::new(SERVER).env("PREFORK_CONTROL", r"C:\app.sock").run();
    outcome.assert_refused("on Windows a master has no control socket");
}

#[test]
fn start_logs_event_that_stops_fleet() {
    let fleet = Server::new(SERVER).start();
    let event = format!(r"stop with Ctrl-C or the event Global\prefork-{}-stop", fleet.master());
    fleet.console.wait_for(&event);
    fleet.stop();
}

#[test]
fn fleet_without_console_and_standard_handles_serves_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let logged = |what: &str| {
        fs::read_to_string(&log).unwrap_or_default().lines().find_map(|line| {
            line.split_once(what)
                .map(|(_, rest)| rest.split([' ', ',']).next().unwrap_or_default().to_owned())
        })
    };
    let server = Server::through(&[SERVER, "serve"], SERVER).set("log_file", log.display());
    let mut fleet = server.launch();
    let master: u32 = wait::for_value("pid of the master", || logged("master pid ")).parse().unwrap();
    wait::until("ready fleet", || logged("children ready").is_some());
    let addr = logged("listening on ").unwrap().parse().unwrap();
    let victim = client::serving_pid(addr);
    send(victim, Signal::SIGKILL);
    wait::until("successor", || logged(&format!("in place of pid {victim}")).is_some());
    assert!(proc::children(master).contains(&client::serving_pid(addr)));
    client::try_get(addr, "/panic").unwrap_err();
    send(master, Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    assert_eq!(
        fleet.console.wait_for_end(),
        Vec::<String>::new(),
        "a panic without standard error is silent"
    );
}

#[test]
fn reload_runs_program_that_replaced_renamed_file() {
    let directory = tempfile::tempdir().unwrap();
    let (program, old) = (directory.path().join("program.exe"), directory.path().join("old.exe"));
    fs::copy(KEEP_ALIVE_SERVER, &program).unwrap();
    let fleet = Server::new(&program).start();
    let first = fleet.first_children();
    // Only the new program has this path; the old one answers every path with its pid.
    let is_new = || client::get(fleet.addr(), "/variable/TEST_NONE") == "None";
    fs::rename(&program, &old).unwrap();
    fs::copy(SERVER, &program).unwrap();
    fleet.signal(Signal::SIGHUP);
    fleet.console.wait_for("reloaded:");
    fleet.wait_for_children(2, &first);
    wait::until("answer of the new program", is_new);
    fleet.stop();
}

/// Makes a child start a process that does not end by itself; returns both pids.
fn start_grandchild(fleet: &RunningFleet) -> (u32, u32) {
    let child = client::get(fleet.addr(), "/leave/later").parse().unwrap();
    (child, wait::for_value("grandchild", || proc::children(child).pop()))
}

#[test]
fn grandchild_outlives_child_and_ends_with_fleet() {
    let mut fleet = Server::new(SERVER).start();
    let (child, grandchild) = start_grandchild(&fleet);
    fleet.replace(&[child]);
    assert!(proc::is_alive(grandchild), "the end of its parent does not end the grandchild");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    wait::until("end of the grandchild", || fleet.processes().is_empty());
}

#[test]
fn grandchild_ends_with_last_orphan() {
    let gate = ResponseGate::new();
    let mut fleet = Server::new(SERVER).gate(&gate).start();
    let (_, grandchild) = start_grandchild(&fleet);
    let in_flight = client::begin(fleet.addr(), "/gate");
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    fleet.console.wait_for_nth(2, "lost its master");
    assert!(proc::is_alive(grandchild), "the grandchild lives while the orphans drain");
    gate.open();
    in_flight.finish().unwrap();
    wait::until("end of all processes", || fleet.processes().is_empty());
    fleet.assert_nothing_left();
}

#[test]
fn booting_child_ends_with_killed_master() {
    let mut fleet = Server::new(SERVER).set("boot", "hang").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    wait::until("end of the orphans", || fleet.processes().is_empty());
}
