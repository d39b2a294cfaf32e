//! The example with metrics: what a scrape tells is what clients have counted, whatever happens to the children.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::net::SocketAddr;

use prefork_tests::client::Tally;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::metrics::{Metrics, passes_promtool, scrape, text};
use prefork_tests::signal::Signal;
use prefork_tests::skip::skipped;
use prefork_tests::status::Status;
use prefork_tests::{client, wait};

const ROUNDS: usize = 10;

fn start() -> RunningFleet {
    Server::example("metrics").env("PREFORK_HEALTH", "127.0.0.1:0").start()
}

/// The metrics once no request is under way: the last answer may have arrived before its child has counted everything.
fn scrape_at_rest(health: SocketAddr) -> Metrics {
    wait::for_value("the end of the requests", || {
        let metrics = scrape(health);
        (metrics.find("http_requests_in_flight") == Some(0.0)).then_some(metrics)
    })
}

#[test]
fn scraped_requests_are_exactly_those_that_were_answered_if_no_request_is_cut() {
    let fleet = start();
    let (addr, health) = (fleet.addr(), fleet.health_addr());
    let mut answered = Tally::default();
    for round in 1..=ROUNDS {
        answered = answered.plus(client::under_load(addr, "/", 4, || {
            fleet.operate(Signal::SIGHUP, round, "reloaded:");
        }));
        for _ in 0..2 {
            let victim = fleet.wait_for_children(2, &[])[0];
            fleet.replace(&[victim]);
            answered.count(client::try_get(addr, "/"));
        }
    }
    answered = answered.plus(client::under_load(addr, "/", 4, || {
        fleet.operate(Signal::SIGUSR2, ROUNDS + 1, "reloaded:");
    }));
    answered.assert_all_answered();
    assert_eq!(scrape_at_rest(health).sum("http_requests_total"), answered.answered() as f64);
    if !passes_promtool(&text(health)) {
        skipped("promtool");
    }
    fleet.stop();
}

#[test]
fn scraped_requests_are_those_that_were_answered_and_at_most_those_that_were_cut() {
    let fleet = start();
    let health = fleet.health_addr();
    let mut last = Metrics::default();
    let tally = client::under_load(fleet.addr(), "/", 4, || {
        for round in 1..=ROUNDS {
            for _ in 0..2 {
                let victim = fleet.wait_for_children(2, &[])[0];
                fleet.replace(&[victim]);
                let metrics = scrape(health);
                metrics.assert_grown_since(&last);
                last = metrics;
            }
            fleet.operate(Signal::SIGHUP, round, "reloaded:");
        }
        fleet.operate(Signal::SIGUSR2, ROUNDS + 1, "reloaded:");
    });
    let (answered, failed) = (tally.answered() as f64, tally.failures.values().sum::<usize>() as f64);
    assert!(answered > 100.0, "{tally:?}");
    let metrics = scrape_at_rest(health);
    metrics.assert_usual_names();
    let counted = metrics.sum("http_requests_total");
    // A request whose child was killed may have been counted before.
    assert!((answered..=answered + failed).contains(&counted), "{counted} {tally:?}");
    let series = "http_requests_total{method=\"GET\",route=\"/\",status=\"200\"}";
    assert_eq!(metrics.get(series), counted);
    let duration = "http_request_duration_seconds_count{method=\"GET\",route=\"/\"}";
    // A child may be killed between the two.
    assert!((metrics.get(duration) - counted).abs() <= 2.0 * ROUNDS as f64);
    fleet.stop();
}

#[test]
fn requests_of_each_child_in_the_status_are_those_that_it_has_counted_with_the_facade() {
    let fleet = start();
    for path in ["/", "/", "/none", "/", "/none"] {
        client::status(fleet.addr(), path).unwrap();
    }
    wait::until("five requests", || {
        let requests = Status::of(fleet.health_addr()).requests();
        requests.into_values().sum::<Option<u64>>() == Some(5)
    });
    fleet.stop();
}

#[test]
fn requests_in_flight_go_with_a_killed_child() {
    let fleet = start();
    let health = fleet.health_addr();
    let in_flight = |count: f64| {
        wait::until("requests in flight", || scrape(health).find("http_requests_in_flight") == Some(count));
    };
    let requests: Vec<_> = (0..6).map(|_| client::send(fleet.addr(), "/slow").unwrap()).collect();
    in_flight(6.0);
    fleet.replace(&fleet.first_children());
    in_flight(0.0);
    assert!(requests.into_iter().all(|request| request.finish().is_err()));
    fleet.stop();
}

#[test]
fn what_a_client_chooses_makes_no_series() {
    let fleet = start();
    let names = ["first", "second", "third"];
    for name in names {
        assert_eq!(client::status(fleet.addr(), &format!("/{name}")).unwrap(), 404);
        let request = format!("{name} / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        client::exchange(fleet.addr(), &request).unwrap();
    }
    let metrics = scrape_at_rest(fleet.health_addr());
    for series in
        ["{method=\"GET\",route=\"none\",status=\"404\"}", "{method=\"other\",route=\"/\",status=\"405\"}"]
    {
        assert_eq!(metrics.get(&format!("http_requests_total{series}")), names.len() as f64);
    }
    fleet.stop();
}
