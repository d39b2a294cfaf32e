//! Async serve functions: each child starts its own runtime.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use prefork_tests::client;
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

#[cfg(unix)]
#[test]
fn child_with_more_than_its_share_knows_it_and_serves_while_the_other_is_stopped() {
    for heavy in 0..2 {
        let fleet = Server::new(TOKIO_SERVER).set("heavy", heavy).start();
        let children = fleet.first_children();
        // The heavy one first: it has counted then.
        for (child, stopped) in [(heavy, 1 - heavy), (1 - heavy, heavy)] {
            send(children[stopped], Signal::SIGSTOP);
            wait::until("the child is stopped", || proc::is_stopped(children[stopped]));
            for _ in 0..20 {
                let is_exceeded = child == heavy;
                assert_eq!(client::get(fleet.addr(), "/share"), format!("{} {is_exceeded}", children[child]));
            }
            send(children[stopped], Signal::SIGCONT);
        }
        fleet.stop();
    }
}
