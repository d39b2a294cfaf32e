//! `/metrics` of the health endpoint, as Prometheus scrapes it.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use prefork_tests::client;
use prefork_tests::fleet::Server;
#[cfg(unix)]
use prefork_tests::fleet::preloads;
use prefork_tests::gate::ResponseGate;
use prefork_tests::metrics::{Metrics, passes_promtool, scrape, text, wait_for, wait_for_value};
#[cfg(unix)]
use prefork_tests::proc;
#[cfg(unix)]
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

fn with_health(executable: &str) -> Server {
    Server::new(executable).env("PREFORK_HEALTH", "127.0.0.1:0")
}

#[test]
fn serving_fleet_tells_its_state() {
    let fleet = with_health(SERVER).start();
    let metrics = wait_for_value(&fleet, "prefork_slots_ready", 2.0);
    metrics.assert_usual_names();
    for (series, value) in [
        ("prefork_state{state=\"serving\"}", 1.0),
        ("prefork_state{state=\"starting\"}", 0.0),
        ("prefork_slots", 2.0),
        ("prefork_children{state=\"ready\"}", 2.0),
        ("prefork_children{state=\"starting\"}", 0.0),
        ("prefork_child_starts_total{reason=\"start\"}", 2.0),
        ("prefork_generation", 0.0),
        ("prefork_health_connections", 1.0),
        ("prefork_log_messages_dropped_total", 0.0),
    ] {
        assert_eq!(metrics.get(series), value, "{series}");
    }
    assert_eq!(metrics.sum("prefork_child_starts_total"), 2.0);
    assert_eq!(metrics.sum("prefork_child_failures_total"), 0.0);
    assert_eq!(metrics.sum("prefork_reloads_total"), 0.0);
    assert_eq!(metrics.find("prefork_last_reload_successful"), None);
    assert!(metrics.get("prefork_start_time_seconds") > 1.0e9);
    for slot in 0..2 {
        let resident = metrics.get(&format!("prefork_slot_resident_memory_bytes{{slot=\"{slot}\"}}"));
        assert!(resident > 100_000.0, "{resident}");
        let started = metrics.get(&format!("prefork_slot_start_time_seconds{{slot=\"{slot}\"}}"));
        // The kernel's clock for this has a tenth of a second at least.
        assert!(started >= metrics.get("prefork_start_time_seconds") - 1.0, "{started}");
    }
    assert!(metrics.get("prefork_master_resident_memory_bytes") > 100_000.0);
    fleet.stop();
}

#[test]
fn answer_to_head_has_no_body() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let head = client::exchange(addr, "HEAD /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head:?}");
    assert!(!head.contains("Content-Length: 0\r\n"), "{head:?}");
    let post = client::exchange(addr, "POST /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(post.starts_with("HTTP/1.1 405 "), "{post:?}");
    fleet.stop();
}

#[test]
fn prometheus_accepts_the_text() {
    let fleet = with_health(SERVER).start();
    if !passes_promtool(&text(fleet.health_addr())) {
        skipped("promtool");
    }
    fleet.stop();
}

#[test]
fn crashes_reloads_and_scaling_are_counted_while_scraped() {
    let fleet = with_health(SERVER).set("shutdown_grace", "30s").start();
    let addr = fleet.health_addr();
    let before = scrape(addr);
    fleet.replace(&fleet.first_children()[..1]);
    let signal = if cfg!(windows) { "status" } else { "signal" };
    let killed = format!("prefork_child_failures_total{{kind=\"{signal}\",phase=\"ready\"}}");
    wait_for_value(&fleet, &killed, 1.0);
    client::try_get(fleet.addr(), "/exit/3").unwrap_err();
    let status = if cfg!(windows) { 2.0 } else { 1.0 };
    wait_for_value(&fleet, "prefork_child_failures_total{kind=\"status\",phase=\"ready\"}", status);
    wait_for_value(&fleet, "prefork_child_starts_total{reason=\"recover\"}", 2.0);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let metrics = wait_for_value(&fleet, "prefork_reloads_total{result=\"done\"}", 1.0);
    assert_eq!(metrics.get("prefork_child_starts_total{reason=\"reload\"}"), 2.0);
    assert_eq!(metrics.get("prefork_generation"), 1.0);
    assert_eq!(metrics.get("prefork_last_reload_successful"), 1.0);
    assert!(metrics.get("prefork_last_reload_timestamp_seconds") > metrics.get("prefork_start_time_seconds"));
    fleet.signal(Signal::SIGTTIN);
    let metrics = wait_for_value(&fleet, "prefork_slots_ready", 3.0);
    assert_eq!(metrics.get("prefork_child_starts_total{reason=\"scale\"}"), 1.0);
    assert!(metrics.find("prefork_slot_cpu_seconds_total{slot=\"2\"}").is_some());
    fleet.signal(Signal::SIGTTOU);
    let gone = |metrics: &Metrics| metrics.find("prefork_slot_cpu_seconds_total{slot=\"2\"}").is_none();
    let metrics = wait_for(&fleet, "the end of slot 2", gone);
    metrics.assert_grown_since(&before);
    let started = metrics.sum("prefork_child_starts_total");
    assert_eq!(started, 7.0, "{metrics:#?}");
    fleet.stop();
}

#[test]
fn text_is_in_the_format_whatever_happens() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let mut last = scrape(addr);
    let mut scrapes = |times: usize| {
        for _ in 0..times {
            let metrics = scrape(addr);
            metrics.assert_grown_since(&last);
            last = metrics;
        }
    };
    for round in 1..=3 {
        fleet.signal(Signal::SIGHUP);
        scrapes(5);
        if let Some(child) = fleet.children().first() {
            // It may have ended.
            let _ = prefork_tests::signal::try_send(*child, Signal::SIGKILL);
        }
        scrapes(5);
        fleet.signal(if round % 2 == 0 { Signal::SIGTTOU } else { Signal::SIGTTIN });
        scrapes(5);
    }
    fleet.signal(Signal::SIGTERM);
    // Until the fleet has ended.
    while let Ok(answer) = client::exchange(addr, "GET /metrics HTTP/1.0\r\n\r\n") {
        let Some((_, text)) = answer.split_once("\r\n\r\n") else { break };
        Metrics::parse(text).unwrap();
    }
    fleet.expect_stopped();
}

#[cfg(unix)]
#[test]
fn failed_reload_is_told() {
    let program = ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).env("PREFORK_HEALTH", "127.0.0.1:0").start();
    program.replace_with("/bin/false");
    fleet.operate(Signal::SIGHUP, 1, "reload aborted:");
    let metrics = wait_for_value(&fleet, "prefork_reloads_total{result=\"aborted\"}", 1.0);
    assert_eq!(metrics.get("prefork_last_reload_successful"), 0.0);
    // A template that fails is no child.
    let failures = if preloads() { 0.0 } else { 1.0 };
    assert_eq!(metrics.get("prefork_child_failures_total{kind=\"status\",phase=\"starting\"}"), failures);
    assert_eq!(metrics.get("prefork_slots_ready"), 2.0);
    std::fs::remove_file(program.path()).unwrap();
    fleet.signal(Signal::SIGHUP);
    wait_for_value(&fleet, "prefork_reloads_total{result=\"refused\"}", 1.0);
    program.replace_with(SERVER);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let metrics = wait_for_value(&fleet, "prefork_reloads_total{result=\"done\"}", 1.0);
    assert_eq!(metrics.get("prefork_last_reload_successful"), 1.0);
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn upgrade_goes_on_with_every_counter() {
    let fleet = with_health(SERVER).start();
    fleet.replace(&fleet.first_children()[..1]);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let before = wait_for_value(&fleet, "prefork_reloads_total{result=\"done\"}", 1.0);
    fleet.operate(Signal::SIGUSR2, 2, "reloaded:");
    let after = wait_for_value(&fleet, "prefork_reloads_total{result=\"done\"}", 2.0);
    after.assert_grown_since(&before);
    for (series, value) in [
        ("prefork_upgrades_total{result=\"done\"}", 1.0),
        ("prefork_child_starts_total{reason=\"start\"}", 2.0),
        ("prefork_child_starts_total{reason=\"recover\"}", 1.0),
        // With templates, the child on trial is replaced as well.
        ("prefork_child_starts_total{reason=\"reload\"}", if preloads() { 4.0 } else { 3.0 }),
        ("prefork_child_starts_total{reason=\"upgrade\"}", 2.0),
        ("prefork_child_failures_total{kind=\"signal\",phase=\"ready\"}", 1.0),
    ] {
        assert_eq!(after.get(series), value, "{series}");
    }
    let start = |metrics: &Metrics| metrics.get("prefork_start_time_seconds");
    assert!((start(&after) - start(&before)).abs() < 0.01);
    let last = |metrics: &Metrics| metrics.get("prefork_last_reload_timestamp_seconds");
    assert!(last(&after) > last(&before));
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn cpu_time_of_a_slot_outlives_its_children() {
    let fleet = with_health(SERVER).set("workers", 1).start();
    let series = "prefork_slot_cpu_seconds_total{slot=\"0\"}";
    let enough = 0.1;
    let busy = wait_for(&fleet, "CPU time", |metrics| {
        for _ in 0..50 {
            client::serving_pid(fleet.addr());
        }
        metrics.get(series) >= enough
    });
    let started = "prefork_slot_start_time_seconds{slot=\"0\"}";
    fleet.replace(&fleet.first_children());
    let killed = wait_for(&fleet, "the next child", |metrics| {
        metrics.find(started).is_some_and(|at| at > busy.get(started))
    });
    killed.assert_grown_since(&busy);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    fleet.operate(Signal::SIGUSR2, 2, "reloaded:");
    let upgraded = wait_for_value(&fleet, "prefork_upgrades_total{result=\"done\"}", 1.0);
    upgraded.assert_grown_since(&killed);
    // The children since then have used little.
    assert!(upgraded.get(series) >= enough);
    fleet.stop();
}

#[test]
fn hang_is_told_from_a_crash() {
    let fleet = with_health(KEEP_ALIVE_SERVER).set("hang_timeout", "500ms").set("workers", 1).start();
    let request = client::send(fleet.addr(), "/hang").unwrap();
    wait_for_value(&fleet, "prefork_child_failures_total{kind=\"hang\",phase=\"ready\"}", 1.0);
    assert!(request.finish().is_err());
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn queue_of_a_listener_is_told() {
    let gate = ResponseGate::new();
    let server = with_health(SERVER).set("workers", 1).set("one_by_one", "yes").set("backlog", 3);
    let fleet = server.gate(&gate).start();
    let addr = fleet.addr();
    let named = |name: &str| format!("prefork_listener_{name}{{listener=\"{addr}\"}}");
    let (length, drops) = (named("queue_length"), named("drops_total"));
    let metrics = wait_for_value(&fleet, &length, 0.0);
    assert_eq!(metrics.get(&named("queue_limit")), 3.0);
    assert_eq!(metrics.get(&drops), 0.0);
    let served = client::begin(addr, "/gate");
    let queued: Vec<_> = (0..3).map(|_| client::send(addr, "/").unwrap()).collect();
    wait_for_value(&fleet, &length, 3.0);
    // The kernel admits one more than the limit, and drops the others.
    let late: Vec<_> = (0..4).map(|_| std::thread::spawn(move || client::try_get(addr, "/"))).collect();
    let metrics = wait_for(&fleet, "dropped connections", |metrics| metrics.get(&drops) > 0.0);
    assert_eq!(metrics.get(&length), 4.0);
    assert!(metrics.get("prefork_namespace_listen_overflows_total") > 0.0);
    gate.open();
    served.finish().unwrap();
    client::finish_all(queued);
    for late in late {
        late.join().unwrap().unwrap();
    }
    wait_for_value(&fleet, &length, 0.0);
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn each_slot_has_its_own_queue_with_reuseport() {
    let fleet = with_health(SERVER).reuseport(true).start();
    let addr = fleet.addr();
    let metrics = scrape(fleet.health_addr());
    for slot in 0..2 {
        let series = format!("prefork_listener_queue_length{{listener=\"{addr}\",slot=\"{slot}\"}}");
        assert_eq!(metrics.get(&series), 0.0);
    }
    fleet.stop();
}

#[test]
fn blocked_supervisor_is_scraped_all_the_same() {
    let gate = ResponseGate::new();
    let fleet = with_health(HOOKS_SERVER).set("waits", "on_child_recover").gate(&gate).start();
    let before = scrape(fleet.health_addr());
    send(fleet.first_children()[0], Signal::SIGKILL);
    fleet.console.wait_for("in place of pid");
    scrape(fleet.health_addr()).assert_grown_since(&before);
    assert_eq!(client::status(fleet.health_addr(), "/livez").unwrap(), 503);
    gate.open();
    wait_for_value(&fleet, "prefork_child_starts_total{reason=\"recover\"}", 1.0);
    fleet.stop();
}

#[test]
fn one_process_without_children_has_metrics() {
    let fleet = with_health(SERVER).set("workers", 0).launch();
    let metrics = wait_for_value(&fleet, "prefork_children{state=\"ready\"}", 1.0);
    assert_eq!(metrics.get("prefork_slots"), 1.0);
    assert!(metrics.get("prefork_slot_resident_memory_bytes{slot=\"0\"}") > 100_000.0);
    let refused = "prefork_reloads_total{result=\"refused\"}";
    assert_eq!(metrics.get(refused), 0.0);
    fleet.signal(Signal::SIGHUP);
    wait_for_value(&fleet, refused, 1.0);
    #[cfg(unix)]
    {
        let series = format!("prefork_listener_queue_length{{listener=\"{}\"}}", fleet.addr());
        assert_eq!(metrics.get(&series), 0.0);
    }
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn master_does_not_wake_after_a_scrape() {
    let fleet = with_health(SERVER).start();
    scrape(fleet.health_addr());
    proc::wait_until_idle(&[fleet.master()]);
    fleet.stop();
}

#[test]
fn many_scrapers_get_complete_texts() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let scrapers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let requests = "GET /metrics HTTP/1.1\r\n\r\n".repeat(20);
                let answers =
                    client::exchange(addr, &format!("{requests}GET /livez HTTP/1.0\r\n\r\n")).unwrap();
                let texts: Vec<&str> = answers.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
                assert_eq!(texts.len(), 21, "{answers}");
                for text in &texts[..20] {
                    Metrics::parse(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                }
            })
        })
        .collect();
    for scraper in scrapers {
        scraper.join().unwrap();
    }
    fleet.stop();
}

/// The names of the fleet's metrics in a text.
#[cfg(unix)]
fn names(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("prefork_")).collect()
}

#[cfg(unix)]
#[test]
fn dashboard_and_alerts_use_metrics_that_exist() {
    let fleet = with_health(SERVER).start();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let metrics = wait_for_value(&fleet, "prefork_reloads_total{result=\"done\"}", 1.0);
    let dashboard = names(include_str!("../../examples/deploy/grafana/dashboard.json"));
    let guide = include_str!("../../prefork/docs/metrics.md");
    let examples: String = guide.split("```").skip(1).step_by(2).collect();
    assert!(dashboard.len() > 20 && examples.contains("prefork_"));
    for name in dashboard.into_iter().chain(names(&examples)) {
        // Before Linux 6.2 the system does not tell the number of descriptors.
        assert!(metrics.kinds.contains_key(name) || name.ends_with("_open_fds"), "there is no {name}");
    }
    fleet.stop();
}
