//! Children whose master is killed. On Linux orphans become children of this process, which so learns
//! how they end; all tests of this kind are in this file, for that is a property of the whole process.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::proc::ExitWatch;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

/// Kills the master and collects it; returns its children, once they are ready.
fn kill_master(fleet: &mut RunningFleet) -> Vec<ExitWatch> {
    let orphans = fleet.first_children().into_iter().map(ExitWatch::new).collect();
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    orphans
}

/// Waits until every orphan has ended, with status 1.
fn expect_1_of(orphans: &[ExitWatch]) {
    for orphan in orphans {
        assert_eq!(wait::for_value("the end of an orphan", || orphan.status()), 1);
    }
}

fn orphans_drain(server: &str) {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let server = Server::new(server).set("gate", open.display()).set("shutdown_grace", "1m");
    let mut fleet = server.start();
    let addr = fleet.addr();
    let in_flight: Vec<_> = (0..6).map(|_| client::begin(addr, "/gate")).collect();
    let orphans = kill_master(&mut fleet);
    fleet.wait_until_it_refuses();
    fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    expect_1_of(&orphans);
    fleet.assert_nothing_left();
}

#[test]
fn orphans_answer_what_is_in_flight_and_exit_with_1() {
    orphans_drain(env!("CARGO_BIN_EXE_server"));
}

#[test]
fn tokio_orphans_answer_what_is_in_flight_and_exit_with_1() {
    orphans_drain(env!("CARGO_BIN_EXE_tokio_server"));
}

#[test]
fn orphans_that_know_of_stops_exit_with_1_as_well() {
    orphans_drain(env!("CARGO_BIN_EXE_arguments_server"));
}

#[test]
fn an_orphan_whose_connections_never_end_gives_up_after_its_grace() {
    let mut fleet = Server::new(env!("CARGO_BIN_EXE_server")).set("shutdown_grace", "300ms").start();
    let request = client::begin(fleet.addr(), "/hold");
    expect_1_of(&kill_master(&mut fleet));
    assert!(request.finish().is_err());
    fleet.assert_nothing_left();
}

#[test]
fn a_panic_or_an_error_in_on_master_death_does_not_keep_an_orphan() {
    for option in ["fails", "panics"] {
        let server = Server::new(env!("CARGO_BIN_EXE_hooks_server")).set(option, "on_master_death");
        let mut fleet = server.start();
        expect_1_of(&kill_master(&mut fleet));
        fleet.assert_nothing_left();
    }
}

#[test]
fn an_on_master_death_that_never_returns_does_not_keep_an_orphan() {
    let server = Server::new(env!("CARGO_BIN_EXE_hooks_server")).set("hangs", "on_master_death");
    let mut fleet = server.set("shutdown_grace", "300ms").start();
    expect_1_of(&kill_master(&mut fleet));
    fleet.assert_nothing_left();
}

#[test]
fn children_that_boot_while_their_master_is_killed_do_not_stay() {
    for _ in 0..5 {
        // On Windows a master that is killed while it creates a process leaves one that never runs: so
        // only once there is nothing more to create.
        let workers = if cfg!(windows) { 1 } else { 4 };
        let mut fleet = Server::new(env!("CARGO_BIN_EXE_server")).set("workers", workers).launch();
        fleet.console.wait_for("listening on");
        wait::until("a child that boots", || cfg!(unix) || fleet.children_started() > 0);
        fleet.signal(Signal::SIGKILL);
        fleet.wait();
        wait::until("the end of the orphans", || fleet.processes().is_empty());
        fleet.assert_nothing_left();
    }
}
