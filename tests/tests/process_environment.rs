//! Unusual process environments: closed descriptors, inherited signal settings, deleted files. The fleet serves
//! and stops in each of them.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use prefork_tests::fleet::{RunningFleet, Server, wait_until_serving};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::send;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Checks that a fleet serves, replaces its children and stops.
fn check_serve_replace_stop(fleet: RunningFleet) {
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children());
    client::serving_pid(fleet.addr());
    assert_eq!(proc::zombies(fleet.master()), Vec::<u32>::new());
    fleet.stop();
}

#[test]
fn closed_standard_descriptors_do_not_break_fleet() {
    // Standard error may be closed, so the messages are read from a log file.
    for closed in ["0<&-", "1>&-", "0<&- 1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let server = Server::in_shell(&format!(r#"exec "$0" {closed}"#), SERVER);
        let mut fleet = server.set("log_file", log.display()).launch();
        let addr = wait::for_value("ready fleet", || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let (_, rest) = log.split_once("listening on ")?;
            log.contains("ready (pids").then(|| rest.split_once(' ').unwrap().0.parse().unwrap())
        });
        let children = fleet.children();
        assert_eq!(children.len(), 2, "{closed}");
        children.iter().for_each(|child| send(*child, Signal::SIGKILL));
        fleet.wait_for_children(2, &children).iter().for_each(|child| wait_until_serving(*child));
        client::serving_pid(addr);
        fleet.signal(Signal::SIGTERM);
        assert_eq!(fleet.wait().code(), Some(0), "{closed}");
        fleet.assert_no_process_left();
        assert!(client::is_refused(addr));
    }
}

#[test]
fn inherited_ignored_sigchld_does_not_break_fleet() {
    let mut server = Server::new(SERVER);
    // SAFETY: between fork and exec only async-signal-safe functions are called.
    unsafe {
        server.command.pre_exec(|| {
            nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
            Ok(())
        });
    }
    check_serve_replace_stop(server.start());
}

#[test]
fn inherited_mask_of_all_signals_does_not_block_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::new(SERVER);
        // SAFETY: between fork and exec only async-signal-safe functions are called.
        unsafe {
            server.command.pre_exec(|| {
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
                Ok(())
            });
        }
        let fleet = server.start();
        client::serving_pid(fleet.addr());
        fleet.signal(signal);
        fleet.expect_stopped();
    }
}

#[test]
fn children_have_signal_mask_of_master_at_rest() {
    let fleet = Server::new(SERVER).start();
    for child in fleet.first_children() {
        let blocked = proc::status_field(child, "SigBlk");
        // It blocks those of a terminal while a hook may run.
        wait::until("a master at rest", || proc::status_field(fleet.master(), "SigBlk") == blocked);
    }
    fleet.stop();
}

#[test]
fn grandchild_has_inherited_mask_and_can_be_terminated() {
    let fleet = Server::new(SERVER).start();
    let left: u32 = client::get(fleet.addr(), "/leave").parse().unwrap();
    let ours = proc::status_field(std::process::id(), "SigBlk");
    assert_eq!(proc::status_field(left, "SigBlk"), ours);
    send(left, Signal::SIGINT);
    wait::until("end of the grandchild", || !proc::is_alive(left));
    fleet.stop();
}

#[test]
fn successor_after_replaced_executable_runs_original_file() {
    let program = ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).start();
    let original = proc::executable(fleet.master());
    program.replace_with("/bin/false");
    for child in fleet.replace(&fleet.first_children()) {
        assert_eq!(proc::executable(child), original);
        let name = proc::name(child).unwrap_or_default();
        assert!(name.starts_with("progra") && name.contains(": child "), "{name}");
    }
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn deleted_working_directory_does_not_break_fleet() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(SERVER);
    server.command.current_dir(directory.path());
    let fleet = server.start();
    directory.close().unwrap();
    check_serve_replace_stop(fleet);
}

#[test]
fn inherited_descriptors_of_master_do_not_reach_children() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "").unwrap();
    let script = format!(r#"exec 9<"{0}" 5>>"{0}"; exec "$0""#, secret.display());
    let fleet = Server::in_shell(&script, SERVER).start();
    let has_secret = |pid| proc::descriptors(pid).iter().any(|(_, what)| Path::new(what) == secret);
    assert!(has_secret(fleet.master()), "the master inherits the file");
    for child in fleet.replace(&fleet.first_children()[..1]) {
        assert!(!has_secret(child), "{:?}", proc::descriptors(child));
    }
    fleet.stop();
}
