//! A connection of the HTTP server: requests in, answers out, in their order.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Answer, HEAD_LIMIT, HttpRequest, stream_head};
use super::{HttpStream, Part, Reply, Responder, is_interruption};
use crate::sys::Peer;

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
/// How long a stream may have nothing to say.
const STREAM_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The answers of one turn. The other connections have theirs before the next.
const ANSWERS_PER_TURN: u32 = 16;
/// What is read of a connection in one turn after its last answer, and thrown away.
const LINGER_READS: u32 = 16;

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
pub(in crate::master) struct Connection<S, P> {
    stream: S,
    /// What has been read and not been answered, never more than [`HEAD_LIMIT`].
    input: Vec<u8>,
    stage: Stage<P>,
    deadline: Instant,
    /// When the client connected, or its last answer was written.
    idle_since: Instant,
    peer: Option<Peer>,
    /// Whether the client has closed the connection, and not only its own half of it.
    hung_up: bool,
}

/// A request that has no answer yet, as another program can go on with it.
#[derive(Debug)]
pub(in crate::master) enum Unanswered<'a, P> {
    /// What has been read of it.
    Reading(&'a [u8]),
    Waiting {
        pending: &'a P,
        keeps_alive: bool,
    },
    Streaming {
        pending: &'a P,
        chunked: bool,
    },
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
    /// The answer has parts; `text` is the present one.
    Streaming { pending: P, chunked: bool, text: String, written: usize, ends: bool },
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
    pub(in crate::master) fn new(stream: S, now: Instant) -> Self {
        let deadline = now + REQUEST_LIMIT;
        let peer = stream.peer();
        let stage = Stage::Reading;
        Self { stream, input: Vec::new(), stage, deadline, idle_since: now, peer, hung_up: false }
    }

    /// One that gets an answer before it has sent a request.
    pub(super) fn refused(stream: S, answer: &Answer, now: Instant) -> Self {
        let mut connection = Self::new(stream, now);
        connection.begin_to_write(now, answer, false, false);
        connection
    }

    /// One of which another program has read this.
    pub(in crate::master) fn with_input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self.input.truncate(HEAD_LIMIT);
        self
    }

    /// One whose request another program has read, but not answered.
    pub(in crate::master) fn with_waiting(mut self, now: Instant, pending: P, keeps_alive: bool) -> Self {
        self.stage = Stage::Waiting { pending, is_head: false, keeps_alive };
        self.deadline = now + STREAM_LIMIT;
        self
    }

    /// One whose answer another program has begun.
    pub(in crate::master) fn with_stream(mut self, now: Instant, pending: P, chunked: bool) -> Self {
        self.stage = Stage::Streaming { pending, chunked, text: String::new(), written: 0, ends: false };
        self.deadline = now + STREAM_LIMIT;
        self
    }

    pub(in crate::master) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What another program would have to go on with; `None` if it cannot, because an answer is partly sent.
    pub(in crate::master) fn unanswered(&self) -> Option<Unanswered<'_, P>> {
        Some(match &self.stage {
            Stage::Reading => Unanswered::Reading(&self.input),
            Stage::Waiting { pending, is_head: false, keeps_alive } => {
                Unanswered::Waiting { pending, keeps_alive: *keeps_alive && self.input.is_empty() }
            }
            Stage::Streaming { pending, chunked, text, written, ends: false } if *written == text.len() => {
                Unanswered::Streaming { pending, chunked: *chunked }
            }
            _ => return None,
        })
    }

    /// Whether an answer, or a part of it, is still to be sent.
    pub(super) fn owes_answer(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Writing { .. } | Stage::Streaming { .. })
    }

    /// Notes that nothing can be sent to the client any more.
    pub(super) fn note_hang_up(&mut self) {
        self.hung_up = true;
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
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Streaming { .. })
    }

    /// Does what can be done without blocking.
    pub(super) fn advance(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Progress {
        if now >= self.deadline && !matches!(self.stage, Stage::Waiting { .. }) {
            return Progress::Ended;
        }
        if self.hung_up && self.is_waiting() {
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
            Stage::Streaming { .. } => self.stream_on(now, responder),
            Stage::Lingering => self.linger(),
        }
    }

    fn read_request(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Result<(), Stop> {
        loop {
            match HttpRequest::parse(&self.input) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    let request = HttpRequest { peer: self.peer, ..request };
                    let HttpRequest { size, keeps_alive, has_chunks, .. } = request;
                    let is_head = request.method == "HEAD";
                    match responder.answer(now, &request) {
                        Reply::Now(answer) => self.begin_to_write(now, &answer, is_head, keeps_alive),
                        Reply::Later { pending, until } => {
                            self.stage = Stage::Waiting { pending, is_head, keeps_alive };
                            self.deadline = until;
                        }
                        Reply::Stream { kind, pending } => {
                            let (text, written, ends) = (stream_head(kind, has_chunks), 0, false);
                            self.stage =
                                Stage::Streaming { pending, chunked: has_chunks, text, written, ends };
                            self.deadline = now + ANSWER_LIMIT;
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
            self.begin_to_linger(now)?;
        }
        if is_long { Err(Stop::HasMore) } else { Ok(()) }
    }

    /// Sends what there is of a stream.
    fn stream_on(&mut self, now: Instant, responder: &impl Responder<Pending = P>) -> Result<(), Stop> {
        let Stage::Streaming { pending, chunked, text, written, ends } = &mut self.stage else {
            return Ok(());
        };
        while *written < text.len() {
            match self.stream.write(&text.as_bytes()[*written..]) {
                Ok(0) => return Err(Stop::Ended),
                Ok(length) => *written += length,
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if *ends {
            return Ok(self.begin_to_linger(now)?);
        }
        let part = match responder.next_part(pending) {
            Part::None => {
                self.deadline = now + STREAM_LIMIT;
                return Err(Stop::Blocked);
            }
            Part::More(part) => part,
            Part::Last(part) => {
                *ends = true;
                part
            }
        };
        *text = framed(part, *chunked, *ends);
        *written = 0;
        self.deadline = now + answer_limit(text.len());
        Ok(())
    }

    fn begin_to_linger(&mut self, now: Instant) -> io::Result<()> {
        // Closing is not enough: on Windows a child that is being started holds the connection too.
        self.stream.shut_down(Shutdown::Write)?;
        self.stage = Stage::Lingering;
        self.deadline = now + LINGER_LIMIT;
        Ok(())
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

/// A part of a stream as it is sent.
fn framed(part: String, chunked: bool, ends: bool) -> String {
    if !chunked {
        return part;
    }
    let chunk = if part.is_empty() { part } else { format!("{:x}\r\n{part}\r\n", part.len()) };
    if ends { chunk + "0\r\n\r\n" } else { chunk }
}

/// How long a client may take to receive an answer of this length.
fn answer_limit(length: usize) -> Duration {
    let more = u64::try_from(length / ANSWER_RATE).unwrap_or(u64::MAX);
    ANSWER_LIMIT.saturating_add(Duration::from_secs(more))
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
#[cfg(any(test, fuzzing))]
mod pipe;
#[cfg(test)]
mod tests;
