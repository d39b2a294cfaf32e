//! Serve functions that take certificate and key: both reach them, and the master checks both before the
//! first child.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use prefork_tests::fleet::Server;
use prefork_tests::tls::{TestCertificate, TlsClient};

const CERT_KEY_SERVER: &str = env!("CARGO_BIN_EXE_cert_key_server");

/// Creates a file beside the certificate.
fn file_beside(certificate: &TestCertificate, name: &str, content: &str) -> PathBuf {
    let path = certificate.file(name);
    fs::write(&path, content).unwrap();
    path
}

fn server(form: &str, cert: &Path, key: &Path) -> Server {
    Server::new(CERT_KEY_SERVER).set("form", form).set("cert", cert.display()).set("key", key.display())
}

fn check_clients_get_certificate(form: &str) {
    let certificate = TestCertificate::new();
    let fleet = server(form, &certificate.cert(), &certificate.key()).start();
    let client = TlsClient::new(&[&certificate], None);
    let response = client.get(fleet.addr()).unwrap();
    assert!(fleet.first_children().contains(&response.pid), "{response:?}");
    assert_eq!(response.cert, certificate.der());
    let other_client = TlsClient::new(&[&TestCertificate::new()], None);
    let refused = other_client.get(fleet.addr()).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "a client that trusts another certificate: {refused}");
    fleet.replace(&fleet.first_children());
    client.get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn certificate_files_reach_serve_function_and_clients() {
    check_clients_get_certificate("files");
}

#[test]
fn embedded_certificate_reaches_serve_function_and_clients() {
    check_clients_get_certificate("embedded");
}

#[test]
fn unusable_certificate_files_are_refused_by_name() {
    let ours = TestCertificate::new();
    let other = TestCertificate::new();
    let (cert, key) = (ours.cert(), ours.key());
    let missing = ours.file("missing.pem");
    let directory = ours.cert().parent().unwrap().to_owned();
    let empty = file_beside(&ours, "empty.pem", "");
    let rubbish = file_beside(&ours, "rubbish.pem", "-----BEGIN CERTIFICATE-----\nrubbish");
    let hollow =
        file_beside(&ours, "hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let refused = |cert: &Path, key: &Path, at_fault: &Path, reason: &str| {
        let outcome = server("files", cert, key).run();
        outcome.assert_refused(&at_fault.display().to_string());
        outcome.assert_refused(reason);
    };
    refused(&missing, &key, &missing, "cannot be read");
    refused(&cert, &missing, &missing, "cannot be read");
    refused(&directory, &key, &directory, "cannot be read");
    refused(&cert, &directory, &directory, "cannot be read");
    refused(&empty, &key, &empty, "no certificate");
    refused(&cert, &empty, &empty, "no private key");
    refused(&rubbish, &key, &rubbish, "certificate");
    refused(&hollow, &key, &hollow, "certificate");
    refused(&key, &cert, &key, "no certificate");
    refused(&cert, &other.key(), &other.key(), "does not belong to");
}

#[test]
fn unusable_embedded_certificates_are_refused() {
    let ours = TestCertificate::new();
    let other = TestCertificate::new();
    let (cert, key) = (ours.cert(), ours.key());
    let empty = file_beside(&ours, "empty.pem", "");
    let refused = |cert: &Path, key: &Path, reason: &str| {
        let outcome = server("embedded", cert, key).run();
        outcome.assert_refused("embedded");
        outcome.assert_refused(reason);
    };
    refused(&empty, &key, "no certificate");
    refused(&cert, &empty, "no private key");
    refused(&key, &cert, "no certificate");
    refused(&cert, &other.key(), "does not belong to");
}

#[test]
fn cert_argument_without_certificate_is_refused() {
    let ours = TestCertificate::new();
    server("forgotten", &ours.cert(), &ours.key()).run().assert_refused("listen_and_serve_tls");
}
