//! The body of a fuzz target: what a client sends, in pieces of any size.

#![allow(clippy::expect_used, clippy::panic, reason = "it is a test")]

use std::sync::{Mutex, PoisonError};

use super::pipe::Pipe;
use super::*;

/// The most pieces and turns of one input: more than any takes that ends.
const TURNS: usize = 100_000;

/// The bytes of a connection. The first one is the size of the pieces in which the others arrive, and in which the
/// client takes the answers.
pub(crate) fn http(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = exchange(bytes, bytes.len().max(1), usize::MAX);
    let size = usize::from(*size) + 1;
    let in_pieces = exchange(bytes, size, size);
    assert_eq!(in_pieces, whole);
    assert_answered(&whole);
}

/// The requests as they were read, and what was sent.
#[derive(Debug, PartialEq)]
struct Exchange {
    requests: Vec<String>,
    sent: String,
}

/// Notes the requests. It answers with what it has noted; later, or as a stream, if the path says so.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Responder for Notes {
    type Pending = String;

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<String> {
        let note = format!("{request:?}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note.clone());
        match request.path {
            "/later" => Reply::Later { pending: note, until: now + Duration::from_secs(1) },
            "/stream" => Reply::Stream { kind: "text/plain", pending: note },
            _ => Reply::Now(Answer::text(200, &note)),
        }
    }

    fn resume(&self, _now: Instant, pending: &mut String) -> Option<Answer> {
        Some(Answer::text(503, pending))
    }

    fn next_part(&self, pending: &mut String) -> Part {
        let note = std::mem::take(pending);
        if note.is_empty() { Part::Last(note) } else { Part::More(note) }
    }
}

/// What comes of it when `bytes` arrive in pieces of this size, and the client takes `room` bytes at a time.
fn exchange(bytes: &[u8], size: usize, room: usize) -> Exchange {
    let (now, notes) = (Instant::now(), Notes::default());
    let mut connection = Connection::new(Pipe::default(), now);
    let mut pieces = bytes.chunks(size);
    for _ in 0..TURNS {
        connection.stream.room = room;
        let progress = connection.advance(now, &notes);
        assert!(connection.input.len() <= HEAD_LIMIT, "{} bytes are kept", connection.input.len());
        match progress {
            Progress::Ended => {
                let sent = String::from_utf8(connection.stream.sent);
                assert!(sent.is_ok(), "{sent:?}");
                let requests = notes.0.into_inner().unwrap_or_else(PoisonError::into_inner);
                return Exchange { requests, sent: sent.unwrap_or_default() };
            }
            Progress::Waits if !connection.owes_answer() => match pieces.next() {
                Some(piece) => connection.stream.arriving.push_back(piece.to_vec()),
                None => connection.stream.closed = true,
            },
            Progress::Waits | Progress::HasMore => {}
        }
    }
    panic!("the connection does not end");
}

/// Each request has its answer, whose length is the one that its head tells; a refusal is the last answer.
fn assert_answered(Exchange { requests, sent }: &Exchange) {
    let mut rest = sent.as_str();
    let mut requests = requests.iter();
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{rest:?} has no end"));
        let request = requests.next();
        let is_head = request.is_some_and(|request| request.starts_with("HttpRequest { method: \"HEAD\""));
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let ends = head.contains("\r\nConnection: close");
        rest = match length.map(str::parse::<usize>) {
            None => {
                assert!(head.contains("application") || head.contains("text/plain"), "{head}");
                assert!(!head.contains("chunked") || after.ends_with("0\r\n\r\n"), "{after:?}");
                ""
            }
            Some(_) if is_head => after,
            Some(length) => {
                let length = length.unwrap_or(usize::MAX);
                assert!(request.is_some() || head.starts_with("HTTP/1.1 4"), "{head}");
                after.get(length..).unwrap_or_else(|| panic!("{after:?} has fewer than {length} bytes"))
            }
        };
        assert!(!ends || rest.is_empty(), "{rest:?} comes after the last answer");
    }
    assert_eq!(requests.next(), None, "it has no answer");
}
