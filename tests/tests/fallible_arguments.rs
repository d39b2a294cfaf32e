//! Arguments of serve functions that can fail, or that are awaited.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use prefork_tests::client;
use prefork_tests::fleet::{Outcome, Server};
use prefork_tests::signal::Signal;

const FALLIBLE_ARGUMENTS_SERVER: &str = env!("CARGO_BIN_EXE_fallible_arguments_server");
const ASYNC_FORMS: [&str; 2] = ["async", "async_attribute"];

fn server(form: &str) -> Server {
    // The attribute's forms leave no trace of a child in `started`.
    Server::new(FALLIBLE_ARGUMENTS_SERVER).set("form", form).set("recover", 0)
}

/// A server for pools: it greets each client with a byte.
fn database() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"\x07");
        }
    });
    addr
}

/// The line by which a child of `outcome` said why it cannot start.
fn reason(outcome: &Outcome) -> &str {
    let is_reason = |line: &&String| line.contains("cannot start: ");
    let line = outcome.stderr.iter().find(is_reason).map_or("", String::as_str);
    let (child, reason) = line.split_once(" cannot start: ").unwrap_or(("", ""));
    assert!(child.starts_with("prefork: child ") && child.contains(" (pid "), "{outcome:#?}");
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    let end = outcome.stderr.last().map_or("", String::as_str);
    assert!(end.contains("error: too many children failed: 1 failure, 0 allowed: child "), "{outcome:#?}");
    assert!(end.contains("exited before it was ready: "), "{outcome:#?}");
    reason
}

#[test]
fn failing_argument_ends_child_before_ready_and_fleet_with_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for form in ["blocking", "attribute", "async", "async_attribute"] {
        let outcome = server(form).set("shard", missing.display()).run();
        let cause =
            reason(&outcome).strip_prefix("cannot make the argument `fallible_arguments_server::Shard`: ");
        let cause = cause.unwrap_or_default();
        assert!(cfg!(windows) || cause == "no such file or directory", "{outcome:#?}");
        assert!(!cause.is_empty() && !outcome.stderr.iter().any(|line| line.contains("ready (pids")));
    }
}

#[test]
fn failing_awaited_argument_reports_its_causes_once() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for form in ASYNC_FORMS {
        let outcome = server(form).set("pool", unused).run();
        let reason = reason(&outcome);
        let cause =
            reason.strip_prefix("cannot make the argument `fallible_arguments_server::Pool`: no pool: ");
        let cause = cause.unwrap_or_default();
        assert!(cfg!(windows) || cause == "connection refused", "{outcome:#?}");
        assert!(!cause.is_empty(), "{outcome:#?}");
    }
}

#[test]
fn awaited_argument_is_made_before_ready_and_passed() {
    for form in ASYNC_FORMS {
        let fleet = server(form).set("pool", database()).launch();
        fleet.console.wait_for("ready (pids");
        assert_eq!(fleet.console.lines_with(" connects").len(), 2, "one pool for each child");
        let answer = client::get(fleet.addr(), "/");
        assert!(answer.ends_with("greeted with 7"), "{answer}");
        fleet.stop();
    }
}

#[test]
fn reload_with_failing_argument_keeps_old_children() {
    let directory = tempfile::tempdir().unwrap();
    let shard = directory.path().join("shard");
    std::fs::write(&shard, "").unwrap();
    let fleet = server("async").set("shard", shard.display()).start();
    let children = fleet.first_children();
    std::fs::remove_file(&shard).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reload aborted");
    assert_eq!(fleet.console.lines_with("cannot start: cannot make the argument").len(), 1);
    fleet.wait_for_children(2, &[]);
    assert!(children.iter().all(|child| fleet.children().contains(child)));
    fleet.stop();
}

#[test]
fn stop_does_not_wait_for_an_argument_that_is_being_made() {
    // Connections queue, and get no greeting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = server("async").set("pool", silent.local_addr().unwrap());
    let mut fleet = server.set("shutdown_grace", "1h").launch();
    fleet.console.wait_for_nth(2, " connects");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
}
