//! An upgrade to a program with another health endpoint, pid file or user. Clients send requests all the time, and
//! none is lost.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::preloads;
use prefork_tests::upgradable::{Upgradable, staying};
use prefork_tests::{client, load, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");

fn start(options: &str) -> Upgradable {
    Upgradable::start(SERVER, options)
}

#[test]
fn health_endpoint_and_pid_file_appear_move_and_disappear() {
    let fleet = start("addrs=127.0.0.1:0");
    let addr = fleet.fleet.addr();
    let health = |n: usize| fleet.fleet.nth_health_addr(n);
    let is_live = |addr| client::status(addr, "/livez").unwrap() == 200;
    let pid = |name: &str| fs::read_to_string(fleet.path(name)).ok();
    let own = Some(format!("{}\n", fleet.fleet.master()));
    let tally = load::run(staying(addr).collect(), || {
        fleet.upgrade("addrs=127.0.0.1:0 health=127.0.0.1:0 pidfile=DIR/one");
        let first = health(1);
        assert!(is_live(first) && pid("one") == own);
        // A kept endpoint, and a pid file with another name.
        fleet.upgrade("addrs=127.0.0.1:0 health=127.0.0.1:0 pidfile=DIR/two");
        assert_eq!(health(2), first);
        assert!(is_live(first) && pid("one").is_none() && pid("two") == own);
        // The port stays, and its host changes.
        fleet.upgrade(&format!("addrs=127.0.0.1:0 health=:{} pidfile=DIR/../{}", first.port(), two(&fleet)));
        assert!(is_live(first) && pid("two") == own);
        fleet.upgrade("addrs=127.0.0.1:0");
        assert!(client::is_refused(first) && pid("two").is_none());
    });
    tally.assert_all_answered();
    fleet.stop();
}

/// Another spelling of the path.
fn two(fleet: &Upgradable) -> String {
    format!("{}/two", fleet.directory.path().file_name().unwrap().to_str().unwrap())
}

#[test]
fn new_program_runs_under_its_own_user_from_its_trial_on() {
    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let fleet = start("addrs=127.0.0.1:0");
    let addr = fleet.fleet.addr();
    let users = || {
        let uid = |child: &u32| proc::status_field(*child, "Uid").unwrap_or_default();
        fleet.fleet.children().iter().map(uid).collect::<Vec<_>>()
    };
    let tally = load::run(staying(addr).collect(), || {
        for (user, uid) in [("nobody", "65534"), ("daemon", "1"), ("", "0")] {
            fleet.upgrade(&format!("addrs=127.0.0.1:0 user={user}"));
            let all = || users().iter().all(|found| found.split_whitespace().next() == Some(uid));
            wait::until("the new user", || fleet.fleet.children().len() == 2 && all());
        }
    });
    tally.assert_all_answered();
    let console = &fleet.fleet.console;
    console.wait_for_nth(4, "ready (pids ");
    let trials = console.lines_with(") is ready").into_iter().filter(|line| line.contains("child 0 "));
    let trials = trials.map(|line| pid_in(&line, "(pid "));
    let first = console.lines_with("ready (pids ").into_iter().skip(1).map(|line| pid_in(&line, "(pids "));
    // With templates, a child that one of them forks takes its place.
    assert!(preloads() || trials.eq(first), "the trial child stays: {:#?}", console.lines());
    fleet.stop();
}

/// The first number after `before`.
fn pid_in(line: &str, before: &str) -> String {
    let rest = line.split_once(before).unwrap().1;
    rest.chars().take_while(char::is_ascii_digit).collect()
}
