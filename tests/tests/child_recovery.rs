//! Children that fail: replaced, counted, and at some point given up.
#![cfg(any(target_os = "linux", windows))]

use prefork_tests::fleet::{RunningFleet, Server, exited, killed};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Makes a child end itself by a request, which it does not answer; returns its pid.
fn end_by_request(fleet: &RunningFleet, path: &str) -> u32 {
    let before = fleet.children();
    let cut_short = client::try_get(fleet.addr(), path);
    assert!(cut_short.is_err(), "{cut_short:?}");
    wait::for_value("a child that is gone", || {
        let now = fleet.children();
        before.iter().copied().find(|child| !now.contains(child))
    })
}

/// Waits for the end of a fleet that gives up; returns its one error.
fn expect_given_up(mut fleet: RunningFleet) -> String {
    let status = fleet.wait();
    assert_eq!(status.code(), Some(1), "{status}");
    fleet.assert_nothing_left();
    let lines = fleet.console.wait_for_end();
    let errors: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "{lines:#?}");
    errors[0].to_owned()
}

#[test]
fn a_threshold_of_two_survives_two_failures_and_not_three() {
    let fleet = Server::new(SERVER).set("recover", 2).start();
    for _ in 0..2 {
        let victim = fleet.children()[0];
        fleet.replace(&[victim]);
        client::serving_pid(fleet.addr());
    }
    let last = fleet.children()[1];
    send(last, Signal::SIGKILL);
    let error = expect_given_up(fleet);
    assert!(error.contains("too many children failed: 3 failures, 2 allowed"), "{error}");
    assert!(error.contains(&format!("(pid {last})")), "it names the last one: {error}");
    assert!(error.contains(&killed()), "it says how that ended: {error}");
}

#[test]
fn a_threshold_of_none_survives_no_failure() {
    let fleet = Server::new(SERVER).set("recover", 0).start();
    assert!(client::try_get(fleet.addr(), "/abort").is_err());
    let error = expect_given_up(fleet);
    assert!(error.contains("0 allowed"), "{error}");
    // Windows has a number for it, and wine another.
    assert!(cfg!(windows) || error.contains("SIGABRT"), "{error}");
}

#[test]
fn by_default_five_failures_within_a_minute_are_survived_and_not_six() {
    let fleet = Server::new(SERVER).set("workers", 5).start();
    let successors = fleet.replace(&fleet.first_children());
    send(successors[0], Signal::SIGKILL);
    let error = expect_given_up(fleet);
    assert!(error.contains("6 failures, 5 allowed"), "{error}");
}

#[test]
fn failures_that_are_older_than_the_window_do_not_count() {
    let fleet = Server::new(SERVER).set("recover", 1).set("recover_window", "2s").start();
    let victim = fleet.first_children()[0];
    fleet.replace(&[victim]);
    // Not in place of a condition: the age is the condition.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let children = fleet.replace(&[fleet.first_children()[1]]);
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    let error = expect_given_up(fleet);
    assert!(error.contains("allowed"), "{error}");
}

#[test]
fn a_clean_exit_of_a_child_that_served_for_a_second_is_no_failure() {
    let fleet = Server::new(SERVER).set("workers", 1).set("recover", 0).start();
    for _ in 0..2 {
        // The announcement is of the first child only; that a successor serves is seen by asking it.
        client::serving_pid(fleet.addr());
        fleet.wait_until_ready_for_a_second();
        end_by_request(&fleet, "/exit/0");
    }
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn an_exit_with_another_status_is_a_failure_however_long_the_child_served() {
    let fleet = Server::new(SERVER).set("recover", 0).start();
    fleet.wait_until_ready_for_a_second();
    let gone = end_by_request(&fleet, "/exit/3");
    let error = expect_given_up(fleet);
    assert!(error.contains(&format!("(pid {gone}) exited: {}", exited(3))), "{error}");
}

#[test]
fn a_panic_in_a_thread_of_a_childs_own_is_its_own_business() {
    let fleet = Server::new(SERVER).set("workers", 1).set("recover", 0).start();
    let child = client::serving_pid(fleet.addr());
    assert!(client::try_get(fleet.addr(), "/panic").is_err());
    assert_eq!(client::serving_pid(fleet.addr()), child);
    fleet.stop();
}

#[test]
fn every_way_to_die_is_recovered_from() {
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
        Signal::SIGINT,
        #[cfg(unix)]
        Signal::SIGUSR1,
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
fn fifty_children_that_die_at_once_are_all_replaced() {
    let fleet = Server::new(SERVER).set("workers", 50).set("recover", 100).start();
    let children = fleet.first_children();
    assert_eq!(children.len(), 50);
    fleet.replace(&children);
    assert_eq!(proc::zombies(fleet.master()), Vec::<u32>::new());
    fleet.stop();
}

#[test]
fn an_exit_at_boot_is_a_failure_also_with_status_0() {
    for (boot, how) in [("exit0", exited(0)), ("exit1", exited(1)), ("panic", exited(101))] {
        let outcome = Server::new(SERVER).set("boot", boot).set("recover", 1).run();
        let error = outcome.error();
        assert!(error.contains("2 failures, 1 allowed"), "{boot}: {error}");
        assert!(error.contains(&format!("before it was ready: {how}")), "{boot}: {error}");
        assert!(outcome.children <= 4, "{boot}: {} children were started", outcome.children);
    }
}

#[test]
fn a_fleet_that_cannot_boot_is_given_up_and_does_not_try_for_ever() {
    let outcome = Server::new(SERVER).set("boot", "exit1").run();
    assert!(outcome.error().contains("6 failures, 5 allowed"), "{outcome:#?}");
    assert!(outcome.children <= 8, "{} children were started", outcome.children);
}

#[test]
fn a_child_that_hangs_at_boot_is_killed_and_has_failed() {
    let server = Server::new(SERVER).set("boot", "hang").set("start_timeout", "200ms");
    let outcome = server.set("recover", 1).run();
    let error = outcome.error();
    assert!(error.contains("was not ready within 200ms"), "{error}");
    assert!(error.contains("2 failures, 1 allowed"), "{error}");
}

#[test]
fn an_interval_delays_the_successor_and_not_the_siblings() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    let [victim, sibling] = fleet.first_children()[..] else { panic!("two children") };
    send(victim, Signal::SIGKILL);
    let line = fleet.console.wait_for("restarts in");
    assert!(line.contains("1h"), "{line}");
    wait::until("a lonely child", || fleet.children() == [sibling]);
    assert_eq!(client::serving_pid(fleet.addr()), sibling);
    fleet.stop();
}

#[test]
fn an_interval_passes() {
    let fleet = Server::new(SERVER).set("recover_interval", "200ms").start();
    let victim = fleet.first_children()[0];
    fleet.replace(&[victim]);
    assert!(fleet.console.says("restarts in 200ms"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn an_interval_never_delays_a_stop() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGKILL));
    fleet.console.wait_for_nth(2, "restarts in");
    fleet.stop();
}

#[test]
fn a_child_that_is_not_ready_serves_nobody_and_the_fleet_is_not_announced() {
    let fleet = Server::new(SERVER).set("boot", "hang").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    assert!(!fleet.console.says("ready (pids"));
}
