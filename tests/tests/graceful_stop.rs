//! Graceful stop of servers that do not take `Shutdown`: requests in flight and queued connections are
//! answered, later connections are refused.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use prefork_tests::client;
#[cfg(target_os = "linux")]
use prefork_tests::fleet::RunningFleet;
use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
#[cfg(unix)]
use prefork_tests::{proc, signal::send, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

/// Stops a server with requests in flight; checks that late clients are refused and the requests answered.
fn check_drain(server: Server) {
    let gate = ResponseGate::new();
    let fleet = server.gate(&gate).start();
    let addr = fleet.addr();
    let in_flight = client::begin_many(addr, "/gate", 6);
    fleet.signal(Signal::SIGTERM);
    fleet.wait_until_it_refuses();
    assert!(fleet.console.says("stopping"), "{:#?}", fleet.console.lines());
    gate.open();
    for pid in client::finish_all(in_flight) {
        assert!(fleet.first_children().contains(&pid.parse().unwrap()));
    }
    fleet.expect_stopped();
}

#[test]
fn stop_of_blocking_server_drains() {
    check_drain(Server::new(SERVER));
}

#[test]
fn stop_of_blocking_server_with_reuseport_drains() {
    check_drain(Server::new(SERVER).reuseport(true));
}

#[test]
fn stop_of_blocking_server_on_wildcard_address_drains() {
    check_drain(Server::new(SERVER).set("addr", ":0").set("network", "tcp"));
    check_drain(Server::new(SERVER).set("addr", ":0").set("network", "tcp4"));
}

#[test]
fn stop_of_tokio_server_drains() {
    check_drain(Server::new(TOKIO_SERVER));
}

#[test]
fn stop_of_tokio_server_with_reuseport_drains() {
    check_drain(Server::new(TOKIO_SERVER).reuseport(true));
}

#[test]
fn stop_of_multi_thread_tokio_server_drains() {
    check_drain(Server::new(TOKIO_SERVER).set("runtime", "multi_thread"));
}

/// A server whose only child is busy with one request, that request, and requests in the queue.
#[cfg(target_os = "linux")]
fn busy_with_queue(
    gate: &ResponseGate,
    server: Server,
    grace: &str,
) -> (RunningFleet, client::PendingRequest, Vec<client::PendingRequest>) {
    let server = server.gate(gate).set("shutdown_grace", grace);
    let fleet = server.set("workers", 1).set("one_by_one", "yes").start();
    let in_flight = client::begin(fleet.addr(), "/gate");
    let queued = (0..20).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    (fleet, in_flight, queued)
}

// On other platforms new connections cannot be refused while the queue is accepted.
#[cfg(target_os = "linux")]
#[test]
fn stop_with_queued_connections_answers_them() {
    let servers = [
        Server::new(SERVER),
        Server::new(SERVER).set("addr", "[::1]:0"),
        Server::new(SERVER).set("addr", ":0").set("network", "tcp").reuseport(true),
    ];
    for server in servers {
        let gate = ResponseGate::new();
        let (fleet, in_flight, queued) = busy_with_queue(&gate, server, "1m");
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping:");
        gate.open();
        let child = in_flight.finish().unwrap();
        assert!(client::finish_all(queued).iter().all(|answer| *answer == child));
        fleet.expect_stopped();
    }
}

// On other platforms new connections cannot be refused while the queue is accepted.
#[cfg(target_os = "linux")]
#[test]
fn stop_with_queued_connections_on_reuseport_sockets_answers_them() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("shutdown_grace", "1m").reuseport(true).start();
        let children = fleet.first_children();
        for child in &children {
            send(*child, Signal::SIGSTOP);
            wait::until("stopped child", || proc::is_stopped(*child));
        }
        let queued: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping:");
        children.iter().for_each(|child| send(*child, Signal::SIGCONT));
        let pids = client::finish_all(queued);
        assert!(children.iter().all(|child| pids.contains(&child.to_string())), "{pids:?}");
        fleet.expect_stopped();
    }
}

// On other platforms new connections cannot be refused while the queue is accepted.
#[cfg(target_os = "linux")]
#[test]
fn stop_resets_queue_of_slot_without_child_and_answers_other_queues() {
    let server = Server::new(SERVER).set("shutdown_grace", "1m").reuseport(true);
    let fleet = server.set("boot", "late_hang").start();
    let [dead, other] = fleet.first_children()[..] else { panic!("two children") };
    for child in [dead, other] {
        send(child, Signal::SIGSTOP);
        wait::until("stopped child", || proc::is_stopped(child));
    }
    let queued: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    send(dead, Signal::SIGKILL);
    wait::until("successor that is not ready", || fleet.children_started() == 3);
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping:");
    send(other, Signal::SIGCONT);
    let mut tally = client::Tally::default();
    for request in queued {
        tally.count(request.finish());
    }
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), [&other.to_string()]);
    assert!(!tally.failures.is_empty(), "no connection queued for the slot without a child: {tally:?}");
    fleet.console.wait_for("closing with connections still queued");
    fleet.expect_stopped();
}

// On other platforms the stop does not wait for queues.
#[cfg(target_os = "linux")]
#[test]
fn stop_with_queue_that_is_never_accepted_ends() {
    let gate = ResponseGate::new();
    let (fleet, in_flight, queued) = busy_with_queue(&gate, Server::new(SERVER), "15s");
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("closing with connections still queued");
    fleet.wait_until_it_refuses();
    gate.open();
    in_flight.finish().unwrap();
    for request in queued {
        request.finish().unwrap_err();
    }
    fleet.expect_stopped();
}

/// Sends SIGTERM to one child. Its successor is started first; then it accepts no new connection and answers
/// the requests in flight. That is no failure. Its sibling serves all the time.
#[cfg(unix)]
fn check_drain_of_one_child(server: Server) {
    let gate = ResponseGate::new();
    let fleet = server.gate(&gate).set("recover", 0).start();
    let addr = fleet.addr();
    let in_flight = client::begin_many(addr, "/gate", 6);
    fleet.wait_until_ready_for_a_second();
    let victim = in_flight[0].pid();
    let sibling = fleet.first_children().into_iter().find(|child| *child != victim).unwrap();
    send(victim, Signal::SIGTERM);
    fleet.console.wait_for(&format!("(pid {victim}) received SIGTERM"));
    // The accept gate closes once the successor is ready; from then on others answer all requests.
    let answered_in_a_row = |count| (0..count).all(|_| client::serving_pid(addr) != victim);
    wait::until("successor", || fleet.children_started() == 3);
    wait::until("closed accept gate", || answered_in_a_row(20));
    assert!(proc::is_alive(victim), "the child ended with open connections");
    gate.open();
    for request in in_flight {
        let pid = request.pid();
        assert_eq!(request.finish().unwrap(), pid.to_string());
    }
    let after = fleet.wait_for_children(2, &[victim]);
    assert!(after.contains(&sibling), "the sibling was replaced");
    fleet.stop();
}

// On Windows only the master can stop a child.
#[cfg(unix)]
#[test]
fn term_to_child_drains_and_replaces_it_without_failure() {
    check_drain_of_one_child(Server::new(SERVER));
}

// On Windows only the master can stop a child.
#[cfg(unix)]
#[test]
fn term_to_tokio_child_drains_and_replaces_it_without_failure() {
    check_drain_of_one_child(Server::new(TOKIO_SERVER));
}

/// Whether this user has the capability to refuse new connections with a socket filter.
#[cfg(unix)]
fn may_filter() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let capabilities = proc::status_field(std::process::id(), "CapEff").unwrap();
    u64::from_str_radix(&capabilities, 16).unwrap() & CAP_NET_ADMIN != 0
}

// On Windows a drain lasts until no connection is left or the grace period ends.
#[cfg(unix)]
#[test]
fn stop_under_load_interrupts_no_answer() {
    for server in [SERVER, TOKIO_SERVER] {
        let mut fleet = Server::new(server).start();
        let addr = fleet.addr();
        let tally = client::under_load(addr, "/", 4, || {
            (0..50).for_each(|_| drop(client::try_get(addr, "/")));
            fleet.signal(Signal::SIGTERM);
            assert!(fleet.wait().success());
        });
        assert!(tally.answered() > 0, "{tally:?}");
        // Accepted and queued connections are answered; later ones are refused.
        let is_broken = |reason: &&String| match may_filter() {
            true => !reason.contains("refused"),
            // Without a filter, connections of the last moment are reset.
            false => reason.contains("HTTP/1.1"),
        };
        let broken: Vec<_> = tally.failures.keys().filter(is_broken).collect();
        assert!(broken.is_empty(), "interrupted answers: {tally:?}");
        fleet.assert_nothing_left();
    }
}
