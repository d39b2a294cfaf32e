//! Reload, scaling and crashes under load: whoever is served notices nothing.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be done is a failure")]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
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

/// Under wine a process is slow to start, and each has its load.
const MIX: ClientMix = if cfg!(windows) {
    ClientMix { fresh: 1, kept: 0, slow: 0 }
} else {
    ClientMix { fresh: 3, kept: 3, slow: 2 }
};

/// Reloads as often as that, one after the other.
fn reload(fleet: &RunningFleet, times: usize) {
    (1..=times).for_each(|time| fleet.operate(Signal::SIGHUP, time, "reloaded:"));
}

/// There is but one mode on Windows.
fn both_modes() -> Vec<Server> {
    let mut modes = vec![Server::new(KEEP_ALIVE_SERVER)];
    if cfg!(unix) {
        modes.push(Server::new(KEEP_ALIVE_SERVER).set("reuseport", "yes"));
    }
    modes
}

/// Under wine a process takes a long time to start.
const fn rounds(count: usize) -> usize {
    if cfg!(windows) { count / 5 } else { count }
}

#[test]
fn twenty_reloads_under_load_are_unnoticed() {
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
        // The first reload pins the program's file.
        let after = fleet.master_descriptors();
        assert!(after.0 <= before.0 + 1 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

// Elsewhere such a child accepts until there is no connection, or its grace is over.
#[cfg(unix)]
#[test]
fn servers_that_know_nothing_of_stops_are_reloaded_unnoticed_by_new_connections() {
    for server in [SERVER, TOKIO_SERVER] {
        for sharing in ["shared", "reuseport"] {
            let server = Server::new(server).set("shutdown_grace", "30s");
            let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
            let fleet = server.start();
            let tally = client::under_load(fleet.addr(), "/", 4, || reload(&fleet, 5));
            tally.assert_all_answered();
            fleet.stop();
        }
    }
}

#[test]
fn fifty_changes_of_size_under_load_are_unnoticed() {
    for server in both_modes() {
        let fleet = server.set("shutdown_grace", "30s").start();
        let addr = fleet.addr();
        #[cfg(unix)]
        let sockets = proc::listening_inodes(addr.port());
        let tally = load::during(addr, MIX, || {
            for time in 1..=rounds(25) {
                fleet.operate(Signal::SIGTTIN, time, "3 children in place of 2");
                fleet.console.wait_for_nth(time, ") is ready");
                fleet.operate(Signal::SIGTTOU, time, "2 children in place of 3");
            }
        });
        tally.assert_all_answered();
        wait::until("the end of the third", || fleet.children().len() == 2);
        #[cfg(unix)]
        wait::until("the third slot's socket to go", || proc::listening_inodes(addr.port()) == sockets);
        fleet.stop();
    }
}

#[test]
fn fifty_kills_lose_only_what_the_killed_were_doing() {
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
        assert!(!refused, "a connection that nobody served: {tally:?}");
        assert!(proc::zombies(fleet.master()).is_empty());
        fleet.stop();
    }
}

#[test]
fn slow_requests_in_flight_outlive_stop_reload_and_upgrade() {
    for signal in [&[Signal::SIGTERM], RELOAD_AND_UPGRADE].concat() {
        let directory = tempfile::tempdir().unwrap();
        let gate = directory.path().join("gate");
        let server = Server::new(KEEP_ALIVE_SERVER).set("gate", gate.display());
        let fleet = server.set("shutdown_grace", "30s").start();
        let addr = fleet.addr();
        let ask = || std::thread::spawn(move || Connection::to(addr).get("/gate"));
        let threads = || fleet.children().into_iter().map(proc::thread_count).sum::<usize>();
        let before = threads();
        let requests: Vec<_> = (0..8).map(|_| ask()).collect();
        // They are with the children when the connections have left the queue.
        wait::until("requests in flight", || threads() >= before + 8);
        fleet.signal(signal);
        fleet.console.wait_for_nth(1, if signal == Signal::SIGTERM { "stopping: " } else { "reloaded:" });
        fs::write(&gate, "").unwrap();
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
fn a_reload_of_a_broken_program_leaves_the_fleet_as_it_was() {
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

// Elsewhere no slot has a socket of its own.
#[cfg(unix)]
#[test]
fn what_waits_on_the_socket_of_a_slot_that_goes_is_served_before_it_goes() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("reuseport", "yes").set("shutdown_grace", "30s").start();
        let last = fleet.first_children()[1];
        send(last, Signal::SIGSTOP);
        wait::until("a stopped child", || proc::is_stopped(last));
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        fleet.operate(Signal::SIGTTOU, 1, "1 child in place of 2");
        send(last, Signal::SIGCONT);
        let mut tally = Tally::default();
        requests.into_iter().for_each(|request| tally.count(request.finish()));
        tally.assert_all_answered();
        assert!(tally.answers.contains_key(&last.to_string()), "{tally:?}");
        wait::until("the end of the last child", || fleet.children().len() == 1);
        fleet.stop();
    }
}
