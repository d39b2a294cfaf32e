//! Arguments of a serve function: `Shutdown`, `ChildContext`, and a type of the program.
#![cfg(any(target_os = "linux", windows))]

use std::collections::BTreeSet;

use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

const ARGUMENTS_SERVER: &str = env!("CARGO_BIN_EXE_arguments_server");

#[test]
fn accept_loop_that_polls_shutdown_returns_at_stop() {
    for reuseport in [false, true] {
        let server = Server::new(ARGUMENTS_SERVER).set("shutdown_grace", "1m").reuseport(reuseport);
        let lines = server.start().stop();
        let exits = lines.iter().filter(|line| *line == "serve: left the loop").count();
        assert_eq!(exits, 2, "{lines:#?}");
    }
}

#[test]
fn blocking_shutdown_wait_returns_at_stop() {
    let lines = Server::new(ARGUMENTS_SERVER).set("stop", "wait").start().stop();
    let waits = lines.iter().filter(|line| *line == "serve: waited for the stop; accepting: true").count();
    assert_eq!(waits, 2, "{lines:#?}");
}

#[test]
fn requests_in_flight_are_answered_after_serve_returns() {
    for stop in ["poll", "wait"] {
        let gate = ResponseGate::new();
        let fleet = Server::new(ARGUMENTS_SERVER).set("stop", stop).gate(&gate).start();
        let in_flight = client::begin_many(fleet.addr(), "/gate", 6);
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for_nth(2, "serve: ");
        gate.open();
        client::finish_all(in_flight);
        fleet.expect_stopped();
    }
}

#[test]
fn context_and_custom_argument_name_slot_and_successor_keeps_it() {
    let fleet = Server::new(ARGUMENTS_SERVER).set("workers", 3).start();
    let master = fleet.master();
    let about = |slot| format!("slot {slot} of 3, generation 0, master {master}, shard {slot} of 3");
    let expected: BTreeSet<String> = (0..3).map(about).collect();
    let check_every_slot = || {
        let mut answers = BTreeSet::new();
        wait::until("answer from every slot", || {
            answers.insert(client::get(fleet.addr(), "/about"));
            answers.is_superset(&expected)
        });
        assert_eq!(answers, expected);
    };
    check_every_slot();
    fleet.replace(&fleet.first_children()[1..]);
    check_every_slot();
    fleet.stop();
}
