//! Children whose master is killed. On Linux this process becomes their subreaper and so gets their exit
//! status. That is a property of the whole process, so all such tests are in this program.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use prefork_tests::fleet::AS_NOBODY;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::proc::ExitWatch;
#[cfg(target_os = "linux")]
use prefork_tests::program::{ProgramCopy, public_directory};
use prefork_tests::signal::Signal;
#[cfg(target_os = "linux")]
use prefork_tests::skip::skipped;
use prefork_tests::{client, wait};

/// Kills the master and reaps it; returns its children, which are ready.
fn kill_master(fleet: &mut RunningFleet) -> Vec<ExitWatch> {
    let orphans = fleet.first_children().into_iter().map(ExitWatch::new).collect();
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    orphans
}

/// Waits until every orphan has exited; checks the status 1.
fn expect_exit_1(orphans: &[ExitWatch]) {
    for orphan in orphans {
        assert_eq!(wait::for_value("end of an orphan", || orphan.status()), 1);
    }
}

fn check_orphans_drain(server: &str) {
    let gate = ResponseGate::new();
    let mut fleet = Server::new(server).gate(&gate).start();
    let in_flight = client::begin_many(fleet.addr(), "/gate", 6);
    let orphans = kill_master(&mut fleet);
    fleet.wait_until_it_refuses();
    gate.open();
    client::finish_all(in_flight);
    expect_exit_1(&orphans);
    fleet.assert_nothing_left();
}

#[test]
fn orphans_answer_requests_in_flight_and_exit_1() {
    check_orphans_drain(env!("CARGO_BIN_EXE_server"));
}

#[test]
fn tokio_orphans_answer_requests_in_flight_and_exit_1() {
    check_orphans_drain(env!("CARGO_BIN_EXE_tokio_server"));
}

#[test]
fn orphans_with_shutdown_argument_exit_1() {
    check_orphans_drain(env!("CARGO_BIN_EXE_arguments_server"));
}

#[test]
fn orphan_with_endless_request_exits_after_grace() {
    let mut fleet = Server::new(env!("CARGO_BIN_EXE_server")).set("shutdown_grace", "300ms").start();
    let request = client::begin(fleet.addr(), "/hold");
    expect_exit_1(&kill_master(&mut fleet));
    assert!(request.finish().is_err());
    fleet.assert_nothing_left();
}

/// Lets a process of the user 65534 start no further thread.
#[cfg(target_os = "linux")]
fn forbid_threads(pid: u32) {
    let pid = pid.to_string();
    let command = [&AS_NOBODY[..], &["prlimit", "--pid", &pid, "--nproc=1:"]].concat();
    assert!(Command::new(command[0]).args(&command[1..]).status().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn orphans_that_cannot_start_a_thread_answer_requests_in_flight_and_end_within_their_grace() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let directory = public_directory();
    let gate = directory.path().join("gate");
    let program = ProgramCopy::new(env!("CARGO_BIN_EXE_server"));
    let server = Server::through(&AS_NOBODY, program.path()).set("gate", gate.display());
    let mut fleet = server.set("shutdown_grace", "5s").start();
    let in_flight = client::begin_many(fleet.addr(), "/gate", 6);
    let endless = client::begin(fleet.addr(), "/hold");
    fleet.first_children().into_iter().for_each(forbid_threads);
    let orphans = kill_master(&mut fleet);
    fleet.wait_until_it_refuses();
    std::fs::write(&gate, "").unwrap();
    client::finish_all(in_flight);
    expect_exit_1(&orphans);
    assert!(endless.finish().is_err());
    fleet.assert_nothing_left();
}

#[test]
fn panic_or_error_in_on_master_death_ends_orphan() {
    for option in ["fails", "panics"] {
        let server = Server::new(env!("CARGO_BIN_EXE_hooks_server")).set(option, "on_master_death");
        let mut fleet = server.start();
        expect_exit_1(&kill_master(&mut fleet));
        fleet.assert_nothing_left();
    }
}

#[test]
fn on_master_death_that_never_returns_ends_orphan_after_grace() {
    let server = Server::new(env!("CARGO_BIN_EXE_hooks_server")).set("hangs", "on_master_death");
    let mut fleet = server.set("shutdown_grace", "300ms").start();
    expect_exit_1(&kill_master(&mut fleet));
    fleet.assert_nothing_left();
}

#[test]
fn kill_of_master_while_children_boot_leaves_no_process() {
    for _ in 0..5 {
        // On Windows, killing a master while it creates a process leaves a process that never runs. So the
        // test waits until there is no further process to create.
        let workers = if cfg!(windows) { 1 } else { 4 };
        let mut fleet = Server::new(env!("CARGO_BIN_EXE_server")).set("workers", workers).launch();
        fleet.console.wait_for("listening on");
        wait::until("booting child", || cfg!(unix) || fleet.children_started() > 0);
        fleet.signal(Signal::SIGKILL);
        fleet.wait();
        wait::until("end of the orphans", || fleet.processes().is_empty());
        fleet.assert_nothing_left();
    }
}
