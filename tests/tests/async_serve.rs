//! Async serve functions: each child starts its own runtime.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use prefork_tests::client;
#[cfg(unix)]
use prefork_tests::fleet::RunningFleet;
use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
#[cfg(unix)]
use prefork_tests::{proc, signal::send, wait};

const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

// The system starts further threads on Windows.
#[cfg(unix)]
#[test]
fn default_runtime_has_one_serving_thread_per_child() {
    let fleet = Server::new(TOKIO_SERVER).start();
    for _ in 0..20 {
        client::serving_pid(fleet.addr());
    }
    for child in fleet.first_children() {
        assert_eq!(proc::threads(child).len(), 2, "the serving thread and the link thread");
    }
    assert_eq!(proc::threads(fleet.master()).len(), 2, "the loop and the log's writer, no runtime");
    fleet.stop();
}

// The system starts further threads on Windows.
#[cfg(unix)]
#[test]
fn multi_thread_runtime_has_one_thread_per_core() {
    let fleet = Server::new(TOKIO_SERVER).set("runtime", "multi_thread").start();
    client::serving_pid(fleet.addr());
    let cores = std::thread::available_parallelism().unwrap().get();
    for child in fleet.first_children() {
        wait::until("one thread per core", || proc::threads(child).len() == 2 + cores);
    }
    assert_eq!(proc::threads(fleet.master()).len(), 2, "the loop and the log's writer, no runtime");
    fleet.stop();
}

#[test]
fn unknown_runtime_is_refused() {
    let outcome = Server::new(TOKIO_SERVER).set("runtime", "green").run();
    outcome.assert_refused("runtime cannot be `green`: expected `current_thread`");
}

#[test]
fn killed_async_child_is_replaced_and_requests_are_answered() {
    let fleet = Server::new(TOKIO_SERVER).set("recover", 100).start();
    for _ in 0..3 {
        fleet.replace(&fleet.children()[..1]);
        let tally = client::under_load(fleet.addr(), "/", 2, || {
            for _ in 0..50 {
                client::serving_pid(fleet.addr());
            }
        });
        assert!(tally.failures.is_empty(), "{tally:?}");
    }
    fleet.stop();
}

#[test]
fn awaited_shutdown_resolves_at_stop_while_accepting() {
    let fleet = Server::new(TOKIO_SERVER).set("stop", "select").start();
    client::serving_pid(fleet.addr());
    let lines = fleet.stop();
    let stops = lines.iter().filter(|line| *line == "serve: stop requested, accepting: true").count();
    assert_eq!(stops, 2, "{lines:#?}");
}

#[test]
fn tasks_after_serve_returns_run_until_drain_ends() {
    let gate = ResponseGate::new();
    let fleet = Server::new(TOKIO_SERVER).set("stop", "select").gate(&gate).start();
    let in_flight = client::begin_many(fleet.addr(), "/gate", 6);
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for_nth(2, "serve: stop requested");
    gate.open();
    client::finish_all(in_flight);
    fleet.expect_stopped();
}

// On Windows only the master can stop a child.
#[cfg(unix)]
#[test]
fn term_to_idle_async_child_replaces_it() {
    let fleet = Server::new(TOKIO_SERVER).set("recover", 0).start();
    fleet.wait_until_ready_for_a_second();
    let child = fleet.first_children()[0];
    send(child, Signal::SIGTERM);
    fleet.wait_for_children(2, &[child]);
    fleet.stop();
}

/// Stops every other child while `ask` runs, so that this one gets what it sends.
#[cfg(unix)]
fn with_one_child<T>(fleet: &RunningFleet, child: u32, ask: impl FnOnce() -> T) -> T {
    let others: Vec<u32> = fleet.children().into_iter().filter(|other| *other != child).collect();
    for other in &others {
        send(*other, Signal::SIGSTOP);
        wait::until("the child is stopped", || proc::is_stopped(*other));
    }
    let result = ask();
    others.iter().for_each(|other| send(*other, Signal::SIGCONT));
    result
}

/// Whether each of these children has more than its share. Each one has counted then.
#[cfg(unix)]
fn exceeded(fleet: &RunningFleet, children: &[u32]) -> Vec<bool> {
    let ask = |child: &u32| {
        let answer = with_one_child(fleet, *child, || client::get(fleet.addr(), "/share"));
        let (pid, is_exceeded) = answer.split_once(' ').unwrap();
        assert_eq!(pid, child.to_string());
        is_exceeded == "true"
    };
    children.iter().map(ask).for_each(drop);
    children.iter().map(ask).collect()
}

#[cfg(unix)]
#[test]
fn child_with_more_than_its_share_knows_it_and_serves_while_the_other_is_stopped() {
    for (held, expected) in [("1000,0", [true, false]), ("0,1000", [false, true])] {
        let fleet = Server::new(TOKIO_SERVER).set("held", held).start();
        let children = fleet.first_children();
        for _ in 0..10 {
            assert_eq!(exceeded(&fleet, &children), expected);
        }
        fleet.stop();
    }
}

#[cfg(unix)]
#[test]
fn share_is_one_of_the_children_that_there_are_while_their_number_changes() {
    let fleet = Server::new(TOKIO_SERVER).set("held", "1000,600,0").start();
    let mut children = fleet.first_children();
    assert_eq!(exceeded(&fleet, &children), [true, false]);
    fleet.operate(Signal::SIGTTIN, 1, "resized from 2 to 3 children");
    let new = fleet.wait_for_children(3, &[]).into_iter().find(|child| !children.contains(child));
    children.extend(new);
    assert_eq!(exceeded(&fleet, &children), [true, true, false]);
    fleet.operate(Signal::SIGTTOU, 1, "resized from 3 to 2 children");
    fleet.wait_for_children(2, &children[2..]);
    assert_eq!(exceeded(&fleet, &children[..2]), [true, false]);
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn share_is_one_of_the_children_that_accept_while_another_drains() {
    let gate = ResponseGate::new();
    let fleet = Server::new(TOKIO_SERVER).set("workers", 3).set("held", "1000,0,550").gate(&gate).start();
    let old = fleet.first_children();
    assert_eq!(exceeded(&fleet, &old), [true, false, true]);
    let request = with_one_child(&fleet, old[0], || client::begin(fleet.addr(), "/gate"));
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    fleet.wait_for_children(4, &old[1..]);
    let new: Vec<u32> = (0..3).map(|slot| last_ready(&fleet, slot)).collect();
    // With the old child, which holds a thousand, the mean is more than 550.
    wait::until("the share without the old child", || exceeded(&fleet, &new) == [true, false, true]);
    assert!(fleet.children().contains(&old[0]));
    gate.open();
    assert_eq!(request.finish().unwrap(), old[0].to_string());
    fleet.wait_for_children(3, &old);
    assert_eq!(exceeded(&fleet, &new), [true, false, true]);
    fleet.stop();
}

/// The pid of the last child of a slot that has become ready.
#[cfg(unix)]
fn last_ready(fleet: &RunningFleet, slot: usize) -> u32 {
    let lines = fleet.console.lines_with(&format!("child {slot} (pid "));
    let pid = lines.iter().rev().find_map(|line| line.split_once("(pid ")?.1.strip_suffix(") is ready"));
    pid.unwrap().parse().unwrap()
}
