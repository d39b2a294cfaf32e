//! A client of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::fleet::Server;
use crate::program::public_directory;
use crate::wait;

/// The path of a control socket, in a directory of its own.
#[derive(Debug)]
pub struct ControlPath(TempDir);

impl Default for ControlPath {
    fn default() -> Self {
        Self(public_directory())
    }
}

impl ControlPath {
    /// Where the socket is.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("control")
    }

    /// A server that opens it.
    pub fn of(&self, server: Server) -> Server {
        server.env("PREFORK_CONTROL", self.path().to_str().expect("a path in UTF-8"))
    }

    /// Sends a request; returns the answer.
    pub fn ask(&self, method: &str, target: &str) -> Answer {
        self.begin(method, target, "").answer()
    }

    /// `POST target`.
    pub fn post(&self, target: &str) -> Answer {
        self.ask("POST", target)
    }

    /// `GET target`.
    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target)
    }

    /// Sends a request with further fields, and does not wait for the answer.
    pub fn begin(&self, method: &str, target: &str, fields: &str) -> Asked {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
        let stream = connect(&self.path()).expect("the control socket accepts");
        (&stream).write_all(request.as_bytes()).expect("the request can be sent");
        Asked(stream)
    }
}

/// A connection to a control socket.
///
/// # Errors
///
/// Errors of connecting.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    Ok(stream)
}

/// A request without an answer.
#[derive(Debug)]
pub struct Asked(UnixStream);

impl Asked {
    /// Waits for the answer.
    pub fn answer(mut self) -> Answer {
        let mut text = String::new();
        self.0.read_to_string(&mut text).expect("the answer can be read");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("{text:?}")), body: unchunked(head, body) }
    }

    /// The lines of an answer in chunks, as they arrive.
    pub fn lines(self) -> impl Iterator<Item = String> {
        let lines = BufReader::new(self.0).lines().map(|line| line.expect("the answer can be read"));
        lines.filter(|line| line.starts_with('{'))
    }

    /// Sends nothing more, but waits.
    pub fn close_own_half(&self) {
        self.0.shutdown(Shutdown::Write).expect("it is open");
    }
}

fn unchunked(head: &str, body: &str) -> String {
    if !head.contains("Transfer-Encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut text) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(size, 16).expect("a size is a number");
        if size == 0 {
            assert_eq!(after, "\r\n", "nothing follows the last chunk");
            return text;
        }
        text += &after[..size];
        rest = after[size..].strip_prefix("\r\n").expect("a chunk has an end");
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, without chunks.
    pub body: String,
}

impl Answer {
    /// Whether the operation has ended with this result, according to the body and to the status.
    pub fn is(&self, status: u16, result: &str) -> bool {
        self.status == status && self.says(&format!("\"result\":\"{result}\""))
    }

    /// Whether the body contains a text.
    pub fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}
