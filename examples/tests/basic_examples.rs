//! Each example is started, gets a request, and is stopped.
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
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Starts an example and waits until it is ready.
fn start(name: &str) -> RunningFleet {
    Server::example(name).start()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    stream
}

/// Sends a request over a connection; returns the body of the answer.
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

/// `get` with a client that trusts the certificate of the examples only.
fn get_over_tls(fleet: &RunningFleet) -> String {
    let pem = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    ask(StreamOwned::new(tls, connect(fleet.addr())))
}

/// Panics unless the answer comes from a child of the fleet.
fn assert_from_a_child(fleet: &RunningFleet, answer: &str) {
    let pid = answer.strip_prefix("hello from process ").unwrap_or_else(|| panic!("{answer}"));
    let digits = pid.find(|c: char| !c.is_ascii_digit()).unwrap_or(pid.len());
    let pid: u32 = pid[..digits].parse().unwrap();
    assert!(fleet.children().contains(&pid), "{pid} is not a child of {}", fleet.master());
}

#[test]
fn hello_answers_from_child() {
    let fleet = start("hello");
    assert_from_a_child(&fleet, &get(&fleet));
    fleet.stop();
}

#[test]
fn builder_example_returns_to_main_of_master_only() {
    let fleet = start("builder");
    let master = fleet.master();
    assert_from_a_child(&fleet, &get(&fleet));
    fleet.console.wait_for("on_master_ready: [");
    let lines = fleet.stop();
    let goodbyes = lines.iter().filter(|line| line.ends_with("says goodbye"));
    assert!(goodbyes.eq([&format!("process {master} says goodbye")]), "{lines:#?}");
}

#[test]
fn reuseport_example_has_socket_per_child() {
    // Its attribute has 4 workers, which a variable would override.
    let mut server = Server::example("reuseport");
    server.command.env_remove("PREFORK_WORKERS");
    let fleet = server.start();
    assert_eq!(fleet.children().len(), 4);
    // The kernel's list of sockets may miss some while others come and go.
    #[cfg(unix)]
    wait::until("a socket for each child", || {
        prefork_tests::proc::listening_inodes(fleet.addr().port()).len() == 4
    });
    let answer = get(&fleet);
    assert_from_a_child(&fleet, &answer);
    assert!(answer.ends_with(" of 4\n"), "{answer}");
    fleet.stop();
}

#[test]
fn hooks_example_runs_every_hook() {
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
fn tls_files_answers_over_tls() {
    let fleet = start("tls_files");
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    fleet.stop();
}

#[test]
fn tls_embedded_answers_over_tls() {
    let fleet = start("tls_embedded");
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    fleet.stop();
}

#[test]
fn tls_rustls_with_silent_client_answers_and_stops() {
    let fleet = start("tls_rustls");
    // A client without a handshake delays neither other clients nor the stop.
    let silent = connect(fleet.addr());
    assert_from_a_child(&fleet, &get_over_tls(&fleet));
    drop(silent);
    fleet.stop();
}

#[test]
fn axum_with_idle_connection_answers_and_stops() {
    let fleet = start("axum");
    assert_from_a_child(&fleet, &get(&fleet));
    // An idle connection does not delay the stop.
    let idle = connect(fleet.addr());
    fleet.stop();
    drop(idle);
}

#[test]
fn search_index_is_built_once_for_all_children() {
    let fleet = Server::example("search_index").env("DOCUMENTS", "100").start();
    let first = fleet.first_children();
    let search = |words: &str| client::get(fleet.addr(), &format!("/?q={words}"));
    let answer = search("w0");
    let (number, pid) = answer.split_once(" documents, says process ").unwrap_or_else(|| panic!("{answer}"));
    assert!((1..=100).contains(&number.parse::<u32>().unwrap()), "{answer}");
    let pid: u32 = pid.split_once('\n').unwrap().0.parse().unwrap();
    assert!(fleet.children().contains(&pid), "{pid} is not a child of {}", fleet.master());
    assert!(search("w0+no-such-word").starts_with("0 documents,"));
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    fleet.wait_for_children(2, &first);
    assert!(search("w0").starts_with(&format!("{number} documents,")));
    fleet.stop();
}

#[test]
fn search_index_that_cannot_be_built_ends_the_start() {
    let fleet = Server::example("search_index").env("DOCUMENTS", "many").launch();
    let outcome = fleet.expect_end();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    assert!(outcome.stderr.iter().any(|line| line.contains("DOCUMENTS=many")), "{outcome:#?}");
}
