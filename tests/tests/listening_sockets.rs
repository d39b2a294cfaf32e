//! Networks and sockets: who listens where, and who serves.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

#[cfg(unix)]
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Asks until each of `children` has answered.
#[cfg(unix)]
fn every_child_serves(addr: SocketAddr, children: &[u32]) {
    let expected: BTreeSet<u32> = children.iter().copied().collect();
    let mut seen = BTreeSet::new();
    wait::until("an answer from every child", || {
        // Several at once: a lone client may meet the same idle child again and again.
        let ask = |_| thread::spawn(move || client::serving_pid(addr));
        let clients: Vec<_> = (0..8).map(ask).collect();
        seen.extend(clients.into_iter().map(|client| client.join().unwrap()));
        seen.is_superset(&expected)
    });
    assert_eq!(seen, expected, "somebody else answered too");
}

fn loopback(v6: bool, port: u16) -> SocketAddr {
    if v6 { (Ipv6Addr::LOCALHOST, port).into() } else { (Ipv4Addr::LOCALHOST, port).into() }
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn every_child_serves_from_one_shared_socket() {
    let fleet = Server::new(SERVER).set("workers", 3).start();
    let children = fleet.first_children();
    assert_eq!(children.len(), 3);
    every_child_serves(fleet.addr(), &children);
    let inodes = proc::listening_inodes(fleet.addr().port());
    assert_eq!(inodes.len(), 1, "one socket");
    for pid in children.into_iter().chain([fleet.master()]) {
        assert_eq!(proc::held_inodes(pid, &inodes), inodes, "process {pid} has it");
    }
    fleet.stop();
}

// Elsewhere the children share one socket whatever the option says.
#[cfg(unix)]
#[test]
fn with_reuseport_every_child_serves_from_a_socket_of_its_own_on_one_port() {
    let fleet = Server::new(SERVER).set("workers", 3).set("reuseport", 1).start();
    let children = fleet.first_children();
    every_child_serves(fleet.addr(), &children);
    let inodes = proc::listening_inodes(fleet.addr().port());
    assert_eq!(inodes.len(), 3, "a socket for each slot");
    assert_eq!(proc::held_inodes(fleet.master(), &inodes), inodes, "the master owns them all");
    let mut taken = BTreeSet::new();
    for child in children {
        let held = proc::held_inodes(child, &inodes);
        assert_eq!(held.len(), 1, "child {child} has its own and no other's");
        taken.extend(held);
    }
    assert_eq!(taken, inodes);
    fleet.stop();
}

// Elsewhere the children share one socket whatever the option says.
#[cfg(unix)]
#[test]
fn a_successor_serves_from_its_predecessors_socket() {
    let fleet = Server::new(SERVER).set("workers", 2).set("reuseport", 1).start();
    let port = fleet.addr().port();
    let inodes = proc::listening_inodes(port);
    let victim = fleet.first_children()[1];
    let socket = proc::held_inodes(victim, &inodes);
    let children = fleet.replace(&[victim]);
    assert_eq!(proc::listening_inodes(port), inodes, "no socket came or went");
    let successor = children.into_iter().find(|child| !fleet.first_children().contains(child)).unwrap();
    assert_eq!(proc::held_inodes(successor, &inodes), socket);
    fleet.stop();
}

/// Fills the queues of children that are too busy to accept, kills them all, and expects every
/// request in the queues to be answered by a successor.
fn queued_connections_survive_their_children(server: Server) {
    let fleet = server.set("workers", 2).set("recover", 100).start();
    let children = fleet.first_children();
    for child in &children {
        send(*child, Signal::SIGSTOP);
        wait::until("a stopped child", || proc::is_stopped(*child));
    }
    let requests: Vec<_> = (0..60).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    let mut tally = client::Tally::default();
    requests.into_iter().for_each(|request| tally.count(request.finish()));
    assert!(tally.answered() >= 60 - 2 * proc::accepted_while_stopped(), "{tally:?}");
    for child in children {
        assert!(!tally.answers.contains_key(&child.to_string()), "a dead child answered");
    }
    fleet.stop();
}

#[test]
fn connections_queued_on_a_shared_socket_survive_the_kill_of_every_child() {
    queued_connections_survive_their_children(Server::new(SERVER));
}

#[test]
fn connections_queued_on_reuseport_sockets_survive_the_kill_of_every_child() {
    queued_connections_survive_their_children(Server::new(SERVER).set("reuseport", 1));
}

#[test]
fn the_default_is_a_child_for_each_core() {
    let fleet = Server::new(SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), thread::available_parallelism().unwrap().get());
    fleet.stop();
}

// `taskset` and `ss` are of Linux.
#[cfg(unix)]
#[test]
fn the_default_heeds_the_cores_that_the_process_may_run_on() {
    let allowed = proc::status_field(std::process::id(), "Cpus_allowed_list").unwrap();
    let first: String = allowed.chars().take_while(char::is_ascii_digit).collect();
    let fleet = Server::through(&["taskset", "--cpu-list", &first], SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), 1);
    fleet.stop();
}

/// Starts a fleet on every address of a network; says which IP versions are served.
fn versions_served(network: &str, reuseport: bool) -> (RunningFleet, [bool; 2]) {
    let server = Server::new(SERVER).set("addr", ":0").set("network", network);
    let fleet = if reuseport { server.set("reuseport", 1) } else { server }.start();
    let port = fleet.addr().port();
    let served = [false, true].map(|v6| match client::try_get(loopback(v6, port), "/") {
        Ok(pid) => fleet.first_children().contains(&pid.parse().unwrap()),
        Err(_) => false,
    });
    (fleet, served)
}

#[test]
fn tcp_without_a_host_serves_both_versions() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp", reuseport);
        assert_eq!(served, [true, true], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn tcp4_without_a_host_serves_ipv4_alone() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp4", reuseport);
        assert_eq!(served, [true, false], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn tcp6_without_a_host_serves_ipv6_alone() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp6", reuseport);
        assert_eq!(served, [false, true], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn a_name_and_a_bracketed_address_are_listened_on() {
    let fleet = Server::new(SERVER).set("addr", "localhost:0").start();
    assert_eq!(fleet.addr().ip(), Ipv4Addr::LOCALHOST);
    client::serving_pid(fleet.addr());
    fleet.stop();
    let fleet = Server::new(SERVER).set("addr", "[::1]:0").set("network", "tcp6").start();
    assert_eq!(fleet.addr().ip(), Ipv6Addr::LOCALHOST);
    client::serving_pid(fleet.addr());
    fleet.stop();
}

// `taskset` and `ss` are of Linux.
#[cfg(unix)]
#[test]
fn a_backlog_is_what_was_asked_for() {
    let fleet = Server::new(SERVER).set("backlog", 7).start();
    let port = fleet.addr().port();
    // Of a listening socket, `ss` shows the backlog as the size of the send queue.
    let shown = std::process::Command::new("ss").args(["-Hltn", &format!("sport = :{port}")]).output();
    match shown {
        Ok(shown) => {
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert_eq!(shown.split_whitespace().nth(2), Some("7"), "{shown}");
        }
        Err(_) => prefork_tests::skip::skipped("ss"),
    }
    fleet.stop();
}

#[test]
fn no_request_fails_while_children_are_killed_one_after_another() {
    for reuseport in [false, true] {
        let server = Server::new(SERVER).set("workers", 2).set("recover", 100);
        let server = if reuseport { server.set("reuseport", 1) } else { server };
        let fleet = server.start();
        // Requests in flight die with their child: only kill children that nobody talks to. So the
        // clients come between the kills, and any failure is the listener's.
        for _ in 0..3 {
            let children = fleet.children();
            let before = client::under_load(fleet.addr(), "/", 2, || {
                // Who answers is the system's choice.
                (0..20).for_each(|_| assert!(children.contains(&client::serving_pid(fleet.addr()))));
            });
            assert!(before.failures.is_empty(), "{before:?}");
            fleet.replace(&children[..1]);
        }
        fleet.stop();
    }
}
