//! What a fleet does for its children's health, and for load balancers.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, ClientMix, Connection};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
#[cfg(unix)]
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

fn get(fleet: &RunningFleet, path: &str) -> String {
    Connection::to(fleet.addr()).get(path).unwrap()
}

#[test]
fn a_child_that_says_when_it_is_ready_is_ready_then() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").set("gate", gate.display()).launch();
    // It serves already, and is not ready for all that.
    wait::until("children", || fleet.children().len() == 2);
    get(&fleet, "/");
    assert!(fleet.console.lines_with("ready (pids").is_empty());
    std::fs::write(&gate, "").unwrap();
    fleet.console.wait_for("2 children ready (pids");
    fleet.stop();
}

#[test]
fn a_child_that_never_says_so_has_failed() {
    let outcome = Server::new(KEEP_ALIVE_SERVER)
        .set("ready", "manual")
        .set("start_timeout", "300ms")
        .set("recover", 1)
        .set("workers", 1)
        .run();
    assert!(outcome.error().contains("was not ready within 300ms"), "{outcome:#?}");
}

#[test]
fn after_term_a_fleet_with_a_stop_delay_accepts_and_says_that_it_is_stopping() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("stop_delay", "2s").start();
    assert_eq!(get(&fleet, "/stopping"), "false");
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 2s");
    wait::until("word of the stop", || get(&fleet, "/stopping") == "true");
    let lines = fleet.expect_stopped();
    assert!(lines.iter().any(|line| line.contains("stopping: 2 children")), "{lines:#?}");
}

#[test]
fn a_second_term_during_the_delay_stops_at_once() {
    let mut fleet = Server::new(KEEP_ALIVE_SERVER).set("stop_delay", "1h").start();
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 1h");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
}

#[test]
fn old_children_are_replaced_unnoticed_and_uncounted() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("max_lifetime", "500ms").set("recover", 0).start();
    let first = fleet.first_children();
    // On Windows their going is not to be had under load.
    let mix = if cfg!(windows) {
        ClientMix { fresh: 0, kept: 0, slow: 0 }
    } else {
        ClientMix { fresh: 2, kept: 2, slow: 1 }
    };
    let tally = load::during(fleet.addr(), mix, || {
        wait::until("both to be replaced", || fleet.children().iter().all(|child| !first.contains(child)));
    });
    assert!(tally.failures.is_empty(), "{tally:?}");
    fleet.stop();
}

#[test]
fn a_child_that_has_grown_too_large_is_replaced() {
    let fleet =
        Server::new(KEEP_ALIVE_SERVER).set("max_rss", "60MiB").set("workers", 1).set("recover", 0).start();
    let first = fleet.first_children();
    assert_eq!(get(&fleet, "/grow"), (64 << 20).to_string());
    fleet.console.wait_for("reached its limit");
    fleet.wait_for_children(1, &first);
    get(&fleet, "/");
    fleet.stop();
}

#[test]
fn a_child_that_hangs_reports_its_threads_and_is_replaced() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("hang_timeout", "500ms").set("workers", 1).start();
    let first = fleet.first_children();
    let addr = fleet.addr();
    let hanging = std::thread::spawn(move || Connection::to(addr).get("/hang"));
    fleet.console.wait_for("hangs; its threads:");
    // Windows tells nobody where his threads are.
    #[cfg(unix)]
    fleet.console.wait_for(&format!("thread {} (keep_a: child 0)", first[0]));
    fleet.wait_for_children(1, &first);
    assert!(hanging.join().unwrap().is_err());
    get(&fleet, "/");
    fleet.stop();
}

#[test]
fn neither_idle_nor_stopped_children_hang() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("hang_timeout", "400ms").start();
    let first = fleet.first_children();
    // As if the machine were suspended: for much longer than the limit, with work under way.
    let addr = fleet.addr();
    let slow = std::thread::spawn(move || Connection::to(addr).get("/"));
    first.iter().for_each(|child| send(*child, Signal::SIGSTOP));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    first.iter().for_each(|child| send(*child, Signal::SIGCONT));
    slow.join().unwrap().unwrap();
    first.iter().for_each(|child| assert!(proc::is_alive(*child), "{:#?}", fleet.console.lines()));
    fleet.stop();
}

#[test]
fn a_blocked_runtime_hangs() {
    let fleet = Server::new(TOKIO_SERVER).set("hang_timeout", "500ms").set("workers", 1).start();
    let first = fleet.first_children();
    client::serving_pid(fleet.addr());
    let blocked = client::send(fleet.addr(), "/block").unwrap();
    fleet.console.wait_for("hangs; its threads:");
    fleet.wait_for_children(1, &first);
    assert!(blocked.finish().is_err());
    client::serving_pid(fleet.addr());
    assert!(proc::zombies(fleet.master()).is_empty());
    fleet.stop();
}

// Elsewhere no slot has a socket of its own.
#[cfg(unix)]
#[test]
fn connections_go_to_live_slots_while_one_waits_for_its_next_child() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("reuseport", "yes").set("recover_interval", "1h").start();
    let first = fleet.first_children();
    send(first[0], Signal::SIGKILL);
    fleet.console.wait_for("child 0 restarts in 1h");
    for _ in 0..50 {
        assert_eq!(get(&fleet, "/"), first[1].to_string());
    }
    fleet.stop();
}

// Elsewhere no slot has a socket of its own.
#[cfg(unix)]
#[test]
fn queue_of_slot_without_child_waits_for_its_next_child() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("reuseport", "yes").set("recover_interval", "500ms").start();
        let first = fleet.first_children();
        send(first[0], Signal::SIGSTOP);
        wait::until("a stopped child", || proc::is_stopped(first[0]));
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        send(first[0], Signal::SIGKILL);
        let mut tally = client::Tally::default();
        for request in requests {
            tally.count(request.finish());
        }
        assert!(tally.failures.is_empty(), "{server}: {tally:?} {:#?}", fleet.console.lines());
        let mut answered: Vec<&String> = tally.answers.keys().collect();
        answered.retain(|pid| **pid != first[1].to_string());
        assert_eq!(answered.len(), 1, "one successor answers what had queued: {tally:?}");
        assert_ne!(*answered[0], first[0].to_string());
        fleet.stop();
    }
}
