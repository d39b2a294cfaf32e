//! Children whose master is killed. Orphans become children of this process, which so learns how
//! they end; all tests of this kind are in this file, for that is a property of the whole process.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a helper of tests, a panic is a failure"
)]

use std::fs;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use prefork_tests::fleet::{Fleet, Server};
use prefork_tests::{client, proc, wait};

/// Kills the master and collects it.
fn kill_master(fleet: &mut Fleet) {
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
}

/// Waits for the end of a process that was orphaned; returns how it ended.
fn end_of(orphan: u32) -> WaitStatus {
    let pid = Pid::from_raw(orphan.try_into().unwrap());
    wait::for_some("the end of an orphan", || match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        // Not ours yet, or alive.
        Err(_) | Ok(WaitStatus::StillAlive) => None,
        Ok(status) => Some(status),
    })
}

fn exited(orphan: u32, status: i32) -> WaitStatus {
    WaitStatus::Exited(Pid::from_raw(orphan.try_into().unwrap()), status)
}

fn orphans_drain(server: &str) {
    set_child_subreaper(true).unwrap();
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let server = Server::new(server).set("gate", open.display()).set("shutdown_grace", "1m");
    let mut fleet = server.start();
    let addr = fleet.addr();
    let in_flight: Vec<_> = (0..6).map(|_| client::begin(addr, "/gate")).collect();
    kill_master(&mut fleet);
    wait::until("a closed port", || proc::listening_inodes(addr.port()).is_empty());
    assert!(client::is_refused(addr));
    fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    for orphan in fleet.first_children() {
        assert_eq!(end_of(orphan), exited(orphan, 1));
    }
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
    orphans_drain(env!("CARGO_BIN_EXE_cooperating"));
}

#[test]
fn an_orphan_whose_connections_never_end_gives_up_after_its_grace() {
    set_child_subreaper(true).unwrap();
    let mut fleet = Server::new(env!("CARGO_BIN_EXE_server")).set("shutdown_grace", "300ms").start();
    let request = client::begin(fleet.addr(), "/hold");
    kill_master(&mut fleet);
    for orphan in fleet.first_children() {
        assert_eq!(end_of(orphan), exited(orphan, 1));
    }
    assert!(request.finish().is_err());
    fleet.assert_nothing_left();
}

#[test]
fn a_panic_or_an_error_in_on_master_death_does_not_keep_an_orphan() {
    set_child_subreaper(true).unwrap();
    for option in ["fails", "panics"] {
        let server = Server::new(env!("CARGO_BIN_EXE_hooked")).set(option, "on_master_death");
        let mut fleet = server.start();
        kill_master(&mut fleet);
        for orphan in fleet.first_children() {
            assert_eq!(end_of(orphan), exited(orphan, 1), "{option}");
        }
        fleet.assert_nothing_left();
    }
}

#[test]
fn children_that_boot_while_their_master_is_killed_do_not_stay() {
    set_child_subreaper(true).unwrap();
    for _ in 0..5 {
        let server = Server::new(env!("CARGO_BIN_EXE_server")).set("workers", 4);
        let mut fleet = server.launch();
        fleet.console.wait_for("listening on");
        kill_master(&mut fleet);
        wait::until("the end of the orphans", || fleet.processes().is_empty());
        fleet.assert_nothing_left();
    }
}
