//! The shared values of a program in `/metrics`.
#![cfg(any(target_os = "linux", windows))]

use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::metrics::{Metrics, passes_promtool, scrape, text, wait_for, wait_for_value};
use prefork_tests::signal::RELOAD_AND_UPGRADE;
#[cfg(target_os = "linux")]
use prefork_tests::signal::Signal;
use prefork_tests::skip::skipped;

const SHARED_VALUES_SERVER: &str = env!("CARGO_BIN_EXE_shared_values_server");

fn server() -> Server {
    Server::new(SHARED_VALUES_SERVER).env("PREFORK_HEALTH", "127.0.0.1:0").set("recover", 1000)
}

#[test]
fn values_of_the_program_are_those_of_the_fleet() {
    let fleet = server().start();
    let addr = fleet.addr();
    for path in ["/observe/0.5", "/observe/20", "/record/7", "/record/-3", "/flag/true", "/gauge/5"] {
        client::get(addr, path);
    }
    // The gauge goes with the child.
    let metrics = wait_for_value(&fleet, "test_in_flight", 5.0);
    let before = metrics.find("test_requests_total").unwrap_or(0.0);
    let tally = client::under_load(addr, "/count", 4, || {
        for (time, signal) in RELOAD_AND_UPGRADE.iter().enumerate() {
            let victim = fleet.wait_for_children(2, &[])[0];
            fleet.replace(&[victim]);
            scrape(fleet.health_addr()).assert_grown_since(&metrics);
            fleet.operate(*signal, time + 1, "reloaded:");
        }
    });
    let (answered, failed) = (tally.answered() as f64, tally.failures.values().sum::<usize>() as f64);
    let counted = |metrics: &Metrics| metrics.get("test_requests_total") - before;
    // The old children may take a moment to end after the reload.
    let metrics = wait_for(&fleet, "every answered request, and the end of the old children", |metrics| {
        counted(metrics) >= answered && metrics.find("test_in_flight") == Some(0.0)
    });
    assert!(counted(&metrics) <= answered + failed, "{tally:?}, {}", counted(&metrics));
    for (series, value) in [
        ("test_in_flight", 0.0),
        ("test_sizes_bytes_bucket{le=\"1\"}", 1.0),
        ("test_sizes_bytes_bucket{le=\"10\"}", 1.0),
        ("test_sizes_bytes_bucket{le=\"+Inf\"}", 2.0),
        ("test_sizes_bytes_sum", 20.5),
        ("test_sizes_bytes_count", 2.0),
        ("test_largest_bytes", 7.0),
        ("test_smallest_bytes", -3.0),
        ("test_switch", 1.0),
        ("prefork_shared_full", 0.0),
    ] {
        assert_eq!(metrics.get(series), value, "{series}");
    }
    if !passes_promtool(&text(fleet.health_addr())) {
        skipped("promtool");
    }
    fleet.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn child_that_scribbles_over_shared_values_leaves_the_text_in_the_format() {
    let fleet = server().start();
    for path in ["/count", "/observe/1", "/record/1", "/flag/true"] {
        client::get(fleet.addr(), path);
    }
    client::get(fleet.addr(), "/scribble");
    for _ in 0..200 {
        let metrics = scrape(fleet.health_addr());
        assert_eq!(metrics.get("prefork_slots_ready"), 2.0);
    }
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    scrape(fleet.health_addr());
    fleet.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn histogram_whose_bounds_change_is_shown_as_the_children_have_it_also_after_a_rollback() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("changed");
    let fleet = server().env("TEST_CHANGED", file.to_str().unwrap()).start();
    let observe_and_find = |bound: &str, count: f64| {
        // An old child may still accept until it has ended.
        fleet.wait_for_children(2, &[]);
        client::get(fleet.addr(), "/changed/1");
        wait_for_value(&fleet, "test_changed_bytes_count", count);
        wait_for_value(&fleet, &format!("test_changed_bytes_bucket{{le=\"{bound}\"}}"), count);
    };
    observe_and_find("2", 1.0);
    std::fs::write(&file, "").unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    observe_and_find("5", 1.0);
    std::fs::remove_file(&file).unwrap();
    fleet.operate(Signal::SIGHUP, 2, "reloaded:");
    observe_and_find("2", 2.0);
    fleet.operate(Signal::SIGUSR2, 3, "reloaded:");
    observe_and_find("2", 3.0);
    // The old children may take a moment to end after the upgrade.
    fleet.replace(&fleet.wait_for_children(2, &[]));
    observe_and_find("2", 4.0);
    fleet.stop();
}
