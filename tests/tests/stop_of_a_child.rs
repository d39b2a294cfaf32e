//! What the stop of a child promises to any kind of server: signals are requests to the master, a child that
//! drains gets no connection and burns no core, and no accepted connection is lost.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, WITHOUT_EFFECT_IN_CHILD, send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, load, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");
const EPOLL_SERVER: &str = env!("CARGO_BIN_EXE_epoll_server");
const IO_URING_SERVER: &str = env!("CARGO_BIN_EXE_io_uring_server");

/// As systemd stops a service, and `pkill` a program.
#[test]
fn term_to_every_process_answers_queued_connections() {
    for order in [[true, false], [false, true]] {
        let gate = ResponseGate::new();
        let server = Server::new(SERVER).gate(&gate).set("workers", 2).set("one_by_one", "yes");
        let fleet = server.start();
        let busy = client::begin_many(fleet.addr(), "/gate", 2);
        let queued: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        for master_is_next in order {
            match master_is_next {
                true => fleet.signal(Signal::SIGTERM),
                false => fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGTERM)),
            }
        }
        fleet.console.wait_for("stopping:");
        gate.open();
        client::finish_all(queued);
        client::finish_all(busy);
        fleet.expect_stopped();
    }
}

#[test]
fn requests_to_the_master_do_nothing_in_a_child() {
    for server in [SERVER, TOKIO_SERVER] {
        let gate = ResponseGate::new();
        let fleet = Server::new(server).gate(&gate).set("workers", 1).set("recover", 0).start();
        let request = client::begin(fleet.addr(), "/gate");
        let child = request.pid();
        WITHOUT_EFFECT_IN_CHILD.into_iter().for_each(|signal| send(child, signal));
        assert_eq!(client::serving_pid(fleet.addr()), child);
        gate.open();
        request.finish().unwrap();
        assert_eq!(fleet.children(), [child]);
        fleet.stop();
    }
}

/// A child that receives SIGTERM while its master is stopped, and then the master's death.
#[test]
fn term_to_child_of_stopped_master_waits_for_the_masters_answer() {
    let fleet = Server::new(SERVER).set("workers", 1).start();
    let child = fleet.first_children()[0];
    send(fleet.master(), Signal::SIGSTOP);
    wait::until("stopped master", || proc::is_stopped(fleet.master()));
    send(child, Signal::SIGTERM);
    assert_eq!(client::serving_pid(fleet.addr()), child);
    send(fleet.master(), Signal::SIGCONT);
    let after = fleet.wait_for_children(1, &[child]);
    assert_eq!(client::serving_pid(fleet.addr()), after[0]);
    fleet.stop();
}

#[test]
fn term_to_child_whose_replacement_fails_leaves_it_serving() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken");
    let server = Server::new(KEEP_ALIVE_SERVER).set("workers", 1).reuseport(true);
    let fleet = server.set("broken", broken.display()).start();
    let child = fleet.first_children()[0];
    std::fs::write(&broken, "").unwrap();
    send(child, Signal::SIGTERM);
    fleet.console.wait_for("is not replaced yet");
    // Longer than the child waits for a master that does not answer; the absence of a stop is the condition.
    std::thread::sleep(Duration::from_secs(6));
    let mut connection = load::Connection::to(fleet.addr());
    assert_eq!(connection.get("/").unwrap(), child.to_string());
    assert_eq!(connection.get("/stopping").unwrap(), "false");
    fleet.stop();
}

#[test]
fn draining_epoll_child_gets_no_connection_and_burns_no_core() {
    for events in ["level", "edge", "exclusive"] {
        let gate = ResponseGate::new();
        let server = Server::new(EPOLL_SERVER).gate(&gate).set("events", events);
        let fleet = server.set("workers", 1).start();
        let request = client::begin(fleet.addr(), "/gate");
        let old = request.pid();
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        // The old child is told to stop when its successor is ready.
        wait::until("closed gate", || (0..20).all(|_| client::serving_pid(fleet.addr()) != old));
        let new = client::serving_pid(fleet.addr());
        let (idle_before, busy_before) = (proc::cpu_ticks(old), proc::cpu_ticks(new));
        // Half a second of work for the new child: a loop that spins would have its share of that time.
        wait::until("work of the new child", || {
            (0..20).for_each(|_| assert_ne!(client::serving_pid(fleet.addr()), old, "{events}"));
            proc::cpu_ticks(new) - busy_before >= 50
        });
        let spent = proc::cpu_ticks(old) - idle_before;
        assert!(spent <= 10, "{events}: the child that drains spent {spent} ticks");
        gate.open();
        request.finish().unwrap();
        fleet.stop();
    }
}

/// A connection wakes one of the processes that watch exclusively. If that one's gate closes before it has
/// accepted the connection, another one has to be woken.
#[test]
fn connection_that_woke_a_child_at_its_stop_is_accepted_by_the_next() {
    let server = Server::new(EPOLL_SERVER).set("events", "exclusive").set("pause", 5);
    let fleet = server.set("workers", 1).start();
    let answered = Arc::new(AtomicUsize::new(0));
    let count_answer = {
        let (addr, answered) = (fleet.addr(), Arc::clone(&answered));
        move || {
            let answer = client::try_get(addr, "/");
            answered.fetch_add(1, Ordering::SeqCst);
            answer
        }
    };
    let tally = load::run(vec![Box::new(count_answer)], || {
        let mut child = fleet.first_children()[0];
        for time in 1..=10 {
            fleet.operate(Signal::SIGHUP, time, "reloaded:");
            child = fleet.wait_for_children(1, &[child])[0];
            let before = answered.load(Ordering::SeqCst);
            wait::until("answers of the new child", || answered.load(Ordering::SeqCst) > before + 1);
        }
    });
    tally.assert_all_answered();
    fleet.stop();
}

#[test]
fn io_uring_server_loses_no_request() {
    for reuseport in [false, true] {
        let fleet = Server::new(IO_URING_SERVER).reuseport(reuseport).launch();
        if !wait::for_value("readiness or failure", || is_ready(&fleet)) {
            return skipped("io-uring");
        }
        assert!(fleet.console.wait_for("uses io_uring").contains("child "));
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            for time in 1..=5 {
                fleet.operate(Signal::SIGHUP, time, "reloaded:");
            }
            wait::until("end of the old children", || fleet.children().len() == 2);
        });
        assert!(tally.failures.is_empty(), "{tally:?}");
        fleet.stop();
    }
}

fn is_ready(fleet: &RunningFleet) -> Option<bool> {
    let failed = fleet.console.says("io_uring_setup") || fleet.console.says("exited");
    (fleet.console.says("ready (pids") || failed).then_some(!failed)
}

/// Connections that clients opened and have sent nothing on keep a child as long as others do.
#[test]
fn idle_connections_end_with_their_clients() {
    let fleet = Server::new(SERVER).set("workers", 1).set("shutdown_grace", "1h").start();
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(fleet.addr()).unwrap()).collect();
    client::serving_pid(fleet.addr());
    let old = fleet.first_children()[0];
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    assert!(proc::is_alive(old));
    drop(idle);
    wait::until("end of the old child", || !fleet.children().contains(&old));
    fleet.stop();
}
