//! Failing children: successors, the count of failures, and the end of the fleet.
#![cfg(any(target_os = "linux", windows))]

use prefork_tests::fleet::{RunningFleet, Server, exited, killed};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Sends a request that ends the child without an answer; returns its pid.
fn end_by_request(fleet: &RunningFleet, path: &str) -> u32 {
    let before = fleet.children();
    let answer = client::try_get(fleet.addr(), path);
    assert!(answer.is_err(), "{answer:?}");
    wait::for_value("end of a child", || {
        let now = fleet.children();
        before.iter().copied().find(|child| !now.contains(child))
    })
}

/// Waits for the end of a fleet after too many failures; returns its error.
fn expect_over_recovery(mut fleet: RunningFleet) -> String {
    let status = fleet.wait();
    assert_eq!(status.code(), Some(1), "{status}");
    fleet.assert_nothing_left();
    let lines = fleet.console.wait_for_end();
    let errors: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "{lines:#?}");
    errors[0].to_owned()
}

#[test]
fn recover_2_survives_two_failures_and_ends_at_third() {
    let fleet = Server::new(SERVER).set("recover", 2).start();
    for _ in 0..2 {
        let victim = fleet.children()[0];
        fleet.replace(&[victim]);
        client::serving_pid(fleet.addr());
    }
    let last = fleet.children()[1];
    send(last, Signal::SIGKILL);
    let error = expect_over_recovery(fleet);
    assert!(error.contains("too many children failed: 3 failures, 2 allowed"), "{error}");
    assert!(error.contains(&format!("(pid {last})")), "the error names the last child: {error}");
    assert!(error.contains(&killed()), "the error has the exit status: {error}");
}

#[test]
fn recover_0_ends_at_first_failure() {
    let fleet = Server::new(SERVER).set("recover", 0).start();
    assert!(client::try_get(fleet.addr(), "/abort").is_err());
    let error = expect_over_recovery(fleet);
    assert!(error.contains("0 allowed"), "{error}");
    // Windows and wine report different numbers.
    assert!(cfg!(windows) || error.contains("SIGABRT"), "{error}");
}

#[test]
fn without_recover_crashes_of_ready_children_never_end_the_fleet() {
    let fleet = Server::new(SERVER).set("workers", 5).start();
    let second = fleet.replace(&fleet.first_children());
    let third = fleet.replace(&second[..3]);
    client::serving_pid(fleet.addr());
    fleet.replace(&third[..1]);
    fleet.stop();
}

#[test]
fn failures_older_than_recover_window_do_not_count() {
    let fleet = Server::new(SERVER).set("recover", 1).set("recover_window", "2s").start();
    let victim = fleet.first_children()[0];
    fleet.replace(&[victim]);
    // The age of the failure is the condition.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let children = fleet.replace(&[fleet.first_children()[1]]);
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    let error = expect_over_recovery(fleet);
    assert!(error.contains("allowed"), "{error}");
}

#[test]
fn clean_exit_after_a_second_of_service_is_no_failure() {
    let fleet = Server::new(SERVER).set("workers", 1).set("recover", 0).start();
    for _ in 0..2 {
        // The readiness message names the first child only, so a request shows that a successor serves.
        client::serving_pid(fleet.addr());
        fleet.wait_until_ready_for_a_second();
        end_by_request(&fleet, "/exit/0");
    }
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn nonzero_exit_after_a_second_of_service_is_a_failure() {
    let fleet = Server::new(SERVER).set("recover", 0).start();
    fleet.wait_until_ready_for_a_second();
    let gone = end_by_request(&fleet, "/exit/3");
    let error = expect_over_recovery(fleet);
    assert!(error.contains(&format!("(pid {gone}) exited: {}", exited(3))), "{error}");
}

#[test]
fn panic_in_connection_thread_keeps_child() {
    let fleet = Server::new(SERVER).set("workers", 1).set("recover", 0).start();
    let child = client::serving_pid(fleet.addr());
    assert!(client::try_get(fleet.addr(), "/panic").is_err());
    assert_eq!(client::serving_pid(fleet.addr()), child);
    fleet.stop();
}

#[test]
fn exit_abort_stack_overflow_and_signals_are_recovered() {
    let fleet = Server::new(SERVER).set("recover", 100).start();
    for path in ["/exit/0", "/exit/1", "/abort", "/overflow"] {
        let gone = end_by_request(&fleet, path);
        fleet.wait_for_children(2, &[gone]);
        fleet.console.wait_for(&format!("in place of pid {gone}"));
    }
    let signals = [
        Signal::SIGKILL,
        #[cfg(unix)]
        Signal::SIGILL,
        #[cfg(unix)]
        Signal::SIGSYS,
        #[cfg(unix)]
        Signal::SIGALRM,
    ];
    for signal in signals {
        let victim = fleet.children()[0];
        send(victim, signal);
        fleet.wait_for_children(2, &[victim]);
        fleet.console.wait_for(&format!("in place of pid {victim}"));
    }
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn fifty_children_killed_at_once_are_all_replaced() {
    let fleet = Server::new(SERVER).set("workers", 50).set("recover", 100).start();
    let children = fleet.first_children();
    assert_eq!(children.len(), 50);
    fleet.replace(&children);
    assert_eq!(proc::zombies(fleet.master()), Vec::<u32>::new());
    fleet.stop();
}

#[test]
fn exit_before_ready_is_a_failure_with_any_status() {
    for (boot, how) in [("exit0", exited(0)), ("exit1", exited(1)), ("panic", exited(101))] {
        let outcome = Server::new(SERVER).set("boot", boot).set("recover", 1).run();
        let error = outcome.error();
        assert!(error.contains("2 failures, 1 allowed"), "{boot}: {error}");
        assert!(error.contains(&format!("before it was ready: {how}")), "{boot}: {error}");
        assert!(outcome.children <= 4, "{boot}: {} children were started", outcome.children);
    }
}

#[test]
fn children_that_never_boot_end_the_fleet() {
    let outcome = Server::new(SERVER).set("boot", "exit1").run();
    assert!(outcome.error().contains("5 failures, 4 allowed"), "{outcome:#?}");
    assert!(outcome.children <= 8, "{} children were started", outcome.children);
}

#[test]
fn child_hanging_at_boot_is_killed_and_counts_as_failure() {
    let server = Server::new(SERVER).set("boot", "hang").set("start_timeout", "200ms");
    let outcome = server.set("recover", 1).run();
    let error = outcome.error();
    assert!(error.contains("was not ready within 200ms"), "{error}");
    assert!(error.contains("2 failures, 1 allowed"), "{error}");
}

#[test]
fn recover_interval_delays_successor_and_siblings_serve() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    let [victim, sibling] = fleet.first_children()[..] else { panic!("two children") };
    send(victim, Signal::SIGKILL);
    let line = fleet.console.wait_for("restarts in");
    assert!(line.contains("1h"), "{line}");
    wait::until("one remaining child", || fleet.children() == [sibling]);
    assert_eq!(client::serving_pid(fleet.addr()), sibling);
    fleet.stop();
}

#[test]
fn recover_interval_over_starts_successor() {
    let fleet = Server::new(SERVER).set("recover_interval", "200ms").start();
    let victim = fleet.first_children()[0];
    fleet.replace(&[victim]);
    assert!(fleet.console.says("restarts in 200ms"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn stop_during_recover_interval_ends_at_once() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGKILL));
    fleet.console.wait_for_nth(2, "restarts in");
    fleet.stop();
}

#[test]
fn children_hanging_at_boot_are_not_reported_ready() {
    let fleet = Server::new(SERVER).set("boot", "hang").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    assert!(!fleet.console.says("ready (pids"));
}
