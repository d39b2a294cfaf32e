//! Readiness, stop delay, recycling, hang detection, and slots that wait for their next child.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::time::Duration;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
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
fn manual_ready_waits_for_call() {
    let gate = ResponseGate::new();
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").gate(&gate).launch();
    // The children serve before they are ready.
    wait::until("two children", || fleet.children().len() == 2);
    get(&fleet, "/");
    assert!(fleet.console.lines_with("ready (pids").is_empty());
    gate.open();
    fleet.console.wait_for("2 children ready (pids");
    fleet.stop();
}

#[test]
fn manual_ready_without_call_fails_after_start_timeout() {
    let outcome = Server::new(KEEP_ALIVE_SERVER)
        .set("ready", "manual")
        .set("start_timeout", "300ms")
        .set("recover", 1)
        .set("workers", 1)
        .run();
    assert!(outcome.error().contains("was not ready within 300ms"), "{outcome:#?}");
}

/// So that nothing is killed because a container was paused.
#[cfg(target_os = "linux")]
#[test]
fn child_that_is_ready_while_its_master_is_stopped_is_not_late() {
    let (gate, timeout) = (ResponseGate::new(), Duration::from_secs(10));
    let server = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").set("start_timeout", "10s");
    let fleet = server.gate(&gate).launch();
    wait::until("two children", || fleet.children().len() == 2);
    fleet.signal(Signal::SIGSTOP);
    wait::until("stopped master", || proc::is_stopped(fleet.master()));
    gate.open();
    // The children's time is over when the master continues.
    std::thread::sleep(timeout);
    fleet.signal(Signal::SIGCONT);
    fleet.console.wait_for("2 children ready (pids");
    fleet.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn child_that_is_ready_while_its_master_runs_a_hook_is_not_late() {
    let (gate, timeout) = (ResponseGate::new(), Duration::from_secs(10));
    let directory = tempfile::tempdir().unwrap();
    let busy = directory.path().join("busy");
    let server = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").set("start_timeout", "10s");
    let fleet = server.set("busy", busy.display()).gate(&gate).launch();
    wait::until("two children", || fleet.children().len() == 2);
    fleet.signal(Signal::SIGUSR1);
    wait::until("busy master", || busy.exists());
    gate.open();
    // The children's time is over when the hook returns.
    std::thread::sleep(timeout);
    std::fs::remove_file(&busy).unwrap();
    fleet.console.wait_for("2 children ready (pids");
    fleet.stop();
}

#[test]
fn stop_delay_accepts_connections_and_reports_stopping() {
    let mut fleet = Server::new(KEEP_ALIVE_SERVER).set("stop_delay", "1h").start();
    assert_eq!(get(&fleet, "/stopping"), "false");
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 1h");
    wait::until("announced stop in a child", || get(&fleet, "/stopping") == "true");
    fleet.signal(Signal::SIGQUIT);
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
}

#[test]
fn stop_delay_over_stops_gracefully() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("stop_delay", "200ms").start();
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 200ms");
    let lines = fleet.expect_stopped();
    assert!(lines.iter().any(|line| line.contains("stopping: 2 children")), "{lines:#?}");
}

/// The loop comes back to `accept` long after every thread there was woken.
#[test]
fn stop_waits_for_accept_loop_that_is_busy() {
    let server = Server::new(KEEP_ALIVE_SERVER).set("loop_pause", 2000).set("workers", 1);
    let fleet = server.set("shutdown_grace", "30s").start();
    get(&fleet, "/");
    fleet.stop();
}

#[test]
fn second_term_during_stop_delay_stops_at_once() {
    let mut fleet = Server::new(KEEP_ALIVE_SERVER).set("stop_delay", "1h").start();
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 1h");
    fleet.insist(|| fleet.try_signal(Signal::SIGTERM));
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_nothing_left();
}

#[test]
fn max_lifetime_replaces_children_without_failure_or_lost_request() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("max_lifetime", "500ms").set("recover", 0).start();
    let first = fleet.first_children();
    // On Windows children under load are not replaced.
    let mix = if cfg!(windows) {
        ClientMix { fresh: 0, kept: 0, slow: 0 }
    } else {
        ClientMix { fresh: 2, kept: 2, slow: 1 }
    };
    let tally = load::during(fleet.addr(), mix, || {
        wait::until("two successors", || fleet.children().iter().all(|child| !first.contains(child)));
    });
    assert!(tally.failures.is_empty(), "{tally:?}");
    fleet.stop();
}

#[test]
fn max_rss_replaces_child() {
    let fleet =
        Server::new(KEEP_ALIVE_SERVER).set("max_rss", "60MiB").set("workers", 1).set("recover", 0).start();
    let first = fleet.first_children();
    assert_eq!(get(&fleet, "/grow"), (64 << 20).to_string());
    fleet.console.wait_for("is larger than `max_rss`; replacing it");
    fleet.wait_for_children(1, &first);
    get(&fleet, "/");
    fleet.stop();
}

#[test]
fn hanging_child_logs_its_threads_and_is_replaced() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("hang_timeout", "500ms").set("workers", 1).start();
    let first = fleet.first_children();
    let addr = fleet.addr();
    let hanging = std::thread::spawn(move || Connection::to(addr).get("/hang"));
    fleet.console.wait_for("hangs; its threads:");
    // Windows does not report the threads.
    #[cfg(unix)]
    fleet.console.wait_for(&format!("thread {} (keep_a: child 0)", first[0]));
    fleet.wait_for_children(1, &first);
    assert!(hanging.join().unwrap().is_err());
    get(&fleet, "/");
    fleet.stop();
}

#[test]
fn idle_and_suspended_children_are_not_hanging() {
    let gate = ResponseGate::new();
    let fleet = Server::new(KEEP_ALIVE_SERVER).gate(&gate).set("hang_timeout", "3s").start();
    let first = fleet.first_children();
    // One child works, and the other is idle.
    let addr = fleet.addr();
    let work = std::thread::spawn(move || Connection::to(addr).get("/work"));
    fleet.console.wait_for("has begun");
    // Like a suspended machine.
    first.iter().for_each(|child| send(*child, Signal::SIGSTOP));
    wait::until("stopped children", || first.iter().all(|child| proc::is_stopped(*child)));
    // The length of the suspension is the condition: longer than the limit.
    std::thread::sleep(Duration::from_secs(4));
    gate.open();
    first.iter().for_each(|child| send(*child, Signal::SIGCONT));
    let worker = work.join().unwrap().unwrap_or_else(|error| panic!("{error}; {:#?}", fleet.console.lines()));
    assert!(first.contains(&worker.parse().unwrap()), "{worker}");
    first.iter().for_each(|child| assert!(proc::is_alive(*child), "{:#?}", fleet.console.lines()));
    fleet.stop();
}

#[test]
fn blocked_runtime_is_a_hang_and_child_is_replaced() {
    let fleet = Server::new(TOKIO_SERVER).set("hang_timeout", "2s").set("workers", 1).start();
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

// On Windows the slots share one socket.
#[cfg(unix)]
#[test]
fn connections_avoid_slot_that_waits_for_its_next_child() {
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("reuseport", "yes").set("recover_interval", "1h").start();
    let first = fleet.first_children();
    send(first[0], Signal::SIGKILL);
    fleet.console.wait_for("child 0 restarts in 1h");
    for _ in 0..50 {
        assert_eq!(get(&fleet, "/"), first[1].to_string());
    }
    fleet.stop();
}

// On Windows the slots share one socket.
#[cfg(unix)]
#[test]
fn queue_of_slot_without_child_waits_for_its_next_child() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("reuseport", "yes").set("recover_interval", "500ms").start();
        let first = fleet.first_children();
        send(first[0], Signal::SIGSTOP);
        wait::until("stopped child", || proc::is_stopped(first[0]));
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        send(first[0], Signal::SIGKILL);
        let mut tally = client::Tally::default();
        for request in requests {
            tally.count(request.finish());
        }
        assert!(tally.failures.is_empty(), "{server}: {tally:?} {:#?}", fleet.console.lines());
        let mut answered: Vec<&String> = tally.answers.keys().collect();
        answered.retain(|pid| **pid != first[1].to_string());
        assert_eq!(answered.len(), 1, "one successor answers the queue: {tally:?}");
        assert_ne!(*answered[0], first[0].to_string());
        fleet.stop();
    }
}
