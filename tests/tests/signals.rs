//! Signals to the master and to its children.
#![cfg(any(target_os = "linux", windows))]

use std::net::TcpStream;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::terminal::Terminal;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A fleet with one request in flight that never ends, and all the time in the world to drain.
fn busy_for_ever() -> (RunningFleet, client::PendingRequest) {
    let fleet = Server::new(SERVER).set("shutdown_grace", "1h").start();
    let request = client::begin(fleet.addr(), "/hold");
    (fleet, request)
}

/// The status of a fleet whose stop was not graceful; checks that nothing is left of it.
fn status_of_hurried_stop(mut fleet: RunningFleet) -> Option<i32> {
    let status = fleet.wait();
    fleet.assert_nothing_left();
    status.code()
}

#[test]
fn term_and_int_stop_a_fleet_in_good_order() {
    let signals = [
        Signal::SIGTERM,
        #[cfg(unix)]
        Signal::SIGINT,
    ];
    for signal in signals {
        let fleet = Server::new(SERVER).start();
        client::serving_pid(fleet.addr());
        fleet.signal(signal);
        let lines = fleet.expect_stopped();
        assert!(lines.last().unwrap().ends_with("stopped"), "{signal}: {lines:#?}");
    }
}

#[test]
fn a_second_term_kills_at_once() {
    let seconds = [
        Signal::SIGTERM,
        #[cfg(unix)]
        Signal::SIGINT,
        Signal::SIGQUIT,
    ];
    for second in seconds {
        let (fleet, request) = busy_for_ever();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping");
        fleet.signal(second);
        fleet.console.wait_for("stopping at once");
        assert_eq!(status_of_hurried_stop(fleet), Some(0), "{second}");
        assert!(request.finish().is_err(), "the request was answered by nobody");
    }
}

#[test]
fn quit_stops_at_once() {
    let (fleet, request) = busy_for_ever();
    fleet.signal(Signal::SIGQUIT);
    fleet.console.wait_for("stopping at once");
    assert_eq!(status_of_hurried_stop(fleet), Some(0));
    assert!(request.finish().is_err());
}

#[test]
fn a_child_that_does_not_stop_is_killed_after_its_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let request = client::begin(fleet.addr(), "/hold");
    fleet.signal(Signal::SIGTERM);
    let line = fleet.console.wait_for("killing");
    assert!(line.contains("did not stop within 300ms"), "{line}");
    // On Windows an idle child waits for the connections of the others as well.
    assert!(cfg!(windows) || fleet.console.lines_with("killing").len() == 1, "only the busy one");
    assert_eq!(status_of_hurried_stop(fleet), Some(0));
    assert!(request.finish().is_err());
}

#[test]
fn an_idle_connection_that_says_nothing_does_not_outlive_the_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let threads = || fleet.children().into_iter().map(proc::thread_count).sum::<usize>();
    let before = threads();
    let silent = TcpStream::connect(fleet.addr()).unwrap();
    wait::until("a child that reads from it", || threads() > before);
    fleet.signal(Signal::SIGTERM);
    assert_eq!(status_of_hurried_stop(fleet), Some(0));
    drop(silent);
}

#[test]
fn a_child_that_is_stopped_is_killed_after_its_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let victim = fleet.first_children()[0];
    send(victim, Signal::SIGSTOP);
    wait::until("a stopped child", || proc::is_stopped(victim));
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("did not stop within 300ms");
    assert_eq!(status_of_hurried_stop(fleet), Some(0));
}

#[test]
fn a_stopped_child_is_killed_at_once_by_a_quit() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "1h").start();
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGSTOP));
    fleet.signal(Signal::SIGQUIT);
    assert_eq!(status_of_hurried_stop(fleet), Some(0));
}

#[test]
fn a_stop_while_children_boot_ends_in_good_order() {
    let mut fleet = Server::new(SERVER).set("boot", "hang").set("shutdown_grace", "1h").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
    fleet.assert_nothing_left();
}

// Signals that mean nothing to a fleet, where there are such.
#[cfg(unix)]
#[test]
fn a_storm_of_signals_is_one_stop() {
    let fleet = Server::new(SERVER).start();
    for signal in [Signal::SIGCHLD, Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCONT] {
        (0..50).for_each(|_| fleet.signal(signal));
    }
    assert_eq!(fleet.children(), fleet.wait_for_children(2, &[]));
    client::serving_pid(fleet.addr());
    fleet.stop();
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn children_lead_process_groups_of_their_own() {
    let fleet = Server::new(SERVER).start();
    for child in fleet.first_children() {
        assert_eq!(proc::group(child), Some(child));
    }
    fleet.stop();
}

#[test]
fn ctrl_c_reaches_the_master_alone_and_requests_in_flight_are_answered() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let set = |server: Server| server.set("gate", open.display()).set("shutdown_grace", "1m");
    let terminal = Terminal::start(SERVER.as_ref(), set);
    let addr = terminal.fleet.addr();
    let in_flight: Vec<_> = (0..4).map(|_| client::begin(addr, "/gate")).collect();
    terminal.press_ctrl_c();
    terminal.fleet.wait_until_it_refuses();
    std::fs::write(&open, "").unwrap();
    for request in in_flight {
        request.finish().unwrap();
    }
    terminal.fleet.expect_stopped();
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let terminal = Terminal::start(SERVER.as_ref(), |server| server.set("shutdown_grace", "1h"));
    let request = client::begin(terminal.fleet.addr(), "/hold");
    terminal.press_ctrl_c();
    terminal.fleet.console.wait_for("ask again to stop at once");
    terminal.press_ctrl_c();
    terminal.fleet.console.wait_for("stopping at once");
    assert_eq!(status_of_hurried_stop(terminal.fleet), Some(0));
    assert!(request.finish().is_err());
}
