//! TLS session resumption: every child of a fleet resumes the sessions of every other, also of earlier
//! ones. On Windows a child resumes its own sessions only.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::collections::BTreeSet;

use prefork_tests::fleet::{RunningFleet, Server};
#[cfg(unix)]
use prefork_tests::signal::Signal;
use prefork_tests::tls::{TestCertificate, TlsClient};

const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");
const REQUESTS: usize = 60;
/// Numbers of workers. On Windows a child can decrypt its own tickets only.
const WORKERS: &[usize] = if cfg!(windows) { &[1] } else { &[1, 4] };

fn server(form: &str, workers: usize, certificate: &TestCertificate) -> Server {
    Server::new(RUSTLS_CONFIG_SERVER)
        .set("form", form)
        .set("cert", certificate.cert().display())
        .set("key", certificate.key().display())
        .set("workers", workers)
        .set("reuseport", "yes")
        .set("recover", 100)
}

/// Sends requests; returns how many resumed a session, and how many children answered.
fn count_resumed(fleet: &RunningFleet, client: &TlsClient, requests: usize) -> (usize, usize) {
    let responses: Vec<_> = (0..requests).map(|_| client.get(fleet.addr()).unwrap()).collect();
    let pids: BTreeSet<u32> = responses.iter().map(|response| response.pid).collect();
    (responses.iter().filter(|response| response.resumed).count(), pids.len())
}

#[test]
fn every_session_is_resumed_by_any_child() {
    for form in ["blocking", "async"] {
        for version in rustls::ALL_VERSIONS {
            for workers in WORKERS.iter().copied() {
                let certificate = TestCertificate::new();
                let fleet = server(form, workers, &certificate).start();
                let client = TlsClient::with_versions(&[version], &[&certificate], None);
                let (count, children) = count_resumed(&fleet, &client, REQUESTS);
                println!("{form}, {:?}, {workers} children: {count} of {REQUESTS} resumed", version.version);
                assert_eq!(count, REQUESTS - 1, "{form}, {version:?}, {workers} children");
                assert_eq!(children, workers, "every child answered");
                fleet.stop();
            }
        }
    }
}

// On Windows a child cannot decrypt the tickets of another.
#[cfg(unix)]
#[test]
fn crash_reload_and_upgrade_keep_sessions() {
    for version in rustls::ALL_VERSIONS {
        let certificate = TestCertificate::new();
        let fleet = server("blocking", 2, &certificate).start();
        let client = TlsClient::with_versions(&[version], &[&certificate], None);
        assert_eq!(count_resumed(&fleet, &client, 10).0, 9);
        fleet.replace(&fleet.first_children());
        assert_eq!(count_resumed(&fleet, &client, 10).0, 10, "after a crash");
        for (count, signal) in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP].into_iter().enumerate() {
            fleet.operate(signal, count + 1, "reloaded:");
            assert_eq!(count_resumed(&fleet, &client, 10).0, 10, "after {signal}, {version:?}");
        }
        fleet.stop();
    }
}

#[test]
fn other_fleet_does_not_resume_session() {
    let certificate = TestCertificate::new();
    let (one, other) =
        (server("blocking", 1, &certificate).start(), server("blocking", 1, &certificate).start());
    let client = TlsClient::new(&[&certificate], None);
    client.get(one.addr()).unwrap();
    assert!(!client.get(other.addr()).unwrap().resumed);
    one.stop();
    other.stop();
}
