//! What a serve function may ask for: the stop signal, its place in the fleet, a type of its own.
#![cfg(any(target_os = "linux", windows))]

use std::collections::BTreeSet;

use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

const ARGUMENTS_SERVER: &str = env!("CARGO_BIN_EXE_arguments_server");

#[test]
fn a_loop_that_asks_between_connections_gets_to_ask() {
    for reuseport in [false, true] {
        let server = Server::new(ARGUMENTS_SERVER).set("shutdown_grace", "1m");
        let server = if reuseport { server.set("reuseport", 1) } else { server };
        let lines = server.start().stop();
        let told = lines.iter().filter(|line| *line == "serve: left the loop").count();
        assert_eq!(told, 2, "{lines:#?}");
    }
}

#[test]
fn a_thread_that_waits_for_a_stop_is_woken() {
    let lines = Server::new(ARGUMENTS_SERVER).set("stop", "wait").start().stop();
    let told = lines.iter().filter(|line| *line == "serve: waited for the stop; accepting: true").count();
    assert_eq!(told, 2, "{lines:#?}");
}

#[test]
fn what_is_in_flight_outlives_the_serve_function() {
    for stop in ["poll", "wait"] {
        let gate = tempfile::tempdir().unwrap();
        let open = gate.path().join("open");
        let server = Server::new(ARGUMENTS_SERVER).set("stop", stop).set("gate", open.display());
        let fleet = server.set("shutdown_grace", "1m").start();
        let in_flight: Vec<_> = (0..6).map(|_| client::begin(fleet.addr(), "/gate")).collect();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for_nth(2, "serve: ");
        std::fs::write(&open, "").unwrap();
        for request in in_flight {
            request.finish().unwrap();
        }
        fleet.expect_stopped();
    }
}

#[test]
fn a_child_knows_its_place_and_its_successor_has_the_same() {
    let fleet = Server::new(ARGUMENTS_SERVER).set("workers", 3).start();
    let master = fleet.master();
    let about = |slot| format!("slot {slot} of 3, generation 0, master {master}, shard {slot} of 3");
    let expected: BTreeSet<String> = (0..3).map(about).collect();
    let every_slot_tells = || {
        let mut told = BTreeSet::new();
        wait::until("an answer from every slot", || {
            told.insert(client::get(fleet.addr(), "/about"));
            told.is_superset(&expected)
        });
        assert_eq!(told, expected);
    };
    every_slot_tells();
    fleet.replace(&fleet.first_children()[1..]);
    every_slot_tells();
    fleet.stop();
}
