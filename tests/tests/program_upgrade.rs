//! A new file in the place of the running program: a reload starts it in new children, an upgrade executes it
//! in the master.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use prefork_tests::fleet::{RunningFleet, Server, preloads};
use prefork_tests::gate::ResponseGate;
use prefork_tests::load::{self, ClientMix, Connection};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const MULTI_ADDRESS_SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

#[test]
fn reload_runs_program_that_replaced_the_file() {
    let program = ProgramCopy::new(KEEP_ALIVE_SERVER);
    let path = program.path();
    let fleet = Server::new(&path).start();
    let first = fleet.first_children();
    let old = proc::executable(first[0]);
    program.replace_with(KEEP_ALIVE_SERVER);
    // A child that is not ready may not have executed its program yet.
    let children = fleet.replace(&first[..1]);
    assert!(
        children.iter().all(|child| proc::executable(*child) == old),
        "a successor runs the old file before the reload"
    );
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let new = fleet.wait_for_children(2, &children);
    assert!(new.iter().all(|child| proc::executable(*child) != old));
    // From now on successors run the new file.
    let newer = fleet.replace(&new[..1]);
    assert!(newer.iter().all(|child| proc::executable(*child) == proc::executable(new[1])));
    assert_eq!(Connection::to(fleet.addr()).get("/generation").unwrap(), "1");
    fleet.stop();
}

#[test]
fn ten_upgrades_under_load_lose_no_request() {
    for reuseport in [false, true] {
        let program = ProgramCopy::new(KEEP_ALIVE_SERVER);
        let path = program.path();
        let server = Server::new(&path).set("shutdown_grace", "30s");
        let fleet = server.reuseport(reuseport).start();
        let (addr, before) = (fleet.addr(), fleet.master_descriptors());
        let inodes = proc::listening_inodes(addr.port());
        let tally = load::during(addr, ClientMix { fresh: 3, kept: 3, slow: 2 }, || {
            for time in 1..=10 {
                program.replace_with(KEEP_ALIVE_SERVER);
                fleet.operate(Signal::SIGUSR2, time, "reloaded:");
            }
        });
        tally.assert_all_answered();
        wait::until("end of the old children", || fleet.children().len() == 2);
        assert_eq!(proc::executable(fleet.master()), proc::executable(fleet.children()[0]));
        assert_eq!(proc::name(fleet.master()).as_deref(), Some("program: master"));
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        let after = fleet.master_descriptors();
        assert!(after.0 <= before.0 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

#[test]
fn upgrade_to_unusable_program_keeps_old_children() {
    let program = ProgramCopy::new(SERVER);
    let path = program.path();
    let mut fleet = Server::new(&path).set("start_timeout", "5s").start();
    let first = fleet.first_children();
    let missing: fn(&ProgramCopy) = |_| {};
    let text: fn(&ProgramCopy) = |program| fs::write(program.path(), "no program").unwrap();
    let garbage: fn(&ProgramCopy) = |program| {
        fs::write(program.path(), "no program").unwrap();
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let exits: fn(&ProgramCopy) = |program| program.replace_with("/bin/true");
    // It reads the handshake and waits for more input.
    let hangs: fn(&ProgramCopy) = |program| program.replace_with("/bin/cat");
    let attempts = [
        ("no such file", missing),
        ("not an executable file", text),
        ("upgrade aborted", garbage),
        ("upgrade aborted", exits),
        ("upgrade aborted", hangs),
    ];
    for (time, (answer, deploy)) in attempts.into_iter().enumerate() {
        let _ = fs::remove_file(&path);
        deploy(&program);
        let before = fleet.console.lines_with(answer).len();
        fleet.operate(Signal::SIGUSR2, before + 1, answer);
        wait::until("end of the trial child", || fleet.children() == first);
        assert_eq!(fleet.console.lines_with("executing").len(), 0, "attempt {time}");
        client::serving_pid(fleet.addr());
    }
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
}

#[test]
fn reload_and_upgrade_to_script_are_refused() {
    let program = ProgramCopy::new(SERVER);
    let path = program.path();
    let fleet = Server::new(&path).start();
    let first = fleet.first_children();
    fs::remove_file(&path).unwrap();
    fs::write(&path, format!("#!/bin/sh\nexec {SERVER}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    for (signal, purpose) in [(Signal::SIGHUP, "reload"), (Signal::SIGUSR2, "upgrade")] {
        fleet.signal(signal);
        let line = fleet.console.wait_for(&format!("cannot {purpose}: "));
        assert!(line.contains(&format!("{}: it is a script", path.display())), "{line}");
        assert!(line.ends_with("; the fleet is unchanged"), "{line}");
        assert_eq!(fleet.children(), first);
        client::serving_pid(fleet.addr());
    }
    program.replace_with(SERVER);
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    fleet.stop();
}

/// A fleet whose next program has the address `addr` and three workers, and the file with these options.
fn with_next_addr(addr: &str, gate: &ResponseGate) -> (RunningFleet, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let overrides = directory.path().join("overrides");
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("overrides", overrides.display()).gate(gate).start();
    fs::write(&overrides, format!("{addr} 3")).unwrap();
    (fleet, directory)
}

#[test]
fn upgrade_applies_new_options_and_moves_to_new_address() {
    let gate = ResponseGate::new();
    let (fleet, _directory) = with_next_addr("localhost:0", &gate);
    let (old, first) = (fleet.addr(), fleet.first_children());
    let in_flight = std::thread::spawn(move || Connection::to(old).get("/gate"));
    wait::until("request in flight", || {
        first.iter().map(|child| proc::threads(*child).len()).sum::<usize>() > 2 * first.len()
    });
    fleet.signal(Signal::SIGUSR2);
    let line = fleet.console.wait_for("upgraded:");
    fleet.console.wait_for_nth(1, "reloaded:");
    let new = line.split_once(", on ").and_then(|(_, rest)| rest.split(';').next()).unwrap().parse().unwrap();
    assert_ne!(old, new);
    Connection::to(new).get("/").unwrap();
    gate.open();
    in_flight.join().unwrap().expect("the old address is drained");
    wait::until("closed old address", || client::is_refused(old));
    fleet.wait_for_children(3, &first);
    fleet.signal(Signal::SIGTERM);
    fleet.expect_stopped();
    assert!(client::is_refused(new));
}

#[test]
fn upgrade_to_taken_address_keeps_old_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (fleet, _directory) = with_next_addr(&addr, &ResponseGate::new());
    fleet.signal(Signal::SIGUSR2);
    let line = fleet.console.wait_for("upgrade aborted");
    assert!(line.contains(&format!("cannot bind {addr}: address already in use")), "{line}");
    assert!(line.ends_with("; the fleet is unchanged"), "{line}");
    Connection::to(fleet.addr()).get("/").unwrap();
    fleet.stop();
}

#[test]
fn reload_upgrade_scale_and_crash_lose_no_new_async_connection() {
    for reuseport in [false, true] {
        let program = ProgramCopy::new(TOKIO_SERVER);
        let path = program.path();
        let server = Server::new(&path).set("shutdown_grace", "30s").set("recover", 1000);
        let fleet = server.reuseport(reuseport).start();
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            (1..=20).for_each(|time| fleet.operate(Signal::SIGHUP, time, "reloaded:"));
            for time in 21..=30 {
                fleet.operate(Signal::SIGUSR2, time, "reloaded:");
            }
            for time in 1..=25 {
                fleet.operate(Signal::SIGTTIN, time, "resized from 2 to 3 children");
                fleet.operate(Signal::SIGTTOU, time, "resized from 3 to 2 children");
            }
        });
        tally.assert_all_answered();
        wait::until("end of the third child", || fleet.children().len() == 2);
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            for _ in 0..50 {
                let victim = fleet.children()[0];
                fleet.replace(&[victim]);
            }
        });
        // Each killed child had a few requests in flight; all queued requests are answered.
        assert!(tally.failures.values().sum::<usize>() <= 50 * 4, "{tally:?}");
        assert!(!tally.failures.keys().any(|reason| reason.contains("refused")), "{tally:?}");
        fleet.stop();
    }
}

#[test]
fn upgrade_with_same_options_keeps_the_trial_child() {
    if preloads() {
        // It has loaded for itself, and is replaced by one that a template forks.
        return;
    }
    let program = ProgramCopy::new(KEEP_ALIVE_SERVER);
    let fleet = Server::new(program.path()).start();
    fleet.first_children();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    let ready = fleet.console.wait_for("is ready");
    let upgraded = fleet.console.wait_for("upgraded:");
    assert!(upgraded.contains("of 2 children, on"), "the old child of slot 0 is not counted: {upgraded}");
    let trial = ready.split_once("(pid ").and_then(|(_, rest)| rest.split(')').next()).unwrap();
    wait::until("the old children's end", || fleet.children().len() == 2);
    assert!(fleet.children().contains(&trial.parse().unwrap()), "{ready}");
    fleet.stop();
}

/// A process that `main` starts before the fleet could hold the address for as long as it lives.
#[test]
fn process_that_a_new_program_starts_before_its_fleet_inherits_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("app.pid");
    let server = Server::new(SERVER).set("early_helper", "1").env("PREFORK_HEALTH", "127.0.0.1:0");
    let fleet = server.env("PREFORK_PIDFILE", pid_file.to_str().unwrap()).start();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    let helpers = fleet.console.lines_with("helper ");
    let helpers: Vec<u32> = helpers.iter().map(|line| line[7..].parse().unwrap()).collect();
    // The first one is the last program's, and has what this test has inherited itself.
    let inherited = proc::descriptors(helpers[1]);
    for helper in &helpers {
        send(*helper, Signal::SIGKILL);
    }
    assert!(inherited.iter().all(|(number, _)| *number <= 2), "{inherited:?}");
    fleet.stop();
}

/// A fleet in a reload, whose first new child is ready once the gate is open.
fn in_reload(program: &ProgramCopy, gate: &ResponseGate) -> (RunningFleet, Vec<u32>) {
    gate.open();
    let fleet = Server::new(program.path()).set("workers", 3).set("ready", "manual").gate(gate).start();
    gate.close();
    fleet.signal(Signal::SIGHUP);
    wait::until("first new child", || fleet.children().len() == 4);
    let first = fleet.first_children();
    (fleet, first)
}

#[test]
fn reload_that_a_failed_upgrade_interrupts_is_resumed_to_its_end() {
    let (program, gate) = (ProgramCopy::new(KEEP_ALIVE_SERVER), ResponseGate::new());
    let (fleet, first) = in_reload(&program, &gate);
    program.replace_with("/bin/false");
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted: the new program failed its check");
    fleet.console.wait_for("reload resumed: to generation 1");
    gate.open();
    fleet.console.wait_for("reloaded: every child is of generation 1");
    let children = fleet.wait_for_children(3, &first);
    let old = proc::executable(fleet.master());
    assert!(children.iter().all(|child| proc::executable(*child) == old), "not the program of the upgrade");
    fleet.stop();
}

#[test]
fn term_after_a_failed_upgrade_ends_the_resumed_reload() {
    let (program, gate) = (ProgramCopy::new(KEEP_ALIVE_SERVER), ResponseGate::new());
    let (fleet, _) = in_reload(&program, &gate);
    program.replace_with("/bin/false");
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted");
    fleet.signal(Signal::SIGTERM);
    let lines = fleet.expect_stopped();
    assert!(lines.iter().any(|line| line.contains("stopping:")), "{lines:#?}");
}

/// Without `memfd_create` the state cannot be handed over.
#[test]
#[cfg(target_arch = "x86_64")]
fn exec_that_fails_closes_what_was_opened_and_resumes_the_reload() {
    let directory = tempfile::tempdir().unwrap();
    let next = directory.path().join("next");
    let path = directory.path().join("new.sock");
    let server = Server::through(&[env!("CARGO_BIN_EXE_forbid"), "memfd_create"], MULTI_ADDRESS_SERVER);
    let fleet = server.set("next", next.display()).start();
    let first = fleet.first_children();
    fs::write(&next, format!("addrs=127.0.0.1:0,unix:{}", path.display())).unwrap();
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted: the new program is not executed");
    assert!(!path.exists());
    wait::until("end of the trial child", || fleet.children() == first);
    fs::remove_file(&next).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    client::serving_pid(fleet.addr());
    fleet.stop();
}

/// Only the child that the master has started for that may tell what a program needs.
#[test]
fn plan_of_a_child_that_serves_has_no_effect() {
    let fleet = Server::new(env!("CARGO_BIN_EXE_hostile_server")).start();
    client::get(fleet.addr(), "/plan");
    // The master has read the message once it has answered a later request.
    fleet.operate(Signal::SIGTTIN, 1, "child 2");
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("upgrade")), "{lines:#?}");
}
