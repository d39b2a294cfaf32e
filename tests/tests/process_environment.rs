//! Strange surroundings, as Unix has them: whatever state a fleet is started in, it serves, and it stops.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use prefork_tests::fleet::{RunningFleet, Server, wait_until_serving};
use prefork_tests::signal::send;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// What every fleet has to be able to do.
fn lives_a_full_life(fleet: RunningFleet) {
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children());
    client::serving_pid(fleet.addr());
    assert_eq!(proc::zombies(fleet.master()), Vec::<u32>::new());
    fleet.stop();
}

#[test]
fn a_fleet_lives_with_any_of_its_standard_descriptors_closed() {
    // Standard error is where a fleet is watched: a log file stands in for it.
    for closed in ["0<&-", "1>&-", "0<&- 1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let server = Server::in_shell(&format!(r#"exec "$0" {closed}"#), SERVER);
        let mut fleet = server.set("log_file", log.display()).launch();
        let addr = wait::for_value("a fleet that is ready", || {
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
fn a_fleet_lives_with_an_inherited_sigchld_that_is_ignored() {
    let mut server = Server::new(SERVER);
    // SAFETY: between fork and exec, only async-signal-safe calls are made.
    unsafe {
        server.command.pre_exec(|| {
            nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
            Ok(())
        });
    }
    lives_a_full_life(server.start());
}

#[test]
fn a_fleet_lives_with_an_inherited_mask_that_blocks_every_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::new(SERVER);
        // SAFETY: between fork and exec, only async-signal-safe calls are made.
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
fn children_do_not_inherit_a_signal_mask_that_the_master_only_needs_for_itself() {
    let fleet = Server::new(SERVER).start();
    for child in fleet.first_children() {
        let blocked = proc::status_field(child, "SigBlk");
        assert_eq!(blocked, proc::status_field(fleet.master(), "SigBlk"), "child {child}");
    }
    fleet.stop();
}

#[test]
fn what_a_child_starts_can_be_terminated() {
    let fleet = Server::new(SERVER).start();
    let left: u32 = client::get(fleet.addr(), "/leave").parse().unwrap();
    let ours = proc::status_field(std::process::id(), "SigBlk");
    assert_eq!(proc::status_field(left, "SigBlk"), ours);
    send(left, Signal::SIGINT);
    wait::until("the end of a grandchild", || !proc::is_alive(left));
    fleet.stop();
}

#[test]
fn an_executable_that_is_deleted_and_replaced_is_still_what_successors_run() {
    let directory = tempfile::tempdir().unwrap();
    let executable = directory.path().join("program");
    fs::copy(SERVER, &executable).unwrap();
    let fleet = Server::new(&executable).start();
    let original = proc::executable(fleet.master());
    fs::remove_file(&executable).unwrap();
    fs::copy("/bin/false", &executable).unwrap();
    for child in fleet.replace(&fleet.first_children()) {
        assert_eq!(proc::executable(child), original);
        let name = proc::name(child).unwrap_or_default();
        assert!(name.starts_with("progra") && name.contains(": child "), "{name}");
    }
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn a_fleet_outlives_its_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(SERVER);
    server.command.current_dir(directory.path());
    let fleet = server.start();
    directory.close().unwrap();
    lives_a_full_life(fleet);
}

#[test]
fn descriptors_that_the_master_inherited_do_not_leak_into_children() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "").unwrap();
    let script = format!(r#"exec 9<"{0}" 5>>"{0}"; exec "$0""#, secret.display());
    let fleet = Server::in_shell(&script, SERVER).start();
    let has_secret = |pid| proc::descriptors(pid).iter().any(|(_, what)| Path::new(what) == secret);
    assert!(has_secret(fleet.master()), "the test's own doing");
    for child in fleet.replace(&fleet.first_children()[..1]) {
        assert!(!has_secret(child), "{:?}", proc::descriptors(child));
    }
    fleet.stop();
}
