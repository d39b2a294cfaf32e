//! The first programs of the README: clients that reset their connections end no child.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use prefork_tests::fleet::Server;
use prefork_tests::wait;
use socket2::SockRef;

/// Sends `bytes`, and resets the connection.
fn reset_after(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    stream.write_all(bytes).unwrap();
}

/// Whether the server answers a request.
fn is_served(addr: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 OK\r\n")
}

/// Under wine `accept` fails for a connection that was reset, with an error after which axum waits a second.
const ROUNDS: u32 = if cfg!(windows) { 3 } else { 100 };

fn assert_survives_resets(example: &str) {
    let fleet = Server::example(example).start();
    let children = fleet.children();
    for _ in 0..ROUNDS {
        for bytes in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: test\r\n\r\n"] {
            reset_after(fleet.addr(), bytes.as_bytes());
        }
    }
    for _ in 0..10 {
        assert!(is_served(fleet.addr()));
    }
    assert_eq!(fleet.children(), children, "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn std_server_survives_resets() {
    assert_survives_resets("hello");
}

#[test]
fn axum_server_survives_resets() {
    assert_survives_resets("axum");
}
