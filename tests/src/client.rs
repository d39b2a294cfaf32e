//! A small blocking client that knows why a request failed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::load::{self, Client};
use crate::wait;

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// Connects and sends a request, and does not wait for anything.
///
/// # Errors
///
/// Whatever connecting or sending met.
pub fn send(addr: SocketAddr, path: &str) -> io::Result<Request> {
    let mut stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    Ok(Request { stream, answer: Vec::new() })
}

/// Sends a request and waits until a child has begun to answer it: it is in flight then.
pub fn begin(addr: SocketAddr, path: &str) -> Request {
    let mut request = send(addr, path).unwrap_or_else(|error| panic!("cannot send {path}: {error}"));
    while !request.answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut byte = [0];
        let length = request.stream.read(&mut byte).expect("an answer begins");
        assert_ne!(length, 0, "{path}: the connection was closed before the answer began");
        request.answer.extend(byte);
    }
    request
}

impl Request {
    /// The process that answers; known once the answer has begun.
    pub fn pid(&self) -> u32 {
        let answer = String::from_utf8_lossy(&self.answer);
        let pid = answer.lines().find_map(|line| line.strip_prefix("X-Pid: "));
        pid.expect("the answer has begun").parse().expect("a pid")
    }

    /// Waits for the whole answer; returns its body.
    ///
    /// # Errors
    ///
    /// Whatever reading met; [`io::ErrorKind::UnexpectedEof`] if the answer was cut short.
    pub fn finish(mut self) -> io::Result<String> {
        self.stream.read_to_end(&mut self.answer)?;
        let answer = String::from_utf8_lossy(&self.answer);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        match body.and_then(|body| body.strip_suffix('\n')) {
            Some(body) => Ok(body.to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("cut short: {answer:?}"))),
        }
    }
}

/// Asks for `path`; returns the body of the answer.
///
/// # Errors
///
/// As [`send`] and [`Request::finish`].
pub fn try_get(addr: SocketAddr, path: &str) -> io::Result<String> {
    send(addr, path)?.finish()
}

/// The status of the answer to `GET path`.
///
/// # Errors
///
/// As [`send`], and whatever reading met.
pub fn status(addr: SocketAddr, path: &str) -> io::Result<u16> {
    let mut answer = String::new();
    send(addr, path)?.stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no status: {answer:?}")))
}

/// [`try_get`] where a failure fails the test.
pub fn get(addr: SocketAddr, path: &str) -> String {
    try_get(addr, path).unwrap_or_else(|error| panic!("GET {path} at {addr}: {error}"))
}

/// The process that answers a request now.
pub fn serving_pid(addr: SocketAddr) -> u32 {
    get(addr, "/").parse().expect("the body is a pid")
}

/// Whether nobody listens: a connection is refused.
pub fn is_refused(addr: SocketAddr) -> bool {
    let connected = TcpStream::connect_timeout(&addr, wait::LIMIT);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What became of many requests.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Bodies of the answers, and how often each came.
    pub answers: BTreeMap<String, usize>,
    /// Reasons of the failures, and how often each came.
    pub failures: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, outcome: io::Result<String>) {
        let (counts, key) = match outcome {
            Ok(body) => (&mut self.answers, body),
            Err(error) => (&mut self.failures, error.to_string()),
        };
        *counts.entry(key).or_default() += 1;
    }

    /// How many requests were answered.
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    /// Checks that there were requests, and that each was answered.
    pub fn assert_unnoticed(&self) {
        assert!(self.failures.is_empty(), "{self:?}");
        assert!(self.answered() > 0, "no load: {self:?}");
    }

    /// The counts of both.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        for (body, count) in other.answers {
            *self.answers.entry(body).or_default() += count;
        }
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self
    }
}

/// Keeps asking for `path` from `clients` threads while `meanwhile` runs.
pub fn under_load(addr: SocketAddr, path: &'static str, clients: usize, meanwhile: impl FnOnce()) -> Tally {
    let client = || -> Client { Box::new(move || try_get(addr, path)) };
    load::of((0..clients).map(|_| client()).collect(), meanwhile)
}
