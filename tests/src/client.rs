//! A blocking HTTP client that reports why a request failed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::load::{self, LoadClient};
use crate::wait;

/// A request that was sent and whose answer is not complete.
#[derive(Debug)]
pub struct PendingRequest {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// Connects and sends a request; does not wait for the answer.
///
/// # Errors
///
/// Errors of connecting and sending.
pub fn send(addr: SocketAddr, path: &str) -> io::Result<PendingRequest> {
    let mut stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    Ok(PendingRequest { stream, answer: Vec::new() })
}

/// Sends a request and waits for the head of the answer. The request is then in flight: a child has
/// accepted its connection.
pub fn begin(addr: SocketAddr, path: &str) -> PendingRequest {
    let mut request = send(addr, path).unwrap_or_else(|error| panic!("cannot send {path}: {error}"));
    while !request.answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut byte = [0];
        let length = request.stream.read(&mut byte).expect("the answer can be read");
        assert_ne!(length, 0, "{path}: the connection was closed before the answer began");
        request.answer.extend(byte);
    }
    request
}

/// [`begin`] for `count` requests.
pub fn begin_many(addr: SocketAddr, path: &str, count: usize) -> Vec<PendingRequest> {
    (0..count).map(|_| begin(addr, path)).collect()
}

/// Waits for the answers to all requests; panics if one is not complete. Returns the bodies.
pub fn finish_all(requests: Vec<PendingRequest>) -> Vec<String> {
    let finish = |request: PendingRequest| request.finish().unwrap_or_else(|error| panic!("{error}"));
    requests.into_iter().map(finish).collect()
}

impl PendingRequest {
    /// The pid of the process that answers. The head of the answer must have been read.
    pub fn pid(&self) -> u32 {
        let answer = String::from_utf8_lossy(&self.answer);
        let pid = answer.lines().find_map(|line| line.strip_prefix("X-Pid: "));
        pid.expect("a head with X-Pid").parse().expect("a pid")
    }

    /// Waits for the complete answer; returns its body.
    ///
    /// # Errors
    ///
    /// Errors of reading; [`io::ErrorKind::UnexpectedEof`] if the answer is not complete.
    pub fn finish(mut self) -> io::Result<String> {
        self.stream.read_to_end(&mut self.answer)?;
        let answer = String::from_utf8_lossy(&self.answer);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        match body.and_then(|body| body.strip_suffix('\n')) {
            Some(body) => Ok(body.to_owned()),
            None => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("incomplete answer: {answer:?}")))
            }
        }
    }
}

/// Sends `GET path`; returns the body of the answer.
///
/// # Errors
///
/// As [`send`] and [`PendingRequest::finish`].
pub fn try_get(addr: SocketAddr, path: &str) -> io::Result<String> {
    send(addr, path)?.finish()
}

/// Sends `GET path` over a connected stream of any kind; returns the body of the answer.
///
/// # Errors
///
/// Errors of sending and reading; [`io::ErrorKind::UnexpectedEof`] if there is no body.
pub fn get_over(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim_end().to_owned());
    body.filter(|body| !body.is_empty()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Sends `request` unchanged; returns the complete answer.
///
/// # Errors
///
/// Errors of the connection.
pub fn exchange(addr: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The status of the answer to `GET path`.
///
/// # Errors
///
/// As [`send`], and errors of reading.
pub fn status(addr: SocketAddr, path: &str) -> io::Result<u16> {
    let mut answer = String::new();
    send(addr, path)?.stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no status: {answer:?}")))
}

/// [`try_get`] that panics on failure.
pub fn get(addr: SocketAddr, path: &str) -> String {
    try_get(addr, path).unwrap_or_else(|error| panic!("GET {path} at {addr}: {error}"))
}

/// Sends `GET /`; returns the pid of the process that answers.
pub fn serving_pid(addr: SocketAddr) -> u32 {
    get(addr, "/").parse().expect("the body is a pid")
}

/// Whether a connection to `addr` is refused.
pub fn is_refused(addr: SocketAddr) -> bool {
    let connected = TcpStream::connect_timeout(&addr, wait::LIMIT);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The outcomes of many requests.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// The number of answers with each body.
    pub answers: BTreeMap<String, usize>,
    /// The number of failures with each reason.
    pub failures: BTreeMap<String, usize>,
}

impl Tally {
    /// Adds one outcome.
    pub fn count(&mut self, outcome: io::Result<String>) {
        let (counts, key) = match outcome {
            Ok(body) => (&mut self.answers, body),
            Err(error) => (&mut self.failures, error.to_string()),
        };
        *counts.entry(key).or_default() += 1;
    }

    /// The number of answered requests.
    pub fn answered(&self) -> usize {
        self.answers.values().sum()
    }

    /// Panics unless at least one request was sent and each one was answered.
    pub fn assert_all_answered(&self) {
        assert!(self.failures.is_empty(), "{self:?}");
        assert!(self.answered() > 0, "no request was sent: {self:?}");
    }

    /// The sum of two tallies.
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

/// Sends `GET path` again and again from `clients` threads while `meanwhile` runs.
pub fn under_load(addr: SocketAddr, path: &'static str, clients: usize, meanwhile: impl FnOnce()) -> Tally {
    let client = || -> LoadClient { Box::new(move || try_get(addr, path)) };
    load::run((0..clients).map(|_| client()).collect(), meanwhile)
}
