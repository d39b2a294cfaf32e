//! A connection of the HTTP server: requests in, answers out, in their order.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Answer, HEAD_LIMIT, HttpRequest};
use super::{Reply, Responder, is_interruption};

/// How long a client may take for a request, from its connection or its first byte on.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may be idle after an answer.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long a client may take to receive a short answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A client of a long answer has a second more for so many bytes.
const ANSWER_RATE: usize = 64 * 1024;
/// A longer answer is the last of its turn.
const LONG_ANSWER: usize = 64 * 1024;
/// How long to wait for a client to close the connection after the last answer.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// The answers of one turn. The other connections have theirs before the next.
const ANSWERS_PER_TURN: u32 = 16;
/// What is read of a connection in one turn after its last answer, and thrown away.
const LINGER_READS: u32 = 16;

/// A stream that does not block.
pub(super) trait HttpStream: Read + Write {
    fn shut_down(&self, how: Shutdown) -> io::Result<()>;
}

impl HttpStream for mio::net::TcpStream {
    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

/// What a turn has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The stream blocks, or the answer waits.
    Waits,
    /// There is more to do; the stream does not report it.
    HasMore,
    /// The connection is over.
    Ended,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Connection<S, P> {
    stream: S,
    /// What has been read and not been answered, never more than [`HEAD_LIMIT`].
    input: Vec<u8>,
    stage: Stage<P>,
    deadline: Instant,
    /// When the client connected, or its last answer was written.
    idle_since: Instant,
}

#[derive(Debug)]
enum Stage<P> {
    /// A request is incomplete.
    Reading,
    /// The answer to a request waits for something.
    Waiting { pending: P, is_head: bool, keeps_alive: bool },
    Writing {
        head: String,
        /// Empty for HEAD.
        body: Arc<str>,
        written: usize,
        keeps_alive: bool,
    },
    /// The last answer is written. What the client still sends is read until it closes: otherwise the system
    /// would reset the connection, and the client might lose the answer.
    Lingering,
}

/// Why a turn does not go on.
enum Stop {
    Blocked,
    /// The other connections have their turn.
    HasMore,
    Ended,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        // Another error is a client that has gone: there is nothing to report.
        if error.kind() == io::ErrorKind::WouldBlock { Self::Blocked } else { Self::Ended }
    }
}

impl<S: HttpStream, P> Connection<S, P> {
    pub(super) fn new(stream: S, now: Instant) -> Self {
        let deadline = now + REQUEST_LIMIT;
        Self { stream, input: Vec::new(), stage: Stage::Reading, deadline, idle_since: now }
    }

    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// When [`advance`](Self::advance) is due, even if the stream does not report anything.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Since when it waits for a request, if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        matches!(self.stage, Stage::Reading | Stage::Lingering).then_some(self.idle_since)
    }

    /// Whether an answer waits for something.
    pub(super) fn pending(&self) -> Option<&P> {
        match &self.stage {
            Stage::Waiting { pending, .. } => Some(pending),
            _ => None,
        }
    }

    /// Does what can be done without blocking.
    pub(super) fn advance(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Progress {
        if now >= self.deadline && self.pending().is_none() {
            return Progress::Ended;
        }
        for _ in 0..ANSWERS_PER_TURN {
            match self.take_step(now, responder) {
                Ok(()) => {}
                Err(Stop::Blocked) => return Progress::Waits,
                Err(Stop::HasMore) => return Progress::HasMore,
                Err(Stop::Ended) => return Progress::Ended,
            }
        }
        Progress::HasMore
    }

    fn take_step(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Result<(), Stop> {
        match &mut self.stage {
            Stage::Reading => self.read_request(now, responder),
            Stage::Waiting { pending, is_head, keeps_alive } => {
                let is_due = now >= self.deadline;
                let answer = responder.resume(now, pending);
                let answer = answer.ok_or(if is_due { Stop::Ended } else { Stop::Blocked })?;
                let (is_head, keeps_alive) = (*is_head, *keeps_alive);
                self.begin_to_write(now, &answer, is_head, keeps_alive);
                Ok(())
            }
            Stage::Writing { .. } => self.write(now),
            Stage::Lingering => self.linger(),
        }
    }

    fn read_request(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Result<(), Stop> {
        loop {
            match HttpRequest::parse(&self.input) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    let HttpRequest { size, keeps_alive, .. } = request;
                    let is_head = request.method == "HEAD";
                    match responder.answer(now, &request) {
                        Reply::Now(answer) => self.begin_to_write(now, &answer, is_head, keeps_alive),
                        Reply::Later { pending, until } => {
                            self.stage = Stage::Waiting { pending, is_head, keeps_alive };
                            self.deadline = until;
                        }
                    }
                    self.input.drain(..size);
                    return Ok(());
                }
                Err(answer) => {
                    self.begin_to_write(now, &answer, false, false);
                    return Ok(());
                }
            }
            self.read_more(now)?;
        }
    }

    fn read_more(&mut self, now: Instant) -> Result<(), Stop> {
        let mut buffer = [0; HEAD_LIMIT];
        let room = HEAD_LIMIT - self.input.len();
        let length = match self.stream.read(&mut buffer[..room]) {
            Ok(0) => return Err(Stop::Ended),
            Ok(length) => length,
            Err(error) if is_interruption(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if self.input.is_empty() {
            self.deadline = now + REQUEST_LIMIT;
        }
        self.input.extend_from_slice(&buffer[..length]);
        Ok(())
    }

    fn begin_to_write(&mut self, now: Instant, answer: &Answer, is_head: bool, keeps_alive: bool) {
        let body = if is_head { "".into() } else { Arc::clone(answer.body()) };
        self.deadline = now + answer_limit(body.len());
        self.stage = Stage::Writing { head: answer.head(keeps_alive), body, written: 0, keeps_alive };
    }

    fn write(&mut self, now: Instant) -> Result<(), Stop> {
        let Stage::Writing { head, body, written, keeps_alive } = &mut self.stage else { return Ok(()) };
        let (keeps_alive, is_long) = (*keeps_alive, body.len() > LONG_ANSWER);
        while *written < head.len() + body.len() {
            let rest_of_head = head.as_bytes().get(*written..).unwrap_or_default();
            let rest_of_body = &body.as_bytes()[written.saturating_sub(head.len())..];
            // One call: a client that delays acknowledgements would wait for the body.
            match self.stream.write_vectored(&[IoSlice::new(rest_of_head), IoSlice::new(rest_of_body)]) {
                Ok(0) => return Err(Stop::Ended),
                Ok(length) => *written += length,
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.idle_since = now;
        if keeps_alive {
            self.stage = Stage::Reading;
            self.deadline = now + if self.input.is_empty() { IDLE_LIMIT } else { REQUEST_LIMIT };
        } else {
            // Closing is not enough: on Windows a child that is being started holds the connection too.
            self.stream.shut_down(Shutdown::Write)?;
            self.stage = Stage::Lingering;
            self.deadline = now + LINGER_LIMIT;
        }
        if is_long { Err(Stop::HasMore) } else { Ok(()) }
    }

    fn linger(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; HEAD_LIMIT];
        for _ in 0..LINGER_READS {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Stop::Ended),
                Ok(_) => {}
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// How long a client may take to receive an answer of this length.
fn answer_limit(length: usize) -> Duration {
    let more = u64::try_from(length / ANSWER_RATE).unwrap_or(u64::MAX);
    ANSWER_LIMIT.saturating_add(Duration::from_secs(more))
}

#[cfg(test)]
mod tests;
