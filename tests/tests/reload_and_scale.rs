//! Reload, scaling and crashes under load.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::load::{self, ClientMix, Connection};
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal};
#[cfg(unix)]
use prefork_tests::{client, client::Tally, signal::send};
use prefork_tests::{proc, wait};

const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
#[cfg(unix)]
const SERVER: &str = env!("CARGO_BIN_EXE_server");
#[cfg(unix)]
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

/// Under wine processes start slowly, so the load is smaller.
const MIX: ClientMix = if cfg!(windows) {
    ClientMix { fresh: 1, kept: 0, slow: 0 }
} else {
    ClientMix { fresh: 3, kept: 3, slow: 2 }
};

/// Reloads `times` times, each after the end of the previous one.
fn reload(fleet: &RunningFleet, times: usize) {
    (1..=times).for_each(|time| fleet.operate(Signal::SIGHUP, time, "reloaded:"));
}

/// A server for each socket mode; Windows has one mode.
fn both_modes() -> Vec<Server> {
    let mut modes = vec![Server::new(KEEP_ALIVE_SERVER)];
    if cfg!(unix) {
        modes.push(Server::new(KEEP_ALIVE_SERVER).set("reuseport", "yes"));
    }
    modes
}

/// The number of rounds; a fifth of them under wine, where processes start slowly.
const fn rounds(count: usize) -> usize {
    if cfg!(windows) { count / 5 } else { count }
}

#[test]
fn twenty_reloads_under_load_lose_no_request() {
    for server in both_modes() {
        let fleet = server.set("shutdown_grace", "30s").start();
        let (addr, before) = (fleet.addr(), fleet.master_descriptors());
        #[cfg(unix)]
        let inodes = proc::listening_inodes(addr.port());
        let first = fleet.first_children();
        let tally = load::during(addr, MIX, || reload(&fleet, rounds(20)));
        tally.assert_all_answered();
        let children = fleet.wait_for_children(2, &first);
        assert!(proc::zombies(fleet.master()).is_empty(), "{children:?}");
        #[cfg(unix)]
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        // The first reload opens the file of the program.
        let after = fleet.master_descriptors();
        assert!(after.0 <= before.0 + 1 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

// On Windows such a child accepts until it has no connection or its grace period ends.
#[cfg(unix)]
#[test]
fn reload_without_shutdown_argument_loses_no_new_connection() {
    for server in [SERVER, TOKIO_SERVER] {
        for reuseport in [false, true] {
            let fleet = Server::new(server).set("shutdown_grace", "30s").reuseport(reuseport).start();
            let tally = client::under_load(fleet.addr(), "/", 4, || reload(&fleet, 5));
            tally.assert_all_answered();
            fleet.stop();
        }
    }
}

#[test]
fn fifty_size_changes_under_load_lose_no_request() {
    for server in both_modes() {
        let fleet = server.set("shutdown_grace", "30s").start();
        let addr = fleet.addr();
        #[cfg(unix)]
        let sockets = proc::listening_inodes(addr.port());
        let tally = load::during(addr, MIX, || {
            for time in 1..=rounds(25) {
                fleet.operate(Signal::SIGTTIN, time, "resized from 2 to 3 children");
                fleet.console.wait_for_nth(time, ") is ready");
                fleet.operate(Signal::SIGTTOU, time, "resized from 3 to 2 children");
            }
        });
        tally.assert_all_answered();
        wait::until("end of the third child", || fleet.children().len() == 2);
        #[cfg(unix)]
        wait::until("closed socket of the third slot", || proc::listening_inodes(addr.port()) == sockets);
        fleet.stop();
    }
}

#[test]
fn fifty_killed_children_lose_only_their_requests_in_flight() {
    for server in both_modes() {
        let fleet = server.set("recover", 1000).set("workers", 3).start();
        let clients = MIX.fresh + MIX.kept + MIX.slow;
        let tally = load::during(fleet.addr(), MIX, || {
            for _ in 0..rounds(50) {
                let victim = fleet.children()[0];
                fleet.replace(&[victim]);
            }
        });
        let failures: usize = tally.failures.values().sum();
        assert!(failures <= 50 * clients, "{tally:?}");
        let refused =
            tally.failures.keys().any(|reason| reason.contains("refused") || reason.contains("timed out"));
        assert!(!refused, "a connection was refused or timed out: {tally:?}");
        assert!(proc::zombies(fleet.master()).is_empty());
        fleet.stop();
    }
}

#[test]
fn stop_reload_and_upgrade_answer_requests_in_flight() {
    for signal in [&[Signal::SIGTERM], RELOAD_AND_UPGRADE].concat() {
        let gate = ResponseGate::new();
        let fleet = Server::new(KEEP_ALIVE_SERVER).gate(&gate).start();
        let addr = fleet.addr();
        let ask = || std::thread::spawn(move || Connection::to(addr).get("/gate"));
        let threads = || fleet.children().into_iter().map(proc::thread_count).sum::<usize>();
        let before = threads();
        let requests: Vec<_> = (0..8).map(|_| ask()).collect();
        // A child starts a thread for each connection that it accepts.
        wait::until("requests in flight", || threads() >= before + 8);
        fleet.signal(signal);
        fleet.console.wait_for_nth(1, if signal == Signal::SIGTERM { "stopping: " } else { "reloaded:" });
        gate.open();
        for request in requests {
            request.join().unwrap().unwrap_or_else(|error| panic!("{signal}: {error}"));
        }
        if signal != Signal::SIGTERM {
            fleet.signal(Signal::SIGTERM);
        }
        fleet.expect_stopped();
    }
}

#[test]
fn reload_and_upgrade_to_broken_program_keep_old_children() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken");
    for (signal, answer) in RELOAD_AND_UPGRADE.iter().copied().zip(["reload aborted", "upgrade aborted"]) {
        let fleet = Server::new(KEEP_ALIVE_SERVER).set("broken", broken.display()).start();
        let first = fleet.first_children();
        fs::write(&broken, "").unwrap();
        fleet.operate(signal, 1, answer);
        fs::remove_file(&broken).unwrap();
        let children = fleet.children();
        assert!(first.iter().all(|child| children.contains(child)), "{first:?} {children:?}");
        Connection::to(fleet.addr()).get("/").unwrap();
        fleet.operate(signal, 1, "reloaded:");
        fleet.stop();
    }
}

// On Windows the slots share one socket.
#[cfg(unix)]
#[test]
fn shrink_answers_queue_of_removed_slot() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("reuseport", "yes").set("shutdown_grace", "30s").start();
        let last = fleet.first_children()[1];
        send(last, Signal::SIGSTOP);
        wait::until("stopped child", || proc::is_stopped(last));
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        fleet.operate(Signal::SIGTTOU, 1, "resized from 2 to 1 child");
        send(last, Signal::SIGCONT);
        let mut tally = Tally::default();
        requests.into_iter().for_each(|request| tally.count(request.finish()));
        tally.assert_all_answered();
        assert!(tally.answers.contains_key(&last.to_string()), "{tally:?}");
        wait::until("end of the last child", || fleet.children().len() == 1);
        fleet.stop();
    }
}
