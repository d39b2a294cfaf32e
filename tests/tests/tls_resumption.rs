//! Sessions are resumed by whichever child the client comes to next, also one that was started later;
//! on Windows by the child that began them.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::collections::BTreeSet;

use prefork_tests::fleet::{RunningFleet, Server};
#[cfg(unix)]
use prefork_tests::signal::Signal;
use prefork_tests::tls::{TestCertificate, TlsClient};

const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");
const VISITS: usize = 60;
/// On Windows a child opens no tickets but its own.
const FLEETS: &[usize] = if cfg!(windows) { &[1] } else { &[1, 4] };

fn server(form: &str, workers: usize, identity: &TestCertificate) -> Server {
    Server::new(RUSTLS_CONFIG_SERVER)
        .set("form", form)
        .set("cert", identity.cert().display())
        .set("key", identity.key().display())
        .set("workers", workers)
        .set("reuseport", "yes")
        .set("recover", 100)
}

/// How many of these visits resume the session of one before, and how many children serve them.
fn resumed(fleet: &RunningFleet, client: &TlsClient, visits: usize) -> (usize, usize) {
    let visits: Vec<_> = (0..visits).map(|_| client.get(fleet.addr()).unwrap()).collect();
    let pids: BTreeSet<u32> = visits.iter().map(|visit| visit.pid).collect();
    (visits.iter().filter(|visit| visit.resumed).count(), pids.len())
}

#[test]
fn a_fleet_resumes_every_session() {
    for form in ["blocking", "async"] {
        for version in rustls::ALL_VERSIONS {
            for workers in FLEETS.iter().copied() {
                let identity = TestCertificate::new();
                let fleet = server(form, workers, &identity).start();
                let client = TlsClient::with_versions(&[version], &[&identity], None);
                let (count, children) = resumed(&fleet, &client, VISITS);
                println!("{form}, {:?}, {workers} children: {count} of {VISITS} resumed", version.version);
                assert_eq!(count, VISITS - 1, "{form}, {version:?}, {workers} children");
                assert_eq!(children, workers, "every child was visited");
                fleet.stop();
            }
        }
    }
}

// Elsewhere no child can open the tickets of another.
#[cfg(unix)]
#[test]
fn sessions_outlive_crashes_reloads_and_upgrades() {
    for version in rustls::ALL_VERSIONS {
        let identity = TestCertificate::new();
        let fleet = server("blocking", 2, &identity).start();
        let client = TlsClient::with_versions(&[version], &[&identity], None);
        assert_eq!(resumed(&fleet, &client, 10).0, 9);
        fleet.replace(&fleet.first_children());
        assert_eq!(resumed(&fleet, &client, 10).0, 10, "after a crash");
        for (count, signal) in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP].into_iter().enumerate() {
            fleet.operate(signal, count + 1, "reloaded:");
            assert_eq!(resumed(&fleet, &client, 10).0, 10, "after {signal}, {version:?}");
        }
        fleet.stop();
    }
}

#[test]
fn no_fleet_resumes_the_sessions_of_another() {
    let identity = TestCertificate::new();
    let (one, other) = (server("blocking", 1, &identity).start(), server("blocking", 1, &identity).start());
    let client = TlsClient::new(&[&identity], None);
    client.get(one.addr()).unwrap();
    assert!(!client.get(other.addr()).unwrap().resumed);
    one.stop();
    other.stop();
}
