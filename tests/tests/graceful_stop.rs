//! A stop of servers that know nothing of it: what is in flight or has queued is answered, what is late is
//! refused.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a helper of tests, a panic is a failure"
)]

use std::fs;
use std::path::PathBuf;

use prefork_tests::client;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::Signal;
#[cfg(unix)]
use prefork_tests::{proc, signal::send, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

/// Requests for `/gate` are in flight until it opens: for as long as a test wants them to.
struct Gate(TempDir);

impl Gate {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("open")
    }

    fn open(&self) {
        fs::write(self.path(), "").unwrap();
    }

    /// Starts a server that has a minute to drain: nobody gets killed while a test looks on.
    fn start(&self, server: Server) -> RunningFleet {
        self.start_with_grace(server, "1m")
    }

    fn start_with_grace(&self, server: Server, grace: &str) -> RunningFleet {
        server.set("gate", self.path().display()).set("shutdown_grace", grace).start()
    }
}

/// The whole story, for any server: requests in flight, a stop, late clients, the end.
fn drains(server: Server) {
    let gate = Gate::new();
    let fleet = gate.start(server);
    let addr = fleet.addr();
    let in_flight: Vec<_> = (0..6).map(|_| client::begin(addr, "/gate")).collect();
    fleet.signal(Signal::SIGTERM);
    fleet.wait_until_it_refuses();
    assert!(fleet.console.says("stopping"), "{:#?}", fleet.console.lines());
    gate.open();
    for request in in_flight {
        let pid: u32 = request.finish().unwrap().parse().unwrap();
        assert!(fleet.first_children().contains(&pid));
    }
    fleet.expect_stopped();
}

#[test]
fn a_blocking_server_that_knows_nothing_of_stops_drains() {
    drains(Server::new(SERVER));
}

#[test]
fn a_blocking_server_on_reuseport_sockets_drains() {
    drains(Server::new(SERVER).set("reuseport", 1));
}

#[test]
fn a_blocking_server_on_every_address_drains() {
    drains(Server::new(SERVER).set("addr", ":0").set("network", "tcp"));
    drains(Server::new(SERVER).set("addr", ":0").set("network", "tcp4"));
}

#[test]
fn a_tokio_server_that_knows_nothing_of_stops_drains() {
    drains(Server::new(TOKIO_SERVER));
}

#[test]
fn a_tokio_server_on_reuseport_sockets_drains() {
    drains(Server::new(TOKIO_SERVER).set("reuseport", 1));
}

#[test]
fn a_tokio_server_with_many_threads_drains() {
    drains(Server::new(TOKIO_SERVER).set("runtime", "multi_thread"));
}

/// A server with one child that is busy, the request that it is busy with, and requests that have queued
/// meanwhile.
#[cfg(target_os = "linux")]
fn busy(
    gate: &Gate,
    server: Server,
    grace: &str,
) -> (RunningFleet, client::PendingRequest, Vec<client::PendingRequest>) {
    let fleet = gate.start_with_grace(server.set("workers", 1).set("one_by_one", "yes"), grace);
    let in_hand = client::begin(fleet.addr(), "/gate");
    let queued = (0..20).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    (fleet, in_hand, queued)
}

// Elsewhere nobody can be kept from connecting.
#[cfg(target_os = "linux")]
#[test]
fn whoever_has_queued_when_the_fleet_stops_is_answered() {
    let servers = [
        Server::new(SERVER),
        Server::new(SERVER).set("addr", "[::1]:0"),
        Server::new(SERVER).set("addr", ":0").set("network", "tcp").set("reuseport", 1),
    ];
    for server in servers {
        let gate = Gate::new();
        let (fleet, in_hand, queued) = busy(&gate, server, "1m");
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping:");
        gate.open();
        let child = in_hand.finish().unwrap();
        for request in queued {
            assert_eq!(request.finish().unwrap(), child);
        }
        fleet.expect_stopped();
    }
}

// Elsewhere nobody can be kept from connecting.
#[cfg(target_os = "linux")]
#[test]
fn whoever_has_queued_on_any_slots_socket_is_answered() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Gate::new().start(Server::new(server).set("reuseport", 1));
        let children = fleet.first_children();
        for child in &children {
            send(*child, Signal::SIGSTOP);
            wait::until("a stopped child", || proc::is_stopped(*child));
        }
        let queued: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping:");
        children.iter().for_each(|child| send(*child, Signal::SIGCONT));
        let pids: Vec<u32> =
            queued.into_iter().map(|request| request.finish().unwrap().parse().unwrap()).collect();
        assert!(children.iter().all(|child| pids.contains(child)), "{pids:?}");
        fleet.expect_stopped();
    }
}

// Elsewhere nobody can be kept from connecting.
#[cfg(target_os = "linux")]
#[test]
fn queue_of_slot_without_child_is_reset_by_final_stop_and_the_others_are_answered() {
    let server = Server::new(SERVER).set("reuseport", 1).set("boot", "late_hang");
    let fleet = Gate::new().start(server);
    let [dead, other] = fleet.first_children()[..] else { panic!("two children") };
    for child in [dead, other] {
        send(child, Signal::SIGSTOP);
        wait::until("a stopped child", || proc::is_stopped(child));
    }
    let queued: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    send(dead, Signal::SIGKILL);
    wait::until("a successor that is not ready", || fleet.children_started() == 3);
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping:");
    send(other, Signal::SIGCONT);
    let mut tally = client::Tally::default();
    for request in queued {
        tally.count(request.finish());
    }
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), [&other.to_string()]);
    assert!(!tally.failures.is_empty(), "the kernel had put some on the other socket: {tally:?}");
    fleet.console.wait_for("connections wait that no child has accepted in time");
    fleet.expect_stopped();
}

// Elsewhere nobody is waited for.
#[cfg(target_os = "linux")]
#[test]
fn a_queue_that_nobody_empties_does_not_hold_up_the_stop() {
    let gate = Gate::new();
    let (fleet, in_hand, queued) = busy(&gate, Server::new(SERVER), "15s");
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("connections wait that no child has accepted in time");
    fleet.wait_until_it_refuses();
    gate.open();
    in_hand.finish().unwrap();
    for request in queued {
        request.finish().unwrap_err();
    }
    fleet.expect_stopped();
}

/// TERM to one child: it takes nothing more, finishes what it has, and ends with 0, which is no
/// failure of a child that served for a while. Its siblings serve on all the time.
#[cfg(unix)]
fn one_child_drains(server: Server) {
    let gate = Gate::new();
    let fleet = gate.start(server.set("recover", 0));
    let addr = fleet.addr();
    let in_flight: Vec<_> = (0..6).map(|_| client::begin(addr, "/gate")).collect();
    fleet.wait_until_ready_for_a_second();
    let victim = in_flight[0].pid();
    let sibling = fleet.first_children().into_iter().find(|child| *child != victim).unwrap();
    send(victim, Signal::SIGTERM);
    // The door shuts a moment after the signal; from then on the sibling answers everything.
    let answered_in_a_row = |count| (0..count).all(|_| client::serving_pid(addr) == sibling);
    wait::until("a shut door", || answered_in_a_row(20));
    assert!(proc::is_alive(victim), "it left although it has connections");
    gate.open();
    for request in in_flight {
        let pid = request.pid();
        assert_eq!(request.finish().unwrap(), pid.to_string());
    }
    let after = fleet.wait_for_children(2, &[victim]);
    assert!(after.contains(&sibling), "the sibling was replaced too");
    fleet.console.wait_for("in place of pid");
    fleet.stop();
}

// Elsewhere nobody but the master can ask a child to stop.
#[cfg(unix)]
#[test]
fn a_child_that_gets_a_term_of_its_own_drains_and_is_replaced_uncounted() {
    one_child_drains(Server::new(SERVER));
}

// Elsewhere nobody but the master can ask a child to stop.
#[cfg(unix)]
#[test]
fn a_tokio_child_that_gets_a_term_of_its_own_drains_and_is_replaced_uncounted() {
    one_child_drains(Server::new(TOKIO_SERVER));
}

/// Whether a fleet of this user can keep everybody from connecting, whatever kernel it is on.
#[cfg(unix)]
fn may_filter() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let capabilities = proc::status_field(std::process::id(), "CapEff").unwrap();
    u64::from_str_radix(&capabilities, 16).unwrap() & CAP_NET_ADMIN != 0
}

// Elsewhere a drain lasts until no connection is left, or the grace is over.
#[cfg(unix)]
#[test]
fn a_stop_under_load_breaks_no_answer_off() {
    for server in [SERVER, TOKIO_SERVER] {
        let mut fleet = Server::new(server).start();
        let addr = fleet.addr();
        let tally = client::under_load(addr, "/", 4, || {
            (0..50).for_each(|_| drop(client::try_get(addr, "/")));
            fleet.signal(Signal::SIGTERM);
            assert!(fleet.wait().success());
        });
        assert!(tally.answered() > 0, "{tally:?}");
        // Whoever has connected is answered; whoever comes too late is refused.
        let is_broken = |reason: &&String| match may_filter() {
            true => !reason.contains("refused"),
            // Whoever connects in the last moment is reset.
            false => reason.contains("HTTP/1.1"),
        };
        let broken: Vec<_> = tally.failures.keys().filter(is_broken).collect();
        assert!(broken.is_empty(), "broken off: {tally:?}");
        fleet.assert_nothing_left();
    }
}
