//! Listening sockets: shared and reuseport, networks, backlog, and the default number of children.
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

/// Sends requests until each of `children` has answered.
#[cfg(unix)]
fn check_every_child_serves(addr: SocketAddr, children: &[u32]) {
    let expected: BTreeSet<u32> = children.iter().copied().collect();
    let mut seen = BTreeSet::new();
    wait::until("answer from every child", || {
        // Several requests at once: a single client may reach the same idle child each time.
        let ask = |_| thread::spawn(move || client::serving_pid(addr));
        let clients: Vec<_> = (0..8).map(ask).collect();
        seen.extend(clients.into_iter().map(|client| client.join().unwrap()));
        seen.is_superset(&expected)
    });
    assert_eq!(seen, expected, "a process that is no child answered");
}

fn loopback(v6: bool, port: u16) -> SocketAddr {
    if v6 { (Ipv6Addr::LOCALHOST, port).into() } else { (Ipv4Addr::LOCALHOST, port).into() }
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn shared_socket_is_served_by_every_child() {
    let fleet = Server::new(SERVER).set("workers", 3).start();
    let children = fleet.first_children();
    assert_eq!(children.len(), 3);
    check_every_child_serves(fleet.addr(), &children);
    let inodes = proc::listening_inodes(fleet.addr().port());
    assert_eq!(inodes.len(), 1, "one socket");
    for pid in children.into_iter().chain([fleet.master()]) {
        assert_eq!(proc::held_inodes(pid, &inodes), inodes, "process {pid} holds the socket");
    }
    fleet.stop();
}

// On Windows the children share one socket with any value of the option.
#[cfg(unix)]
#[test]
fn reuseport_gives_every_child_its_own_socket() {
    let fleet = Server::new(SERVER).set("workers", 3).reuseport(true).start();
    let children = fleet.first_children();
    check_every_child_serves(fleet.addr(), &children);
    let inodes = proc::listening_inodes(fleet.addr().port());
    assert_eq!(inodes.len(), 3, "a socket for each slot");
    assert_eq!(proc::held_inodes(fleet.master(), &inodes), inodes, "the master owns them all");
    let mut taken = BTreeSet::new();
    for child in children {
        let held = proc::held_inodes(child, &inodes);
        assert_eq!(held.len(), 1, "child {child} holds its own socket only");
        taken.extend(held);
    }
    assert_eq!(taken, inodes);
    fleet.stop();
}

// On Windows the children share one socket with any value of the option.
#[cfg(unix)]
#[test]
fn reuseport_successor_gets_socket_of_its_slot() {
    let fleet = Server::new(SERVER).set("workers", 2).reuseport(true).start();
    let port = fleet.addr().port();
    let inodes = proc::listening_inodes(port);
    let victim = fleet.first_children()[1];
    let socket = proc::held_inodes(victim, &inodes);
    let children = fleet.replace(&[victim]);
    assert_eq!(proc::listening_inodes(port), inodes, "the sockets changed");
    let successor = children.into_iter().find(|child| !fleet.first_children().contains(child)).unwrap();
    assert_eq!(proc::held_inodes(successor, &inodes), socket);
    fleet.stop();
}

/// Queues requests while the children are stopped, and kills all children. Successors must answer every
/// queued request.
fn check_queue_survives_kill(server: Server) {
    let fleet = server.set("workers", 2).set("recover", 100).start();
    let children = fleet.first_children();
    for child in &children {
        send(*child, Signal::SIGSTOP);
        wait::until("stopped child", || proc::is_stopped(*child));
    }
    let requests: Vec<_> = (0..60).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    let mut tally = client::Tally::default();
    requests.into_iter().for_each(|request| tally.count(request.finish()));
    assert!(tally.answered() >= 60 - 2 * proc::accepted_while_stopped(), "{tally:?}");
    for child in children {
        assert!(!tally.answers.contains_key(&child.to_string()), "a killed child answered");
    }
    fleet.stop();
}

#[test]
fn kill_of_all_children_keeps_queue_of_shared_socket() {
    check_queue_survives_kill(Server::new(SERVER));
}

#[test]
fn kill_of_all_children_keeps_queues_of_reuseport_sockets() {
    check_queue_survives_kill(Server::new(SERVER).reuseport(true));
}

#[test]
fn default_workers_is_number_of_cores() {
    let fleet = Server::new(SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), thread::available_parallelism().unwrap().get());
    fleet.stop();
}

// `taskset` and `ss` are Linux programs.
#[cfg(unix)]
#[test]
fn default_workers_with_cpu_affinity_is_number_of_allowed_cores() {
    let allowed = proc::status_field(std::process::id(), "Cpus_allowed_list").unwrap();
    let first: String = allowed.chars().take_while(char::is_ascii_digit).collect();
    let fleet = Server::through(&["taskset", "--cpu-list", &first], SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), 1);
    fleet.stop();
}

/// Starts a fleet on the wildcard address of a network; returns which of IPv4 and IPv6 it serves.
fn versions_served(network: &str, reuseport: bool) -> (RunningFleet, [bool; 2]) {
    let server = Server::new(SERVER).set("addr", ":0").set("network", network);
    let fleet = server.reuseport(reuseport).start();
    let port = fleet.addr().port();
    let served = [false, true].map(|v6| match client::try_get(loopback(v6, port), "/") {
        Ok(pid) => fleet.first_children().contains(&pid.parse().unwrap()),
        Err(_) => false,
    });
    (fleet, served)
}

#[test]
fn tcp_wildcard_serves_ipv4_and_ipv6() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp", reuseport);
        assert_eq!(served, [true, true], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn tcp4_wildcard_serves_ipv4_only() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp4", reuseport);
        assert_eq!(served, [true, false], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn tcp6_wildcard_serves_ipv6_only() {
    for reuseport in [false, true] {
        let (fleet, served) = versions_served("tcp6", reuseport);
        assert_eq!(served, [false, true], "reuseport: {reuseport}");
        fleet.stop();
    }
}

#[test]
fn host_name_and_bracketed_ipv6_address_serve() {
    let fleet = Server::new(SERVER).set("addr", "localhost:0").start();
    assert_eq!(fleet.addr().ip(), Ipv4Addr::LOCALHOST);
    client::serving_pid(fleet.addr());
    fleet.stop();
    let fleet = Server::new(SERVER).set("addr", "[::1]:0").set("network", "tcp6").start();
    assert_eq!(fleet.addr().ip(), Ipv6Addr::LOCALHOST);
    client::serving_pid(fleet.addr());
    fleet.stop();
}

// `taskset` and `ss` are Linux programs.
#[cfg(unix)]
#[test]
fn backlog_option_sets_listen_queue() {
    let fleet = Server::new(SERVER).set("backlog", 7).start();
    let port = fleet.addr().port();
    // For a listening socket `ss` shows the backlog as the size of the send queue.
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
fn killed_idle_children_fail_no_request() {
    for reuseport in [false, true] {
        let fleet = Server::new(SERVER).set("recover", 100).reuseport(reuseport).start();
        // A request in flight fails with its child, so the clients pause during the kills. A failure is
        // then one of the listener.
        for _ in 0..3 {
            let children = fleet.children();
            let before = client::under_load(fleet.addr(), "/", 2, || {
                // The system chooses the child that answers.
                (0..20).for_each(|_| assert!(children.contains(&client::serving_pid(fleet.addr()))));
            });
            assert!(before.failures.is_empty(), "{before:?}");
            fleet.replace(&children[..1]);
        }
        fleet.stop();
    }
}
