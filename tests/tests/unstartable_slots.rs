//! A slot whose child cannot be started: the others serve on, a grow is undone, and the slot is filled once
//! that works again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use prefork_tests::fleet::{AS_NOBODY, RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, wait};

const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");
const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Longer than a fleet would take to count five failures at growing delays.
const SEVERAL_ATTEMPTS: Duration = Duration::from_millis(2500);

fn make_executable(program: &ProgramCopy, executable: bool) {
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(program.path(), Permissions::from_mode(mode)).unwrap();
}

/// Kills one child, whose slot cannot be filled; checks that the others serve on, and that the reason is
/// logged once.
fn kill_one_for_good(fleet: &mut RunningFleet, reason: &str) -> u32 {
    let children = fleet.children();
    let victim = children[0];
    send(victim, Signal::SIGKILL);
    let line = fleet.console.wait_for("could not be started");
    assert!(line.contains(reason), "{line}");
    fleet.wait_for_children(children.len() - 1, &[victim]);
    // The absence of an end during this time is the condition.
    thread::sleep(SEVERAL_ATTEMPTS);
    assert_eq!(fleet.try_wait(), None, "{:#?}", fleet.console.lines());
    assert!(children.contains(&client::serving_pid(fleet.addr())));
    assert_eq!(fleet.console.lines_with("could not be started").len(), 1, "{:#?}", fleet.console.lines());
    assert_eq!(fleet.console.lines_with("will be started once that works").len(), 1);
    victim
}

/// Changes the soft limit of a master that runs as nobody.
fn limit_processes(fleet: &RunningFleet, limit: u32) {
    let (pid, limit) = (fleet.master().to_string(), format!("--nproc={limit}:"));
    let command = [&AS_NOBODY[..], &["prlimit", "--pid", &pid, &limit]].concat();
    let status = Command::new(command[0]).args(&command[1..]).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn process_limit_keeps_three_of_four_children_until_it_is_lifted() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let program = ProgramCopy::new(SERVER);
    let mut fleet = Server::through(&AS_NOBODY, program.path()).set("workers", 4).start();
    limit_processes(&fleet, 1);
    let victim = kill_one_for_good(&mut fleet, "resource temporarily unavailable");
    limit_processes(&fleet, 4096);
    fleet.wait_for_children(4, &[victim]);
    fleet.console.wait_for(&format!("in place of pid {victim}"));
    fleet.stop();
}

#[test]
fn program_that_is_not_executable_keeps_the_other_children_until_it_is() {
    let program = ProgramCopy::new(SERVER);
    let mut fleet = Server::new(program.path()).set("recover", 1).start();
    make_executable(&program, false);
    let victim = kill_one_for_good(&mut fleet, "permission denied");
    make_executable(&program, true);
    fleet.wait_for_children(2, &[victim]);
    fleet.console.wait_for(&format!("in place of pid {victim}"));
    fleet.stop();
}

#[test]
fn grow_without_executable_program_is_undone() {
    let program = ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).start();
    make_executable(&program, false);
    for attempt in 1..=2 {
        let undone = "resize from 2 to 3 children undone: child 2 could not be started";
        fleet.operate(Signal::SIGTTIN, attempt, undone);
        fleet.console.wait_for_nth(attempt, "child 2 could not be started: permission denied");
    }
    assert_eq!(fleet.wait_for_children(2, &[]), fleet.first_children());
    client::serving_pid(fleet.addr());
    make_executable(&program, true);
    fleet.signal(Signal::SIGTTIN);
    fleet.wait_for_children(3, &[]);
    fleet.stop();
}

#[test]
fn reload_to_program_that_loses_its_mode_is_aborted_with_the_reason() {
    let program = ProgramCopy::new(SERVER);
    let mut fleet = Server::new(program.path()).start();
    make_executable(&program, false);
    fleet.operate(Signal::SIGHUP, 1, "cannot reload: ");
    kill_one_for_good(&mut fleet, "permission denied");
    make_executable(&program, true);
    fleet.wait_for_children(2, &[]);
    fleet.operate(Signal::SIGHUP, 1, "reloaded: ");
    fleet.stop();
}

#[test]
fn error_of_producer_after_full_start_keeps_the_other_children() {
    let gate = ResponseGate::new();
    let server = Server::new(HOOKS_SERVER).set("produces", "error_at_gate").gate(&gate);
    let mut fleet = server.start();
    gate.open();
    let victim = kill_one_for_good(&mut fleet, "command_producer failed: no child today");
    gate.close();
    fleet.wait_for_children(2, &[victim]);
    fleet.stop();
}

#[test]
fn fleet_without_ready_child_and_program_ends_after_recover_window() {
    let program = ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).set("recover", 9).set("recover_window", "2s").start();
    make_executable(&program, false);
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGKILL));
    let outcome = fleet.expect_end();
    assert_eq!(outcome.error(), "cannot start a child: permission denied", "{outcome:#?}");
}

#[test]
fn stop_of_fleet_that_cannot_start_children_ends_it() {
    let program = ProgramCopy::new(SERVER);
    let mut fleet = Server::new(program.path()).start();
    make_executable(&program, false);
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGKILL));
    fleet.console.wait_for_nth(2, "will be started once that works");
    wait::until("end of both children", || fleet.children().is_empty());
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
}
