//! Values that all processes of a fleet share, while its processes are killed, replaced, reloaded and upgraded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::process::Command;

use prefork_tests::client::{self, Tally};
use prefork_tests::fleet::{RunningFleet, Server, preloads};
use prefork_tests::gate::ResponseGate;
#[cfg(target_os = "linux")]
use prefork_tests::metrics::scrape;
#[cfg(target_os = "linux")]
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal, send};
use prefork_tests::{proc, wait};

const SHARED_VALUES_SERVER: &str = env!("CARGO_BIN_EXE_shared_values_server");

/// One of the values in a text that the server printed.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let mut words = text.split(' ').filter_map(|word| word.split_once('='));
    words.find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_else(|| panic!("no {name}: {text}"))
}

/// The value as a child reads it.
fn value_of_child(addr: SocketAddr, name: &str) -> String {
    value(&client::get(addr, "/values"), name).to_owned()
}

/// The values as the master reads them.
fn values_of_master(fleet: &RunningFleet) -> String {
    let before = fleet.console.lines_with("requests=").len();
    fleet.signal(Signal::SIGUSR1);
    fleet.console.wait_for_nth(before + 1, "requests=")
}

/// Asserts that every answered request was counted, and that only requests under way may be counted besides.
fn assert_counted(count: &str, tally: &Tally) {
    let count: usize = count.parse().unwrap();
    let failures: usize = tally.failures.values().sum();
    assert!((tally.answered()..=tally.answered() + failures).contains(&count), "{count} {tally:?}");
}

#[test]
fn count_is_exact_after_twenty_kills() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("recover", 1000).start();
    let tally = client::under_load(fleet.addr(), "/count", 4, || {
        for _ in 0..20 {
            let victim = fleet.children()[0];
            fleet.replace(&[victim]);
        }
    });
    let (of_child, of_master) = (value_of_child(fleet.addr(), "requests"), values_of_master(&fleet));
    assert_eq!(value(&of_master, "requests"), of_child);
    assert_counted(&of_child, &tally);
    // Each process has counted its start before it joined: the master, two children and twenty. What a template counts
    // is nobody's.
    assert_eq!(value(&of_master, "starts"), if preloads() { "1" } else { "23" });
    let lines = fleet.stop();
    let last = lines.iter().find(|line| line.contains("at the end: ")).unwrap();
    assert_eq!(value(last, "requests"), of_child);
}

#[cfg(target_os = "linux")]
#[test]
fn count_of_a_child_that_ends_while_the_master_has_no_memory_is_kept() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("recover", 1000).start();
    (0..10).for_each(|_| drop(client::get(fleet.addr(), "/count")));
    let limit = |bytes: &str| {
        let limit = format!("--as={bytes}:unlimited");
        let status = Command::new("prlimit").args(["--pid", &fleet.master().to_string(), &limit]).status();
        assert!(status.unwrap().success());
    };
    let before = fleet.children();
    limit("1048576");
    before.iter().for_each(|child| send(*child, Signal::SIGKILL));
    fleet.console.wait_for_nth(2, "cannot read what a process that has ended has counted: ");
    limit("unlimited");
    fleet.wait_for_children(2, &before);
    assert_eq!(value_of_child(fleet.addr(), "requests"), "10");
    assert_eq!(value(&values_of_master(&fleet), "requests"), "10");
    fleet.stop();
}

#[test]
fn increment_and_observation_are_there_or_not_when_a_process_is_killed_in_them() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("recover", 1000).set("workers", 1).start();
    for _ in 0..20 {
        client::get(fleet.addr(), "/spin");
        let victim = fleet.children()[0];
        let before: u64 = value_of_child(fleet.addr(), "spins").split('/').next().unwrap().parse().unwrap();
        wait::until("turns of the loop", || {
            let spins = value_of_child(fleet.addr(), "spins");
            spins.split('/').next().unwrap().parse::<u64>().unwrap() > before + 1000
        });
        fleet.replace(&[victim]);
        let values = values_of_master(&fleet);
        let spins: Vec<u64> =
            value(&values, "spins").split('/').map(|number| number.parse().unwrap()).collect();
        let [count, observed, sum] = spins[..] else { panic!("{values}") };
        assert_eq!(observed, sum, "each observation is of 1");
        assert!(
            (0..=20).contains(&(count - observed)),
            "at most one turn of each process is half done: {values}"
        );
    }
    fleet.stop();
}

#[test]
fn values_are_kept_over_reload_scaling_recycling_and_upgrade() {
    let fleet = Server::new(SHARED_VALUES_SERVER).start();
    let addr = fleet.addr();
    for path in ["/observe/0.5", "/observe/20", "/record/7", "/record/-3", "/flag/true"] {
        client::get(addr, path);
    }
    let tally = client::under_load(addr, "/count", 3, || {
        for (signal, generation) in RELOAD_AND_UPGRADE.iter().zip(1..) {
            fleet.signal(*signal);
            fleet.console.wait_for(&format!("is of generation {generation}"));
        }
        for time in 1..=3 {
            fleet.operate(Signal::SIGTTIN, time, "resized from 2 to 3 children");
            fleet.operate(Signal::SIGTTOU, time, "resized from 3 to 2 children");
        }
    });
    tally.assert_all_answered();
    for values in [client::get(addr, "/values"), values_of_master(&fleet)] {
        assert_counted(value(&values, "requests"), &tally);
        assert_eq!(value(&values, "sizes"), "2/20.5");
        assert_eq!((value(&values, "largest"), value(&values, "smallest")), ("Some(7.0)", "Some(-3.0)"));
        assert_eq!((value(&values, "switch"), value(&values, "in_flight")), ("true", "0"));
    }
    fleet.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn counts_are_exact_over_ten_upgrades_under_load() {
    let program = ProgramCopy::new(SHARED_VALUES_SERVER);
    let fleet = Server::new(program.path()).set("shutdown_grace", "30s").start();
    let tally = client::under_load(fleet.addr(), "/count", 4, || {
        for time in 1..=10 {
            program.replace_with(SHARED_VALUES_SERVER);
            fleet.operate(Signal::SIGUSR2, time, "reloaded:");
        }
    });
    tally.assert_all_answered();
    assert_counted(value(&values_of_master(&fleet), "requests"), &tally);
    assert_counted(&value_of_child(fleet.addr(), "requests"), &tally);
    assert!(!fleet.console.says("shared value"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn gauge_of_a_killed_child_goes_with_it() {
    let gate = ResponseGate::new();
    let fleet = Server::new(SHARED_VALUES_SERVER).gate(&gate).set("recover", 1000).start();
    let addr = fleet.addr();
    let requests = client::begin_many(addr, "/wait", 12);
    wait::until("held gauge", || value_of_child(addr, "in_flight") == "12");
    let victim = fleet.children()[0];
    let lost = requests.iter().filter(|request| request.pid() == victim).count();
    fleet.replace(&[victim]);
    for values in [client::get(addr, "/values"), values_of_master(&fleet)] {
        assert_eq!(value(&values, "in_flight"), (12 - lost).to_string());
    }
    gate.open();
    wait::until("released gauge", || value_of_child(addr, "in_flight") == "0");
    // What a child has set goes as well.
    let pid: u32 = client::get(addr, "/gauge/-5").parse().unwrap();
    assert_eq!(value(&values_of_master(&fleet), "in_flight"), "-5");
    fleet.replace(&[pid]);
    assert_eq!(value(&values_of_master(&fleet), "in_flight"), "0");
    fleet.stop();
}

#[test]
fn burst_of_a_rate_limiter_is_the_fleets() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("workers", 8).start();
    let start = std::time::Instant::now();
    let allowed = (0..400).filter(|_| client::get(fleet.addr(), "/limited") == "true").count();
    // 100 per second and a burst of 10. Requests one after the other may take longer than the limit.
    let most = start.elapsed().as_secs_f64() * 100.0 + 11.0;
    assert!(allowed >= 10 && allowed as f64 <= most, "{allowed} of {most}");
    fleet.stop();
}

#[test]
fn limit_of_each_key_is_the_fleets_and_outlives_a_reload() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("workers", 4).start();
    let allowed = |key: &str| {
        let ask = || client::get(fleet.addr(), &format!("/client/{key}"));
        (0..20).filter(|_| ask() == "true").count()
    };
    // One comes back every ten seconds.
    assert!((5..8).contains(&allowed("one")));
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    assert!(allowed("one") < 4);
    assert!((5..8).contains(&allowed("another")));
    fleet.stop();
}

#[test]
fn new_child_that_meets_a_set_of_labels_too_many_first_counts_those_that_the_fleet_has_as_themselves() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("workers", 1).start();
    let count = |label: &str| client::get(fleet.addr(), &format!("/label/{label}"));
    assert_eq!(["a", "b", "c"].map(count), ["1", "1", "1"]);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    // The old child may still accept until it has ended.
    fleet.wait_for_children(1, &fleet.first_children());
    assert_eq!(["d", "a", "b", "other"].map(count), ["2", "2", "2", "3"]);
    fleet.stop();
}

/// Ten rounds, or as many as fit into the time that `SCRIBBLE_FOR` names (`60s`).
#[cfg(target_os = "linux")]
#[test]
fn child_that_scribbles_over_the_region_harms_numbers_only() {
    let end = std::env::var("SCRIBBLE_FOR").ok().map(|time| {
        std::time::Instant::now() + humantime::parse_duration(&time).expect("a time in SCRIBBLE_FOR")
    });
    let server = Server::new(SHARED_VALUES_SERVER).env("PREFORK_HEALTH", "127.0.0.1:0");
    let fleet = server.set("recover", 100_000).set("workers", 3).start();
    let addr = fleet.addr();
    for path in ["/count", "/observe/1", "/record/1", "/flag/true"] {
        client::get(addr, path);
    }
    let mut rounds = 0;
    let tally = client::under_load(addr, "/count", 3, || {
        while rounds < 10 || end.is_some_and(|end| std::time::Instant::now() < end) {
            rounds += 1;
            let scribbler: u32 = client::get(addr, "/scribble").parse().unwrap();
            for _ in 0..20 {
                values_of_master(&fleet);
                client::get(addr, "/values");
                scrape(fleet.health_addr());
            }
            let other = *fleet.children().iter().find(|child| **child != scribbler).unwrap();
            fleet.replace(&[other]);
            fleet.operate(Signal::SIGHUP, rounds, "reloaded:");
        }
        // The scribblers are gone with their generation, or are stopped by their master.
        fleet.operate(Signal::SIGUSR2, rounds + 1, "reloaded:");
    });
    let cut: usize = tally.failures.values().sum();
    assert!(cut <= rounds * 3, "requests failed beyond those of killed children: {tally:?}");
    values_of_master(&fleet);
    println!("{rounds} rounds, {} answered requests, {cut} cut", tally.answered());
    assert!(!fleet.console.says("panicked"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn region_that_cannot_be_made_leaves_values_to_each_process() {
    for wrapper in [
        &[env!("CARGO_BIN_EXE_forbid"), "memfd_create"][..],
        &["prlimit", "--fsize=1048576:1048576"],
        &["prlimit", "--as=300000000:300000000"],
    ] {
        let server = Server::through(wrapper, SHARED_VALUES_SERVER).env("PREFORK_HEALTH", "127.0.0.1:0");
        let fleet = server.start();
        for _ in 0..8 {
            client::get(fleet.addr(), "/count");
        }
        let is_shared = wrapper[1].starts_with("--as");
        let count: u64 = value_of_child(fleet.addr(), "requests").parse().unwrap();
        assert!(count == 8 || !is_shared && count < 8, "{wrapper:?}: {count}");
        values_of_master(&fleet);
        let child = fleet.children()[0];
        fleet.replace(&[child]);
        let warnings =
            fleet.console.lines_with("each process's own, and /metrics lacks those of the children: ");
        assert!(warnings.len() == usize::from(!is_shared), "{wrapper:?}: {warnings:#?}");
        assert!(warnings.iter().all(|line| line.contains("cannot make the region: ")), "{warnings:#?}");
        assert_eq!(
            scrape(fleet.health_addr()).get("prefork_shared_region"),
            f64::from(is_shared),
            "{wrapper:?}"
        );
        fleet.stop();
    }
}

#[test]
fn killed_children_leave_no_descriptor_and_no_memory_in_the_master() {
    let fleet = Server::new(SHARED_VALUES_SERVER).set("recover", 1000).start();
    client::get(fleet.addr(), "/count");
    values_of_master(&fleet);
    let before = proc::handle_count(fleet.master());
    for _ in 0..5 {
        let victim = fleet.children()[0];
        send(victim, Signal::SIGKILL);
        fleet.wait_for_children(2, &[victim]);
    }
    assert!(proc::handle_count(fleet.master()) <= before + 1);
    fleet.stop();
}
