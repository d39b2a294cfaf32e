//! Commands by the control socket, each of which has to be answered.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fleet::BOUND;

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Command {
    target: String,
    answer: JoinHandle<String>,
}

impl Command {
    /// Sends `POST target`; `None` if nobody listens.
    pub(crate) fn send(socket: &Path, target: &str) -> Option<Self> {
        let mut stream = ask(socket, "POST", target)?;
        let answer = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What has arrived before an error tells enough.
            let _ = stream.set_read_timeout(Some(BOUND)).and_then(|()| stream.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Some(Self { target: target.to_owned(), answer })
    }

    /// Waits until it is answered. The error is what came in place of an answer.
    pub(crate) fn end(self) -> Result<String, String> {
        let Self { target, answer } = self;
        let start = Instant::now();
        while !answer.is_finished() && start.elapsed() <= BOUND {
            thread::sleep(Duration::from_millis(5));
        }
        if !answer.is_finished() {
            return Err(format!("POST {target} has no answer after {BOUND:?}"));
        }
        let text = answer.join().unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim_end());
        if body.starts_with("{\"operation\":") && body.ends_with('}') {
            Ok(format!("POST {target}: {body}"))
        } else {
            Err(format!("POST {target} was answered with {text:?}"))
        }
    }
}

/// Clients that follow the events, and read nothing.
pub(crate) fn follow(socket: &Path, count: usize) -> Vec<UnixStream> {
    (0..count).filter_map(|_| ask(socket, "GET", "/events")).collect()
}

fn ask(socket: &Path, method: &str, target: &str) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!("{method} {target} HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    Some(stream)
}
