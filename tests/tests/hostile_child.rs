//! Children that attack the link to the master, the master itself, or the listening socket. Each line of
//! the guide's section on what a child can do names its test here.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::time::Duration;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_hostile_server");

/// Lets some child attack as `path` says; returns its pid after the attack, which the child must survive.
fn attack(fleet: &RunningFleet, path: &str) -> u32 {
    let answer = client::get(fleet.addr(), path);
    answer.parse().unwrap_or_else(|_| panic!("{answer}"))
}

/// Lets some child begin an attack that may end it before it has answered; returns its pid.
fn begin_attack(fleet: &RunningFleet, path: &str) -> u32 {
    client::begin(fleet.addr(), path).pid()
}

/// Checks that the child is killed and replaced with this message, and that the fleet serves.
fn expect_replaced(fleet: RunningFleet, hostile: u32, message: &str) -> Vec<String> {
    fleet.console.wait_for(&format!("(pid {hostile}) {message}; killing it"));
    fleet.console.wait_for(&format!("(pid {hostile}) exited: signal 9 (SIGKILL)"));
    fleet.console.wait_for(&format!("in place of pid {hostile}"));
    fleet.wait_for_children(2, &[hostile]);
    client::serving_pid(fleet.addr());
    stop(fleet)
}

/// Stops a fleet, some of whose children were killed; returns the lines of standard error.
fn stop(mut fleet: RunningFleet) -> Vec<String> {
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
    fleet.console.wait_for_end()
}

fn assert_not_orphaned(lines: &[String]) {
    assert!(!lines.iter().any(|line| line.contains("lost its master")), "{lines:#?}");
}

fn memory_kib(pid: u32) -> u64 {
    let size = proc::status_field(pid, "VmRSS").unwrap();
    size.trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn child_that_floods_its_master_with_lines_is_killed_and_replaced() {
    let fleet = Server::new(SERVER).start();
    let before = memory_kib(fleet.master());
    let hostile = begin_attack(&fleet, "/flood");
    wait::until("end of the child", || !proc::is_alive(hostile));
    assert!(memory_kib(fleet.master()) < before + 8 * 1024, "the master kept what was sent");
    let lines = expect_replaced(fleet, hostile, "sent its master more than 64 messages within 10s");
    assert_not_orphaned(&lines);
}

#[test]
fn child_that_sends_half_a_line_without_end_is_killed_and_replaced() {
    let fleet = Server::new(SERVER).start();
    let hostile = begin_attack(&fleet, "/half-line");
    let lines = expect_replaced(fleet, hostile, "sent its master a line of more than 256 bytes");
    assert_not_orphaned(&lines);
}

#[test]
fn child_that_sends_rubbish_changes_nothing() {
    let fleet = Server::new(SERVER).start();
    let hostile = attack(&fleet, "/rubbish");
    // The master has read it once it has answered a later request.
    fleet.operate(Signal::SIGTTIN, 1, "child 2");
    assert!(proc::is_alive(hostile));
    fleet.stop();
}

#[test]
fn descriptors_that_a_child_sends_are_not_kept() {
    let fleet = Server::new(SERVER).start();
    let before = proc::handle_count(fleet.master());
    let hostile = attack(&fleet, "/descriptors");
    // The master has read the message once it has answered a later request.
    fleet.operate(Signal::SIGTTIN, 1, "child 2");
    let after = proc::handle_count(fleet.master());
    assert!(after <= before + 5, "{before} descriptors, then {after}");
    assert!(proc::is_alive(hostile));
    fleet.stop();
}

#[test]
fn child_that_closes_its_link_and_lives_on_is_killed_and_replaced() {
    let fleet = Server::new(SERVER).start();
    let request = client::begin(fleet.addr(), "/close");
    expect_replaced(fleet, request.pid(), "closed its link to the master and has not exited");
}

#[test]
fn child_that_executes_another_program_is_killed_and_replaced() {
    let fleet = Server::new(SERVER).start();
    let request = client::begin(fleet.addr(), "/exec");
    expect_replaced(fleet, request.pid(), "closed its link to the master and has not exited");
}

#[test]
fn child_that_exits_is_not_reported_as_one_that_closed_its_link() {
    let fleet = Server::new(SERVER).start();
    let first = fleet.first_children();
    fleet.replace(&first);
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("closed its link")), "{lines:#?}");
}

#[test]
fn child_that_receives_no_term_ends_within_its_grace() {
    let server = Server::new(SERVER).set("block_term", 1).set("shutdown_grace", "1s");
    stop(server.start());
}

#[test]
fn child_of_the_masters_user_can_kill_the_master_and_the_others_end() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "1s").start();
    let children = fleet.first_children();
    let request = client::send(fleet.addr(), "/kill-master");
    wait::until("end of the fleet", || !children.iter().any(|child| proc::is_alive(*child)));
    drop(request);
}

#[test]
fn child_of_another_user_cannot_kill_the_master() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let fleet = Server::new(SERVER).env("PREFORK_USER", "65534").start();
    let answer = client::get(fleet.addr(), "/kill-master");
    assert!(answer.contains("not permitted"), "{answer}");
    fleet.stop();
}

#[test]
fn thief_takes_connections_of_a_shared_socket_and_with_reuseport_those_of_its_slot_only() {
    for reuseport in [false, true] {
        let fleet = Server::new(SERVER).reuseport(reuseport).start();
        let inodes = proc::listening_inodes(fleet.addr().port());
        let held: Vec<_> =
            fleet.first_children().iter().map(|child| proc::held_inodes(*child, &inodes)).collect();
        assert_eq!(held[0].len(), 1);
        assert_eq!(held[0] == held[1], !reuseport, "a child holds its own socket only: {held:?}");
        let thief = attack(&fleet, "/steal");
        // Each of them is answered by the other child, or waits until the thief is killed.
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        send(thief, Signal::SIGKILL);
        let answers = requests.into_iter().filter_map(|request| request.finish().ok());
        assert!(answers.into_iter().all(|answer| answer != thief.to_string()));
        fleet.wait_for_children(2, &[thief]);
        fleet.stop();
    }
}

#[test]
fn nonblocking_shared_socket_costs_a_server_that_does_not_expect_it_a_restart() {
    let fleet = Server::new(SERVER).set("recover", 10).start();
    fleet.wait_until_ready_for_a_second();
    begin_attack(&fleet, "/nonblocking");
    // A child finds out when it accepts again. Its replacement may have set the socket back before another does.
    wait::until("a replacement", || {
        let _ = client::try_get(fleet.addr(), "/");
        fleet.console.says("in place of pid")
    });
    let answer = || client::try_get(fleet.addr(), "/").ok();
    wait::for_value_or(|| format!("answer; {:#?}", fleet.console.lines()), answer);
    fleet.stop();
}

#[test]
fn shutdown_of_a_shared_socket_stops_every_child_until_the_next_start() {
    for reuseport in [false, true] {
        let fleet = Server::new(SERVER).reuseport(reuseport).set("recover", 10).start();
        fleet.wait_until_ready_for_a_second();
        let hostile = begin_attack(&fleet, "/shutdown");
        wait::until("end of the child", || !proc::is_alive(hostile));
        fleet.console.wait_for(&format!("a child shut down the socket on {}", fleet.addr()));
        fleet.wait_for_children(2, &[hostile]);
        wait::until("answer", || client::try_get(fleet.addr(), "/").is_ok());
        fleet.stop();
    }
}

/// Whether connections to the stopped children of the fleet are queued.
fn queues_connections(fleet: &RunningFleet) -> bool {
    let children = fleet.children();
    children.iter().for_each(|child| send(*child, Signal::SIGSTOP));
    wait::until("stopped children", || children.iter().all(|child| proc::is_stopped(*child)));
    let timeout = Duration::from_millis(300);
    let connect = || std::net::TcpStream::connect_timeout(&fleet.addr(), timeout);
    let connections: Vec<_> = (0..10).map(|_| connect()).collect();
    children.iter().for_each(|child| send(*child, Signal::SIGCONT));
    connections.iter().all(Result::is_ok)
}

#[test]
fn queue_that_a_child_shortens_has_its_length_again_after_the_next_start() {
    let fleet = Server::new(SERVER).start();
    let hostile = attack(&fleet, "/short-queue");
    assert!(!queues_connections(&fleet));
    fleet.replace(&[hostile]);
    assert!(queues_connections(&fleet));
}

#[test]
fn packet_filter_of_a_child_stops_new_connections_until_the_next_start() {
    let fleet = Server::new(SERVER).start();
    let answer = client::get(fleet.addr(), "/filter");
    if answer.contains("not permitted") {
        return skipped("socket-filters");
    }
    assert!(!queues_connections(&fleet));
    fleet.replace(&[answer.parse().unwrap()]);
    assert!(queues_connections(&fleet));
}

#[test]
fn child_can_capture_the_connections_of_a_reuseport_group_until_the_next_steering() {
    let fleet = Server::new(SERVER).reuseport(true).start();
    attack(&fleet, "/capture");
    let first = fleet.first_children()[0];
    for _ in 0..50 {
        assert_eq!(client::serving_pid(fleet.addr()), first);
    }
    // A slot that waits for its child, and then has one: the master's program takes the place of the child's.
    fleet.replace(&[first]);
    let mut pids: Vec<u32> = (0..50).map(|_| client::serving_pid(fleet.addr())).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 2);
    fleet.stop();
}
