//! Another program in the place of the one that runs: reloads find it by its name, and the master becomes
//! it in an upgrade. Whoever is served notices nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, ClientMix, Connection};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

/// A copy of a program, so that it can be replaced.
fn deployed(program: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deployed");
    fs::copy(program, &path).unwrap();
    (directory, path)
}

/// Puts another file in the place of a running program's.
fn redeploy(path: &PathBuf, program: &str) {
    let new = path.with_extension("new");
    fs::copy(program, &new).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_reload_picks_up_the_program_that_has_its_name_now() {
    let (_directory, path) = deployed(KEEP_ALIVE_SERVER);
    let fleet = Server::new(&path).start();
    let first = fleet.first_children();
    let old = proc::executable(first[0]);
    redeploy(&path, KEEP_ALIVE_SERVER);
    send(first[0], Signal::SIGKILL);
    let children = fleet.wait_for_children(2, &first[..1]);
    assert!(
        children.iter().all(|child| proc::executable(*child) == old),
        "nothing changes before the reload"
    );
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let new = fleet.wait_for_children(2, &children);
    assert!(new.iter().all(|child| proc::executable(*child) != old));
    // From here on it is the new program that replaces a child.
    send(new[0], Signal::SIGKILL);
    let newer = fleet.wait_for_children(2, &new[..1]);
    assert!(newer.iter().all(|child| proc::executable(*child) == proc::executable(new[1])));
    assert_eq!(Connection::to(fleet.addr()).get("/generation").unwrap(), "1");
    fleet.stop();
}

#[test]
fn ten_upgrades_under_load_are_unnoticed() {
    for sharing in ["shared", "reuseport"] {
        let (_directory, path) = deployed(KEEP_ALIVE_SERVER);
        let server = Server::new(&path).set("shutdown_grace", "30s");
        let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
        let fleet = server.start();
        let (addr, before) = (fleet.addr(), fleet.master_descriptors());
        let inodes = proc::listening_inodes(addr.port());
        let tally = load::during(addr, ClientMix { fresh: 3, kept: 3, slow: 2 }, || {
            for time in 1..=10 {
                redeploy(&path, KEEP_ALIVE_SERVER);
                fleet.operate(Signal::SIGUSR2, time, "reloaded:");
            }
        });
        tally.assert_all_answered();
        wait::until("the old children's end", || fleet.children().len() == 2);
        assert_eq!(proc::executable(fleet.master()), proc::executable(fleet.children()[0]));
        assert_eq!(proc::name(fleet.master()).as_deref(), Some("deploye: master"));
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        let after = fleet.master_descriptors();
        assert!(after.0 <= before.0 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

#[test]
fn an_upgrade_to_no_such_program_leaves_the_fleet_as_it_was() {
    let (_directory, path) = deployed(SERVER);
    let mut fleet = Server::new(&path).set("start_timeout", "1s").start();
    let first = fleet.first_children();
    let nothing: fn(&PathBuf) = |_| {};
    let text: fn(&PathBuf) = |path| fs::write(path, "no program").unwrap();
    let garbage: fn(&PathBuf) = |path| {
        fs::write(path, "no program").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let ends: fn(&PathBuf) = |path| redeploy(path, "/bin/true");
    // It reads the handshake, and waits for more of it.
    let hangs: fn(&PathBuf) = |path| redeploy(path, "/bin/cat");
    let attempts = [
        ("no such file", nothing),
        ("not an executable file", text),
        ("upgrade aborted", garbage),
        ("upgrade aborted", ends),
        ("upgrade aborted", hangs),
    ];
    for (time, (answer, deploy)) in attempts.into_iter().enumerate() {
        let _ = fs::remove_file(&path);
        deploy(&path);
        let before = fleet.console.lines_with(answer).len();
        fleet.operate(Signal::SIGUSR2, before + 1, answer);
        wait::until("the trial child's end", || fleet.children() == first);
        assert_eq!(fleet.console.lines_with("executing").len(), 0, "attempt {time}");
        client::serving_pid(fleet.addr());
    }
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
}

#[test]
fn a_script_is_refused_in_the_place_of_the_program() {
    let (_directory, path) = deployed(SERVER);
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
    redeploy(&path, SERVER);
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    fleet.stop();
}

/// A fleet whose next program has another address and three workers, and the file that says so.
fn rebuilt_with(addr: &str) -> (RunningFleet, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let overrides = directory.path().join("overrides");
    let fleet = Server::new(KEEP_ALIVE_SERVER)
        .set("overrides", overrides.display())
        .set("shutdown_grace", "30s")
        .start();
    fs::write(&overrides, format!("{addr} 3")).unwrap();
    (fleet, directory)
}

#[test]
fn an_upgrade_takes_the_new_programs_options_and_moves_to_its_address() {
    let (fleet, _directory) = rebuilt_with("localhost:0");
    let (old, first) = (fleet.addr(), fleet.first_children());
    let slow = std::thread::spawn(move || Connection::to(old).get("/slow"));
    wait::until("a request in flight", || {
        first.iter().map(|child| proc::threads(*child).len()).sum::<usize>() > 2 * first.len()
    });
    fleet.signal(Signal::SIGUSR2);
    let line = fleet.console.wait_for("upgraded:");
    fleet.console.wait_for_nth(1, "reloaded:");
    let new = line.split_once(", on ").and_then(|(_, rest)| rest.split(';').next()).unwrap().parse().unwrap();
    assert_ne!(old, new);
    Connection::to(new).get("/").unwrap();
    slow.join().unwrap().expect("the old address is drained");
    wait::until("the old address to close", || client::is_refused(old));
    fleet.wait_for_children(3, &first);
    fleet.signal(Signal::SIGTERM);
    fleet.expect_stopped();
    assert!(client::is_refused(new));
}

#[test]
fn an_upgrade_to_an_address_that_is_taken_stays_where_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (fleet, _directory) = rebuilt_with(&addr);
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for(&format!("cannot bind {addr}: address already in use"));
    fleet.console.wait_for_nth(1, "reloaded:");
    Connection::to(fleet.addr()).get("/").unwrap();
    fleet.stop();
}

#[test]
fn new_connections_to_an_async_server_notice_no_operation_at_all() {
    for sharing in ["shared", "reuseport"] {
        let (_directory, path) = deployed(TOKIO_SERVER);
        let server = Server::new(&path).set("shutdown_grace", "30s").set("recover", 1000);
        let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
        let fleet = server.start();
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
        wait::until("the last surplus child's end", || fleet.children().len() == 2);
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            for _ in 0..50 {
                let victim = fleet.children()[0];
                fleet.replace(&[victim]);
            }
        });
        // Each killed child had a few requests in hand; whatever was queued has been answered.
        assert!(tally.failures.values().sum::<usize>() <= 50 * 4, "{tally:?}");
        assert!(!tally.failures.keys().any(|reason| reason.contains("refused")), "{tally:?}");
        fleet.stop();
    }
}

#[test]
fn upgrade_with_same_options_keeps_the_trial_child() {
    let (_directory, path) = deployed(KEEP_ALIVE_SERVER);
    let fleet = Server::new(&path).start();
    fleet.first_children();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    let ready = fleet.console.wait_for("is ready");
    let trial = ready.split_once("(pid ").and_then(|(_, rest)| rest.split(')').next()).unwrap();
    wait::until("the old children's end", || fleet.children().len() == 2);
    assert!(fleet.children().contains(&trial.parse().unwrap()), "{ready}");
    fleet.stop();
}
