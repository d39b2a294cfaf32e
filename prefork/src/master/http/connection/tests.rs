//! Connections over streams that deliver and take what a test says.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::pipe::Pipe;
use super::*;

/// Answers with the path. The answer to `/later` waits until it is known, and that to `/stream` has parts.
#[derive(Default)]
struct Echo {
    known: AtomicBool,
    parts: Mutex<VecDeque<Part>>,
}

impl Responder for Echo {
    type Pending = ();

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<()> {
        match request.path {
            "/later" => Reply::Later { pending: (), until: now + Duration::from_secs(1) },
            "/stream" => Reply::Stream { kind: "text/plain", pending: () },
            "/long" => Reply::Now(Answer::text(200, &long())),
            path => Reply::Now(Answer::text(200, path)),
        }
    }

    fn resume(&self, _now: Instant, _pending: &mut ()) -> Option<Answer> {
        self.known.load(Ordering::SeqCst).then(|| Answer::text(200, "known"))
    }

    fn next_part(&self, _pending: &mut ()) -> Part {
        self.parts.lock().unwrap().pop_front().unwrap_or(Part::None)
    }
}

/// Half a megabyte, of which no two lines are the same.
fn long() -> String {
    (100_000..175_000).map(|line| format!("{line}\n")).collect()
}

type Tested = Connection<Pipe, ()>;

fn connection(now: Instant) -> Tested {
    Connection::new(Pipe { room: usize::MAX, ..Pipe::default() }, now)
}

fn arrives(connection: &mut Tested, bytes: impl AsRef<[u8]>) {
    connection.stream.arriving.push_back(bytes.as_ref().to_vec());
}

/// The bodies of the answers so far; each is the text after an empty line, up to the next answer.
fn bodies(connection: &Tested) -> Vec<String> {
    let sent = String::from_utf8(connection.stream.sent.clone()).unwrap();
    let answers = sent.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer.split_once("\r\n\r\n").unwrap().1.to_owned()).collect()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let now = Instant::now();
    let mut connection = connection(now);
    arrives(&mut connection, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(bodies(&connection), ["/a", "/b"]);
    arrives(&mut connection, "\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(bodies(&connection), ["/a", "/b", "/c"]);
    assert!(!connection.stream.shut_down.get());
}

#[test]
fn request_behind_one_that_waits_is_answered_after_it() {
    let now = Instant::now();
    let (mut connection, echo) = (connection(now), Echo::default());
    arrives(&mut connection, "GET /later HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(connection.advance(now, &echo), Progress::Waits);
    assert!(connection.is_waiting() && bodies(&connection).is_empty());
    echo.known.store(true, Ordering::SeqCst);
    assert_eq!(connection.advance(now, &echo), Progress::Waits);
    assert_eq!(bodies(&connection), ["known", "/b"]);
}

#[test]
fn last_answer_is_followed_by_the_rest_of_the_input_and_the_end() {
    for request in ["GET /a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n"] {
        let now = Instant::now();
        let mut connection = connection(now);
        arrives(&mut connection, request);
        arrives(&mut connection, "GET /b HTTP/1.1\r\n\r\n");
        assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
        assert_eq!(bodies(&connection), ["/a"]);
        assert!(connection.stream.shut_down.get());
        connection.stream.closed = true;
        assert_eq!(connection.advance(now, &Echo::default()), Progress::Ended);
    }
}

#[test]
fn slow_client_is_closed_at_its_deadline_however_often_it_sends() {
    let mut now = Instant::now();
    let mut connection = connection(now);
    for _ in 0..5 {
        arrives(&mut connection, "G");
        assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
        now += REQUEST_LIMIT / 5;
    }
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Ended);
}

#[test]
fn client_that_does_not_take_its_answer_is_closed() {
    let now = Instant::now();
    let mut connection = connection(now);
    connection.stream.room = 10;
    arrives(&mut connection, "GET /a HTTP/1.1\r\n\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(connection.deadline(), now + ANSWER_LIMIT);
    assert_eq!(connection.advance(now + ANSWER_LIMIT, &Echo::default()), Progress::Ended);
}

#[test]
fn long_answer_arrives_at_any_pace_and_has_more_time() {
    let now = Instant::now();
    let mut connection = connection(now);
    connection.stream.room = 0;
    arrives(&mut connection, "GET /long HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(connection.deadline(), now + ANSWER_LIMIT + Duration::from_secs(8));
    let mut progress = Progress::Waits;
    while progress == Progress::Waits {
        connection.stream.room = 1009;
        progress = connection.advance(now, &Echo::default());
    }
    assert_eq!(progress, Progress::HasMore, "others have their turn before the next answer");
    connection.stream.room = usize::MAX;
    connection.advance(now, &Echo::default());
    assert_eq!(bodies(&connection), [long().as_str(), "/a"]);
}

#[test]
fn answer_to_head_has_no_body() {
    let now = Instant::now();
    let mut connection = connection(now);
    arrives(&mut connection, "HEAD /long HTTP/1.1\r\n\r\n");
    connection.advance(now, &Echo::default());
    assert_eq!(bodies(&connection), [""]);
    assert_eq!(connection.deadline(), now + IDLE_LIMIT);
}

#[test]
fn answer_that_is_unknown_when_it_is_due_ends_the_connection() {
    let now = Instant::now();
    let mut connection = connection(now);
    arrives(&mut connection, "GET /later HTTP/1.1\r\n\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(connection.advance(connection.deadline(), &Echo::default()), Progress::Ended);
}

#[test]
fn client_with_many_requests_lets_others_have_their_turn() {
    let now = Instant::now();
    let mut connection = connection(now);
    for _ in 0..100 {
        arrives(&mut connection, "GET /a HTTP/1.1\r\n\r\n");
    }
    let mut turns = 0;
    while connection.advance(now, &Echo::default()) == Progress::HasMore {
        turns += 1;
        assert!(bodies(&connection).len() <= turns * ANSWERS_PER_TURN as usize);
    }
    assert_eq!(bodies(&connection).len(), 100);
    assert!(turns > 1);
}

/// A connection whose client has asked for a stream, with its parts so far.
fn streaming(version: &str, parts: &[&str]) -> (Tested, Echo) {
    let now = Instant::now();
    let (mut connection, echo) = (connection(now), Echo::default());
    arrives(&mut connection, format!("GET /stream HTTP/{version}\r\n\r\n"));
    echo.parts.lock().unwrap().extend(parts.iter().map(|part| Part::More((*part).to_owned())));
    assert_eq!(connection.advance(now, &echo), Progress::Waits);
    (connection, echo)
}

#[test]
fn stream_has_its_parts_in_chunks_and_ends_the_connection() {
    for (version, begun, ended) in [
        ("1.1", "2\r\na\n\r\n2\r\nb\n\r\n", "2\r\na\n\r\n2\r\nb\n\r\n1\r\nc\r\n0\r\n\r\n"),
        ("1.0", "a\nb\n", "a\nb\nc"),
    ] {
        let (mut connection, echo) = streaming(version, &["a\n", "b\n"]);
        assert_eq!(bodies(&connection), [begun]);
        let now = Instant::now();
        assert!(connection.deadline() > now + Duration::from_secs(3600), "it may be silent for long");
        echo.parts.lock().unwrap().push_back(Part::Last("c".to_owned()));
        assert_eq!(connection.advance(now, &echo), Progress::Waits);
        assert_eq!(bodies(&connection), [ended]);
        assert!(connection.stream.shut_down.get());
    }
}

#[test]
fn client_that_is_too_slow_for_a_stream_is_closed() {
    let (mut connection, echo) = streaming("1.1", &[]);
    connection.stream.room = 3;
    echo.parts.lock().unwrap().push_back(Part::More("text".to_owned()));
    let now = Instant::now();
    assert_eq!(connection.advance(now, &echo), Progress::Waits);
    assert!(connection.unanswered().is_none(), "another program cannot go on with half a part");
    assert_eq!(connection.advance(now + ANSWER_LIMIT, &echo), Progress::Ended);
}

#[test]
fn client_that_hangs_up_gets_its_requests_carried_out_and_waits_for_no_answer() {
    let now = Instant::now();
    let (mut connection, echo) = (connection(now), Echo::default());
    arrives(&mut connection, "GET /a HTTP/1.1\r\n\r\nGET /later HTTP/1.1\r\n\r\n");
    connection.note_hang_up();
    assert_eq!(connection.advance(now, &echo), Progress::Waits);
    assert_eq!(bodies(&connection), ["/a"]);
    assert_eq!(connection.advance(now, &echo), Progress::Ended);
}

#[test]
fn refused_client_gets_its_answer_at_once() {
    let now = Instant::now();
    let pipe = Pipe { room: usize::MAX, ..Pipe::default() };
    let mut connection = Tested::refused(pipe, &Answer::text(403, "no\n"), now);
    arrives(&mut connection, "GET /a HTTP/1.1\r\n\r\n");
    assert_eq!(connection.advance(now, &Echo::default()), Progress::Waits);
    assert_eq!(bodies(&connection), ["no\n"]);
    assert!(connection.stream.shut_down.get());
}

#[test]
fn another_program_goes_on_with_a_request_that_is_partly_read() {
    let now = Instant::now();
    let mut first = connection(now);
    arrives(&mut first, "GET /a HTTP/1.1\r\n");
    first.advance(now, &Echo::default());
    let Some(Unanswered::Reading(input)) = first.unanswered() else { panic!("{first:?}") };
    let mut next = connection(now).with_input(input.to_vec());
    arrives(&mut next, "\r\n");
    next.advance(now, &Echo::default());
    assert_eq!(bodies(&next), ["/a"]);
}

proptest! {
    #[test]
    fn answers_do_not_depend_on_how_bytes_arrive(cuts in prop::collection::vec(1..40_usize, 0..40), room in 1..30_usize) {
        let now = Instant::now();
        let mut connection = connection(now);
        connection.stream.room = 0;
        let paths: Vec<String> = (0..10).map(|number| format!("/{number}")).collect();
        let mut bytes: Vec<u8> = Vec::new();
        for path in &paths {
            bytes.extend(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes());
        }
        for cut in cuts {
            let rest = bytes.split_off(cut.min(bytes.len()));
            arrives(&mut connection, std::mem::replace(&mut bytes, rest));
        }
        arrives(&mut connection, bytes);
        connection.stream.arriving.retain(|piece| !piece.is_empty());
        for _ in 0..10_000 {
            prop_assert_ne!(connection.advance(now, &Echo::default()), Progress::Ended);
            connection.stream.room += room;
        }
        prop_assert_eq!(bodies(&connection), paths);
    }
}
