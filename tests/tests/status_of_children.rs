//! What `/status` tells of each child and of slots without one.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a panic in a test helper fails the test")]

use std::collections::BTreeMap;

use prefork_tests::fleet::{RunningFleet, Server, preloads};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::status::Status;
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const SHARED_VALUES_SERVER: &str = env!("CARGO_BIN_EXE_shared_values_server");

fn status(fleet: &RunningFleet) -> Status {
    Status::of(fleet.health_addr())
}

/// Sends requests that are counted until each of these children has answered some; returns how many each has.
fn send_requests(fleet: &RunningFleet, children: &[u32]) -> BTreeMap<u32, Option<u64>> {
    let mut sent: BTreeMap<u32, u64> = children.iter().map(|child| (*child, 0)).collect();
    wait::until("requests to every child", || {
        let child = client::get(fleet.addr(), "/count").parse().expect("a pid");
        *sent.entry(child).or_default() += 1;
        sent.values().all(|count| *count > 2)
    });
    sent.into_iter().map(|(child, count)| (child, Some(count))).collect()
}

/// What was read of children is used again for a moment.
fn wait_for_requests(fleet: &RunningFleet, expected: &BTreeMap<u32, Option<u64>>) {
    let what = || format!("requests {expected:?}, not {:?}", status(fleet).requests());
    wait::for_value_or(what, || (status(fleet).requests() == *expected).then_some(()));
}

#[test]
fn requests_of_a_child_are_those_that_it_has_answered_itself() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("health", "127.0.0.1:0").set("recover", 1000).start();
    let first = fleet.first_children();
    let unknown = first.iter().map(|child| (*child, None)).collect();
    wait_for_requests(&fleet, &unknown);
    let sent = send_requests(&fleet, &first);
    wait_for_requests(&fleet, &sent);
    // The next child of the slot has the memory of the killed one.
    let second = fleet.replace(&first[..1]);
    let expected = second.iter().map(|child| (*child, sent.get(child).copied().unwrap_or(Some(0)))).collect();
    wait_for_requests(&fleet, &expected);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let third = fleet.wait_for_children(2, &second);
    let sent = send_requests(&fleet, &third);
    wait_for_requests(&fleet, &sent);
    fleet.stop();
}

#[test]
fn requests_of_a_child_that_drains_are_known_after_an_upgrade() {
    let gate = ResponseGate::new();
    let fleet = Server::new(SHARED_VALUES_SERVER).set("health", "127.0.0.1:0").gate(&gate).start();
    let first = fleet.first_children();
    let sent = send_requests(&fleet, &first);
    let held = client::begin(fleet.addr(), "/wait");
    let old = held.pid();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    wait::until("the end of the other old child", || fleet.children().len() == 3);
    let new: Vec<u32> = fleet.children().into_iter().filter(|child| *child != old).collect();
    let mut expected = send_requests(&fleet, &new);
    expected.insert(old, sent[&old]);
    wait_for_requests(&fleet, &expected);
    gate.open();
    assert_eq!(held.finish().ok(), Some(old.to_string()));
    fleet.stop();
}

#[test]
fn process_without_children_tells_its_own_requests() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("health", "127.0.0.1:0").set("workers", 0).launch();
    fleet.console.wait_for("ready");
    let own = |count| BTreeMap::from([(fleet.master(), count)]);
    assert_eq!(status(&fleet).requests(), own(None));
    (0..7).for_each(|_| drop(client::get(fleet.addr(), "/count")));
    wait_for_requests(&fleet, &own(Some(7)));
    fleet.stop();
}

#[test]
fn slot_whose_child_has_crashed_waits_with_the_time_until_its_next_child() {
    let server = Server::new(SERVER).set("health", "127.0.0.1:0").set("recover", 1000);
    let fleet = server.set("recover_interval", "10m").start();
    let first = fleet.first_children();
    assert_eq!(status(&fleet).waiting(), []);
    assert_eq!(status(&fleet).templates().len(), usize::from(preloads()));
    send(first[1], Signal::SIGKILL);
    wait::until("a slot that waits", || !status(&fleet).waiting().is_empty());
    let of_crash = status(&fleet);
    let pids: Vec<u32> = of_crash.requests().into_keys().collect();
    assert_eq!(pids, first[..1]);
    let waiting = of_crash.waiting();
    assert_eq!((waiting.len(), waiting[0].get("slot"), waiting[0].get("generation")), (1, Some(1), Some(0)));
    let left = |status: &Status| status.waiting()[0].get::<f64>("starts_in_seconds").expect("a known time");
    assert!((1.0..=600.0).contains(&left(&of_crash)), "{of_crash:?}");
    wait::until("a shorter time", || left(&status(&fleet)) < left(&of_crash));
    // A reload does not wait for it.
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let both = status(&fleet);
    assert_eq!(both.waiting(), []);
    assert!(both.children().iter().any(|child| child.get("slot") == Some(1)), "{both:?}");
    fleet.stop();
}
