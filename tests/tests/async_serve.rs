//! Async serve functions: one runtime in each child, started there.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a helper of tests, a panic is a failure"
)]

use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
#[cfg(unix)]
use prefork_tests::{proc, signal::send, wait};

const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

// Windows adds threads of its own.
#[cfg(unix)]
#[test]
fn by_default_a_child_serves_on_one_thread() {
    let fleet = Server::new(TOKIO_SERVER).start();
    for _ in 0..20 {
        client::serving_pid(fleet.addr());
    }
    for child in fleet.first_children() {
        assert_eq!(proc::threads(child).len(), 2, "the one that serves and the one that watches");
    }
    assert_eq!(proc::threads(fleet.master()).len(), 1, "no runtime in the master");
    fleet.stop();
}

// Windows adds threads of its own.
#[cfg(unix)]
#[test]
fn a_multi_thread_runtime_has_a_thread_for_each_core() {
    let fleet = Server::new(TOKIO_SERVER).set("runtime", "multi_thread").start();
    client::serving_pid(fleet.addr());
    let cores = std::thread::available_parallelism().unwrap().get();
    for child in fleet.first_children() {
        wait::until("a thread for each core", || proc::threads(child).len() == 2 + cores);
    }
    assert_eq!(proc::threads(fleet.master()).len(), 1, "no runtime in the master");
    fleet.stop();
}

#[test]
fn an_unknown_runtime_is_refused() {
    let outcome = Server::new(TOKIO_SERVER).set("runtime", "green").run();
    outcome.assert_refused("runtime cannot be `green`: expected `current_thread`");
}

#[test]
fn children_that_are_killed_are_replaced_and_the_socket_keeps_its_mode() {
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
fn the_stop_signal_is_a_future() {
    let fleet = Server::new(TOKIO_SERVER).set("stop", "select").start();
    client::serving_pid(fleet.addr());
    let lines = fleet.stop();
    let told = lines.iter().filter(|line| *line == "serve: stop requested, accepting: true").count();
    assert_eq!(told, 2, "{lines:#?}");
}

#[test]
fn tasks_that_outlive_the_serve_function_are_driven_to_the_end_of_the_drain() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let server = Server::new(TOKIO_SERVER).set("stop", "select").set("gate", open.display());
    let fleet = server.set("shutdown_grace", "1m").start();
    let in_flight: Vec<_> = (0..6).map(|_| client::begin(fleet.addr(), "/gate")).collect();
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for_nth(2, "serve: stop requested");
    std::fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    fleet.expect_stopped();
}

// Elsewhere nobody but the master can ask a child to stop.
#[cfg(unix)]
#[test]
fn a_child_that_is_idle_in_its_runtime_can_be_replaced_by_a_term() {
    let fleet = Server::new(TOKIO_SERVER).set("recover", 0).start();
    fleet.wait_until_ready_for_a_second();
    let child = fleet.first_children()[0];
    send(child, Signal::SIGTERM);
    fleet.wait_for_children(2, &[child]);
    fleet.stop();
}
