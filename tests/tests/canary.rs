//! Reloads that hold after some children: they are judged, promoted and rolled back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::io::Write;

use prefork_tests::client::{self, Tally};
use prefork_tests::config_file::ConfigFile;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::metrics::{scrape, wait_for_value};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::tls::{TestCertificate, TlsClient};
use prefork_tests::{proc, wait};

const CANARY_SERVER: &str = env!("CARGO_BIN_EXE_canary_server");
const FAILING_CANARY_SERVER: &str = env!("CARGO_BIN_EXE_failing_canary_server");
const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");
const FLEET_HANDLE_SERVER: &str = env!("CARGO_BIN_EXE_fleet_handle_server");

/// A server with four children, whose reloads hold after one.
fn server(program: impl AsRef<std::path::Path>) -> Server {
    Server::new(program).set("workers", 4).env("PREFORK_CANARY", "1").env("PREFORK_HEALTH", "127.0.0.1:0")
}

/// Starts a reload, and waits until it holds; returns the children that are new.
fn reload(fleet: &RunningFleet, nth: usize) -> Vec<u32> {
    let before = fleet.children();
    fleet.operate(Signal::SIGHUP, nth, "holding: ");
    let children = fleet.wait_for_children(before.len(), &[before[0]]);
    children.into_iter().filter(|child| !before.contains(child)).collect()
}

fn status(fleet: &RunningFleet) -> String {
    client::get(fleet.health_addr(), "/status")
}

/// The generation of each child.
fn generations(fleet: &RunningFleet) -> Vec<String> {
    let status = status(fleet);
    let children = status.split("\"children\":").nth(1).unwrap_or_default();
    // Slots that wait, and templates, have generations as well.
    let children = children.split("\"waiting\":").next().unwrap_or_default();
    let generation = |part: &str| part.split([',', '}']).next().unwrap_or_default().to_owned();
    children.split("\"generation\":").skip(1).map(generation).collect()
}

/// The answers that `child` has given, and those of the other children.
fn split(tally: &Tally, child: u32) -> (Vec<&String>, Vec<&String>) {
    tally.answers.keys().partition(|answer| answer.ends_with(&format!(" {child}")))
}

#[test]
fn program_that_fails_one_request_in_ten_is_rolled_back_by_its_error_counter() {
    for reuseport in [false, true] {
        let program = ProgramCopy::new(CANARY_SERVER);
        let fleet = server(program.path()).set("judge", "errors").reuseport(reuseport).start();
        let (old, first) = (proc::executable(fleet.master()), fleet.first_children());
        let mut canary = 0;
        let tally = client::under_load(fleet.addr(), "/work", 6, || {
            // What was counted before the hold is no part of it.
            wait_for_counted(&fleet, 200.0);
            program.replace_with(FAILING_CANARY_SERVER);
            canary = reload(&fleet, 1)[0];
            assert!(proc::executable(canary) != old, "the new child runs the new program");
            fleet.console.wait_for("rolled back: ");
        });
        assert!(tally.failures.is_empty(), "a request was lost: {tally:?}");
        let (of_canary, of_others) = split(&tally, canary);
        assert!(of_canary.iter().any(|answer| answer.starts_with("failed")), "{tally:?}");
        assert!(of_others.iter().all(|answer| answer.starts_with("ok")), "an old child failed: {tally:?}");
        let why = fleet.console.wait_for("rolling back generation 1: hook on_canary: ");
        assert!(
            why.contains(" % failed, of the old ones 0 %; the generation before replaces 1 child"),
            "{why}"
        );
        let seen = fleet.console.wait_for("canary of generation 1 after ");
        assert!(seen.contains("new 1 children") && seen.contains("old 3 children"), "{seen}");
        assert!(seen.ends_with(" sizes") && seen.contains(", 0 failed"), "{seen}");
        let children = fleet.wait_for_children(4, &[canary]);
        assert!(children.iter().all(|child| proc::executable(*child) == old), "a child has the new program");
        assert!(first[1..].iter().all(|child| children.contains(child)), "only the canary was replaced");
        let metrics = wait_for_value(&fleet, "prefork_state{state=\"serving\"}", 1.0);
        for (series, value) in [
            ("prefork_reloads_total{result=\"rolled_back\"}", 1.0),
            ("prefork_child_starts_total{reason=\"rollback\"}", 1.0),
            ("prefork_last_reload_successful", 0.0),
            ("prefork_generation", 0.0),
        ] {
            assert_eq!(metrics.get(series), value, "{series}");
        }
        assert_eq!(metrics.sum("prefork_child_failures_total"), 0.0);
        // A child that fails from now on is replaced by one of the old program.
        let next = fleet.replace(&[children[0]]);
        assert!(next.iter().all(|child| proc::executable(*child) == old));
        fleet.stop();
    }
}

/// Waits until the children have counted so many answers.
fn wait_for_counted(fleet: &RunningFleet, count: f64) {
    wait::until("answers", || scrape(fleet.health_addr()).sum("test_answers_total") >= count);
}

#[test]
fn hook_sees_what_new_and_old_children_have_counted_since_the_hold() {
    let fleet = server(CANARY_SERVER).set("judge", "report").start();
    for _ in 0..40 {
        client::get(fleet.addr(), "/work");
    }
    let canary = reload(&fleet, 1)[0];
    let mut expected = (0, 0);
    for _ in 0..40 {
        let of_canary = client::get(fleet.addr(), "/work").ends_with(&format!(" {canary}"));
        if of_canary { expected.0 += 1 } else { expected.1 += 1 }
    }
    let (new, old) = expected;
    let group =
        |children, answers| format!("{children} children, {answers} answers, 0 failed, {answers} sizes");
    fleet.console.wait_for(&format!("new {}; old {}", group(1, new), group(3, old)));
    // What an old child has counted that is replaced in the hold is gone; it is one of three then as well.
    fleet.replace(&[fleet.first_children()[1]]);
    fleet.console.wait_for(&format!("new {}; old 3 children, ", group(1, new)));
    fleet.stop();
}

#[test]
fn hold_ends_by_itself_and_by_the_hook_and_every_child_is_new() {
    for (judge, hold, says) in
        [(None, "300ms", "in 300ms, or when"), (Some("promote"), "1h", "in 1h, or when")]
    {
        let mut server = server(CANARY_SERVER).env("PREFORK_HOLD", hold);
        if let Some(judge) = judge {
            server = server.set("judge", judge);
        }
        let fleet = server.start();
        let first = fleet.first_children();
        let tally = client::under_load(fleet.addr(), "/work", 4, || {
            fleet.operate(Signal::SIGHUP, 1, "reloaded: every child is of generation 1");
        });
        tally.assert_all_answered();
        fleet.wait_for_children(4, &first);
        let line = fleet.console.wait_for("holding: generation 1 has 1 of 4 children; the reload goes on ");
        assert!(line.contains(says), "{line}");
        wait_for_generations(&fleet, ["1"; 4]);
        fleet.stop();
    }
}

#[test]
fn canary_that_is_killed_is_rolled_back_and_others_lose_nothing() {
    for reuseport in [false, true] {
        let fleet = server(CANARY_SERVER).set("recover", 0).reuseport(reuseport).start();
        let first = fleet.first_children();
        let mut canary = 0;
        let tally = client::under_load(fleet.addr(), "/work", 4, || {
            canary = reload(&fleet, 1)[0];
            send(canary, Signal::SIGKILL);
            fleet.console.wait_for("rolled back: the fleet is of generation 0 again");
        });
        // A connection of the child that was killed may be lost; the machine may have queued some for its own socket.
        let lost: usize = tally.failures.values().sum();
        assert!(lost <= 4, "{tally:?}");
        fleet.console.wait_for("rolling back generation 1: new child 0 failed; ");
        let children = fleet.wait_for_children(4, &[canary]);
        assert!(first[1..].iter().all(|child| children.contains(child)), "only the canary was replaced");
        wait_for_generations(&fleet, ["0"; 4]);
        // `recover = 0`: the failure of a canary does not count.
        fleet.stop();
    }
}

#[test]
fn hook_that_fails_rolls_back() {
    for (judge, says) in [("panic", "it panicked"), ("error", "it failed: the option says so")] {
        let fleet = server(CANARY_SERVER).set("judge", judge).start();
        let canary = reload(&fleet, 1);
        fleet.console.wait_for(&format!("rolling back generation 1: hook on_canary: {says}; "));
        fleet.console.wait_for("rolled back: ");
        fleet.wait_for_children(4, &canary);
        wait_for_generations(&fleet, ["0"; 4]);
        fleet.stop();
    }
}

#[test]
fn hup_in_a_hold_starts_over_and_kill_of_the_new_canary_restores_the_first_generation() {
    let program = ProgramCopy::new(CANARY_SERVER);
    let fleet = server(program.path()).start();
    let old = proc::executable(fleet.master());
    program.replace_with(FAILING_CANARY_SERVER);
    let first = reload(&fleet, 1);
    program.replace_with(CANARY_SERVER);
    let tally = client::under_load(fleet.addr(), "/", 4, || {
        fleet.operate(Signal::SIGHUP, 2, "holding: ");
    });
    tally.assert_all_answered();
    let children = fleet.wait_for_children(4, &first);
    let is_new = |child: &&u32| proc::executable(**child) != old;
    let second: Vec<u32> = children.iter().filter(is_new).copied().collect();
    assert_eq!(second.len(), 1, "the second canary has taken the place of the first");
    let state = status(&fleet);
    assert!(state.starts_with("{\"state\":\"holding\",") && state.contains("\"generation\":2,"), "{state}");
    assert_eq!(client::status(fleet.health_addr(), "/readyz").unwrap(), 200);
    send(second[0], Signal::SIGKILL);
    fleet.console.wait_for("rolled back: ");
    let children = fleet.wait_for_children(4, &second);
    assert!(children.iter().all(|child| proc::executable(*child) == old));
    fleet.stop();
}

#[test]
fn upgrade_in_a_hold_replaces_every_child_and_does_not_hold() {
    let program = ProgramCopy::new(CANARY_SERVER);
    let fleet = server(program.path()).start();
    let first = fleet.first_children();
    program.replace_with(CANARY_SERVER);
    let canary = reload(&fleet, 1);
    fleet.operate(Signal::SIGUSR2, 1, "reloaded: every child is of generation 2");
    let children = fleet.wait_for_children(4, &[&first[..], &canary].concat());
    let new = proc::executable(fleet.master());
    assert!(children.iter().all(|child| proc::executable(*child) == new));
    assert_eq!(fleet.console.lines_with("holding: ").len(), 1);
    fleet.stop();
}

#[test]
fn file_sets_the_canary_and_a_rollback_restores_the_options_of_the_old_children() {
    let config = ConfigFile::new("workers = 2\nnice = 1\n");
    let fleet = config.server(CANARY_SERVER).start();
    config.write("workers = 2\nnice = 2\ncanary = 1\nhold = \"1h\"\n");
    let canary = reload(&fleet, 1);
    fleet.console.wait_for("canary changed from 0 to 1");
    assert_eq!(proc::nice(canary[0]), Some(2));
    config.write("broken");
    send(canary[0], Signal::SIGKILL);
    fleet.console.wait_for("rolled back: ");
    let children = fleet.wait_for_children(2, &canary);
    assert!(children.iter().all(|child| proc::nice(*child) == Some(1)), "an old child has a new option");
    fleet.stop();
}

#[test]
fn rollback_restores_the_certificate_of_the_old_children() {
    let (certificate, renewed) = (TestCertificate::new(), TestCertificate::new());
    let server = Server::new(RUSTLS_CONFIG_SERVER).env("PREFORK_CANARY", "1");
    let fleet =
        server.set("cert", certificate.cert().display()).set("key", certificate.key().display()).start();
    let client = TlsClient::new(&[&certificate, &renewed], None);
    let old = certificate.der();
    fs::copy(renewed.cert(), certificate.cert()).unwrap();
    fs::copy(renewed.key(), certificate.key()).unwrap();
    let canary = reload(&fleet, 1);
    let answers = |count| (0..count).map(|_| client.get(fleet.addr()).unwrap());
    wait::until("an answer of the canary", || answers(1).any(|answer| answer.pid == canary[0]));
    assert!(answers(40).all(|answer| (answer.cert != old) == (answer.pid == canary[0])));
    send(canary[0], Signal::SIGKILL);
    fleet.console.wait_for("rolled back: ");
    let children = fleet.wait_for_children(2, &canary);
    fleet.replace(&children[..1]);
    assert!(answers(40).all(|answer| answer.cert == old), "a child has the new certificate");
    fleet.stop();
}

#[test]
fn handle_promotes_rolls_back_and_chooses_the_canary() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("commands");
    let mut file = fs::File::create(&path).unwrap();
    let mut give = |command: &str| writeln!(file, "{command}").unwrap();
    let server = Server::new(FLEET_HANDLE_SERVER).set("workers", 3).set("commands", path.display());
    let fleet = server.start();
    give("promote");
    fleet.console.wait_for("nothing to promote: no reload holds");
    give("canary 2");
    fleet
        .console
        .wait_for("holding: generation 1 has 2 of 3 children; the reload goes on when it is promoted");
    give("status");
    fleet.console.wait_for("status: holding generation 1 ready 3 of 3");
    give("rollback");
    fleet.console.wait_for("rolling back generation 1: requested; the generation before replaces 2 children");
    fleet.console.wait_for("rolled back: the fleet is of generation 0 again");
    give("canary 1");
    fleet.console.wait_for("holding: generation 2 has 1 of 3 children");
    give("promote");
    fleet.console.wait_for("promoted: generation 2 replaces the other children too");
    fleet.console.wait_for("reloaded: every child is of generation 2");
    fleet.stop();
}

#[test]
fn stop_in_a_hold_stops() {
    let fleet = server(CANARY_SERVER).start();
    reload(&fleet, 1);
    fleet.stop();
}

/// A child that has ended may be told of for a moment longer.
fn wait_for_generations<const N: usize>(fleet: &RunningFleet, expected: [&str; N]) {
    wait::until("generations", || generations(fleet) == expected);
}
