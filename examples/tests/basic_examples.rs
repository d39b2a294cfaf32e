//! Every example, as a newcomer would run it: started, asked, stopped.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::wait;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Starts an example, and waits until it is ready.
fn start(name: &str) -> RunningFleet {
    Server::example(name).start()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    stream
}

/// Sends a request over a connection and returns the body of the answer.
fn ask(mut connection: impl Read + Write) -> String {
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = format!("content-length: {}", body.len());
    assert!(head.to_lowercase().lines().any(|line| line == length), "no {length} in {head}");
    body.to_owned()
}

fn get(fleet: &RunningFleet) -> String {
    ask(connect(fleet.addr()))
}

/// As `get`, with a client that trusts nothing but the examples' certificate.
fn get_over_tls(fleet: &RunningFleet) -> String {
    let pem = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    ask(StreamOwned::new(tls, connect(fleet.addr())))
}

/// Checks that a child of the fleet gave the answer, and nobody else.
fn assert_from_a_child(fleet: &RunningFleet, answer: &str) {
    let pid = answer.strip_prefix("hello from process ").unwrap_or_else(|| panic!("{answer}"));
    let digits = pid.find(|c: char| !c.is_ascii_digit()).unwrap_or(pid.len());
    let pid: u32 = pid[..digits].parse().unwrap();
    assert!(fleet.children().contains(&pid), "{pid} is no child of {}", fleet.master());
}

#[test]
fn hello() {
    let fleet = start("hello");
    assert_from_a_child(&fleet, &get(&fleet));
    fleet.stop();
}

#[test]
fn builder() {
    let fleet = start("builder");
    let master = fleet.master();
    assert_from_a_child(&fleet, &get(&fleet));
    fleet.console.wait_for("on_master_ready: [");
    let lines = fleet.stop();
    let goodbyes = lines.iter().filter(|line| line.ends_with("says goodbye"));
    assert!(goodbyes.eq([&format!("process {master} says goodbye")]), "{lines:#?}");
}

#[test]
fn reuseport() {
    let fleet = start("reuseport");
    assert_eq!(fleet.children().len(), 4);
    #[cfg(unix)]
    assert_eq!(
        prefork_tests::proc::listening_inodes(fleet.addr().port()).len(),
        4,
        "a socket for each child"
    );
    let answer = get(&fleet);
    assert_from_a_child(&fleet, &answer);
    assert!(answer.ends_with(" of 4\n"), "{answer}");
    fleet.stop();
}

#[test]
fn hooks() {
    let fleet = start("hooks");
    let children = fleet.first_children();
    let answer = get(&fleet);
    assert_from_a_child(&fleet, &answer);
    assert!(answer.contains("child number 1") || answer.contains("child number 2"), "{answer}");
    fleet.console.wait_for(&format!("on_master_ready: {children:?} serve"));
    let victim = children[0];
    let now = fleet.replace(&[victim]);
    let new = now.iter().find(|pid| !children.contains(pid)).unwrap();
    fleet.console.wait_for(&format!("on_child_recover: {new} replaces {victim}"));
    for pid in children.iter().chain([new]) {
        fleet.console.wait_for(&format!("on_child_spawn: {pid}"));
    }
    fleet.stop();
}

#[test]
fn tls_files() {
    let fleet = start("tls_files");
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    fleet.stop();
}

#[test]
fn tls_embedded() {
    let fleet = start("tls_embedded");
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    fleet.stop();
}

#[test]
fn tls_rustls() {
    let fleet = start("tls_rustls");
    // A client that never begins its handshake keeps nobody waiting, a stop included.
    let silent = connect(fleet.addr());
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    drop(silent);
    fleet.stop();
}

#[test]
fn axum() {
    let fleet = start("axum");
    assert_from_a_child(&fleet, &get(&fleet));
    // An idle connection does not hold up a graceful shutdown.
    let idle = connect(fleet.addr());
    fleet.stop();
    drop(idle);
}
