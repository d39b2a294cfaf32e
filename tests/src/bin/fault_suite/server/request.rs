//! Requests, answers, and the records of connections.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;
use std::{io, process, thread};

use prefork_tests::accepts::{AcceptLog, Stage};
use prefork_tests::{app, link_attack};

static LOG: LazyLock<Option<AcceptLog>> =
    LazyLock::new(|| app::option("accepts").and_then(|path| AcceptLog::open(path).ok()));

/// A connection that this process has accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted(u16);

impl Accepted {
    /// Records the connection from `peer`. To be called right after `accept`.
    pub(super) fn from(peer: SocketAddr) -> Self {
        let connection = Self(peer.port());
        connection.record(Stage::Accepted);
        connection
    }

    pub(super) fn record(self, stage: Stage) {
        if let Some(log) = &*LOG {
            log.record(self.0, stage);
        }
    }
}

/// Opens the file of records, while there are descriptors.
pub(super) fn prepare() {
    LazyLock::force(&LOG);
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Answer(String),
    AnswerAfter(Duration, String),
    Hang,
    /// It was done.
    Fault,
}

/// Does what the path asks for, except for what depends on the form of the server.
pub(super) fn begin(path: &str) -> Request {
    let words: Vec<&str> = path.split('/').skip(1).collect();
    let done = match words[..] {
        ["r", id] => return Request::Answer(id.to_owned()),
        ["slow", delay, id] => {
            let delay = Duration::from_millis(delay.parse().unwrap_or(0));
            return Request::AnswerAfter(delay, id.to_owned());
        }
        ["hang"] => return Request::Hang,
        ["abort"] => process::abort(),
        ["exit", status] => process::exit(status.parse().unwrap_or(2)),
        ["flood"] => link_attack::flood(),
        ["close"] => link_attack::close(),
        ["descriptors"] => link_attack::send_descriptors(),
        _ => {
            assert_ne!(path, "/panic", "a request panics, on request");
            Err(io::ErrorKind::NotFound.into())
        }
    };
    match done {
        Ok(()) => Request::Fault,
        Err(error) => Request::Answer(error.to_string()),
    }
}

/// A complete answer.
pub(super) fn answer(id: &str, last: bool) -> Vec<u8> {
    let connection = if last { "close" } else { "keep-alive" };
    let (pid, length) = (process::id(), id.len() + 1);
    format!(
        "HTTP/1.1 200 OK\r\nConnection: {connection}\r\nX-Pid: {pid}\r\nContent-Length: {length}\r\n\r\n{id}\n"
    )
    .into_bytes()
}

/// The pause after an error of `accept`: descriptors may have run out. The connection stays in the queue.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Waits for ever.
pub(super) fn hang() -> ! {
    loop {
        thread::park();
    }
}
