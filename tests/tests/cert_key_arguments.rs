//! TLS: certificate and key reach the server, certificate first, and are checked before any child.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prefork_tests::fleet::Server;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

const CERT_KEY_SERVER: &str = env!("CARGO_BIN_EXE_cert_key_server");

/// A certificate for `localhost` that vouches for itself, and its key.
struct TestCertificate {
    der: CertificateDer<'static>,
    cert: PathBuf,
    key: PathBuf,
    directory: TempDir,
}

impl TestCertificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { der: made.cert.der().clone(), cert, key, directory }
    }

    fn server(&self, form: &str) -> Server {
        server(form, &self.cert, &self.key)
    }

    /// A file beside the certificate.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn server(form: &str, cert: &Path, key: &Path) -> Server {
    Server::new(CERT_KEY_SERVER).set("form", form).set("cert", cert.display()).set("key", key.display())
}

/// Asks for `/` as a client that trusts `root` and nobody else; returns the answer.
fn get(addr: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<String> {
    use std::io::{Error, Read, Write};
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(addr)?);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn serves_the_certificate(form: &str) {
    let identity = TestCertificate::new();
    let fleet = identity.server(form).start();
    let answer = get(fleet.addr(), &identity.der).unwrap();
    let pid = answer.trim_end().rsplit('\n').next().unwrap().parse().unwrap();
    assert!(fleet.first_children().contains(&pid), "{answer}");
    let stranger = TestCertificate::new();
    let refused = get(fleet.addr(), &stranger.der).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "a client that trusts another: {refused}");
    fleet.replace(&fleet.first_children());
    get(fleet.addr(), &identity.der).unwrap();
    fleet.stop();
}

#[test]
fn a_certificate_from_files_is_what_clients_see() {
    serves_the_certificate("files");
}

#[test]
fn an_embedded_certificate_is_what_clients_see() {
    serves_the_certificate("embedded");
}

#[test]
fn material_that_cannot_be_is_refused_and_the_file_at_fault_is_named() {
    let ours = TestCertificate::new();
    let other = TestCertificate::new();
    let missing = ours.directory.path().join("missing.pem");
    let directory = ours.directory.path().to_owned();
    let empty = ours.file("empty.pem", "");
    let rubbish = ours.file("rubbish.pem", "-----BEGIN CERTIFICATE-----\nrubbish");
    let hollow = ours.file("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let refused = |cert: &Path, key: &Path, at_fault: &Path, reason: &str| {
        let outcome = server("files", cert, key).run();
        outcome.assert_refused(&at_fault.display().to_string());
        outcome.assert_refused(reason);
    };
    refused(&missing, &ours.key, &missing, "cannot be read");
    refused(&ours.cert, &missing, &missing, "cannot be read");
    refused(&directory, &ours.key, &directory, "cannot be read");
    refused(&ours.cert, &directory, &directory, "cannot be read");
    refused(&empty, &ours.key, &empty, "no certificate");
    refused(&ours.cert, &empty, &empty, "no private key");
    refused(&rubbish, &ours.key, &rubbish, "certificate");
    refused(&hollow, &ours.key, &hollow, "certificate");
    refused(&ours.key, &ours.cert, &ours.key, "no certificate");
    refused(&ours.cert, &other.key, &other.key, "does not belong to");
}

#[test]
fn embedded_material_that_cannot_be_is_refused() {
    let ours = TestCertificate::new();
    let other = TestCertificate::new();
    let empty = ours.file("empty.pem", "");
    let refused = |cert: &Path, key: &Path, reason: &str| {
        let outcome = server("embedded", cert, key).run();
        outcome.assert_refused("embedded");
        outcome.assert_refused(reason);
    };
    refused(&empty, &ours.key, "no certificate");
    refused(&ours.cert, &empty, "no private key");
    refused(&ours.key, &ours.cert, "no certificate");
    refused(&ours.cert, &other.key, "does not belong to");
}

#[test]
fn a_serve_function_that_takes_a_certificate_needs_one() {
    let ours = TestCertificate::new();
    ours.server("forgotten").run().assert_refused("listen_and_serve_tls");
}
