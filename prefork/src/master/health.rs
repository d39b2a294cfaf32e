//! The health endpoint: HTTP for Kubernetes, a load balancer or another supervisor.
//!
//! Four threads of the master answer, from the overview that the supervisor's loop posts after each
//! turn:
//!
//! - `/livez` is 200 if the loop turns within a second of being woken, otherwise 503;
//! - `/readyz` is 200 if the fleet has started, a child serves and no stop was requested, otherwise 503;
//! - `/` and `/status` describe the fleet in JSON.
//!
//! Threads, not descriptors in the master's `poll`: no client can delay the supervisor, and one
//! implementation serves every platform. The number of clients, the time for a connection and the size
//! of a request are limited; further clients wait in the system's queue.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::supervisor::{ChildStatus, FleetStatus};
use crate::sys::{self, Waker};

/// Clients that are answered at the same time; further ones queue.
const THREADS: usize = 4;
/// How long a connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
/// How long a turn of the supervisor's loop may take. A hook that takes longer makes the master not live.
const TURN_LIMIT: Duration = Duration::from_secs(1);
/// The largest head of a request, in bytes.
const HEAD_LIMIT: usize = 1024;
/// The largest number of header fields: more than fit in a head of that size.
const FIELD_LIMIT: usize = HEAD_LIMIT / 4;
/// How long to wait after `accept` failed: the cause, such as a lack of descriptors, lasts a while.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

/// The health listener. Dropping it closes it.
#[derive(Debug)]
pub(super) struct HealthServer {
    listener: Arc<Socket>,
    board: Arc<Board>,
}

/// What the loop posts and the threads read.
#[derive(Debug)]
struct Board {
    posted: Mutex<Posted>,
    turned: Condvar,
    waker: Waker,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Posted {
    /// Turns of the loop so far.
    turns: u64,
    fleet: FleetStatus,
}

impl HealthServer {
    /// Starts the threads that answer.
    pub(super) fn start(listener: Socket, waker: Waker, fleet: FleetStatus) -> io::Result<Self> {
        let board = Board {
            posted: Mutex::new(Posted { turns: 0, fleet }),
            turned: Condvar::new(),
            waker,
            closed: AtomicBool::new(false),
        };
        let health = Self { listener: Arc::new(listener), board: Arc::new(board) };
        for _ in 0..THREADS {
            let (listener, board) = (Arc::clone(&health.listener), Arc::clone(&health.board));
            sys::spawn_thread("prefork-health", move || board.answer_all(&listener))?;
        }
        Ok(health)
    }

    pub(super) fn listener(&self) -> &Socket {
        &self.listener
    }

    /// Posts the fleet's state, once for each turn of the supervisor's loop.
    pub(super) fn post(&self, fleet: FleetStatus) {
        let mut posted = self.board.posted();
        posted.turns = posted.turns.wrapping_add(1);
        posted.fleet = fleet;
        self.board.turned.notify_all();
    }
}

impl Drop for HealthServer {
    /// Wakes each thread from `accept` with a connection: no portable call interrupts it.
    fn drop(&mut self) {
        self.board.closed.store(true, Ordering::SeqCst);
        let addr = self.listener.local_addr().ok().and_then(|addr| addr.as_socket());
        let Some(mut addr) = addr else { return };
        match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        for _ in 0..THREADS {
            let _ = TcpStream::connect_timeout(&addr, ACCEPT_DELAY);
        }
    }
}

impl Board {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of each thread.
    fn answer_all(&self, listener: &Socket) {
        while !self.closed.load(Ordering::SeqCst) {
            match listener.accept() {
                // The error is a client that has gone or is too slow: there is nothing to report.
                Ok((stream, _)) => drop(self.answer(stream.into())),
                Err(_) => thread::sleep(ACCEPT_DELAY),
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let deadline = Instant::now() + CONNECTION_LIMIT;
        let answer = self.read_and_answer(&mut stream, deadline)?;
        stream.set_write_timeout(Some(time_left(deadline)?))?;
        stream.write_all(answer.to_http().as_bytes())?;
        // Closing is not enough: on Windows a child that is being started holds the connection too.
        stream.shutdown(Shutdown::Write)
    }

    fn read_and_answer(&self, stream: &mut TcpStream, deadline: Instant) -> io::Result<Answer> {
        let mut head = [0; HEAD_LIMIT];
        let mut length = 0;
        while length < HEAD_LIMIT {
            stream.set_read_timeout(Some(time_left(deadline)?))?;
            match stream.read(&mut head[length..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => length += more,
            }
            match HttpRequest::parse(&head[..length]) {
                Ok(Some(request)) => return Ok(self.answer_to(request)),
                Ok(None) => {}
                Err(answer) => return Ok(answer),
            }
        }
        Ok(Answer::too_large())
    }

    fn answer_to(&self, HttpRequest { method, target }: HttpRequest<'_>) -> Answer {
        let path = target.split('?').next().unwrap_or_default();
        let mut answer = match (method, path) {
            ("GET" | "HEAD", "/livez") => self.liveness(),
            ("GET" | "HEAD", "/readyz") => self.readiness(),
            ("GET" | "HEAD", "/" | "/status") => Answer::json(status(&self.posted().fleet)),
            ("GET" | "HEAD", _) => Answer::text(404, "not found: try /livez, /readyz or /status\n"),
            _ => Answer::text(405, "method not allowed: use GET or HEAD\n"),
        };
        answer.head_only = method == "HEAD";
        answer
    }

    /// Wakes the supervisor's loop, and waits for a turn of it.
    fn liveness(&self) -> Answer {
        let posted = self.posted();
        let before = posted.turns;
        self.waker.wake();
        let waited = self.turned.wait_timeout_while(posted, TURN_LIMIT, |posted| posted.turns == before);
        let (_posted, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            return Answer::text(503, "supervisor loop is blocked\n");
        }
        Answer::text(200, "ok\n")
    }

    fn readiness(&self) -> Answer {
        let posted = self.posted();
        if posted.fleet.is_ready() {
            return Answer::text(200, "ok\n");
        }
        let FleetStatus { state, ready, slots, .. } = &posted.fleet;
        Answer::text(503, &format!("{}: {ready} of {slots} ready\n", state.name()))
    }
}

/// The fleet in JSON. It contains numbers and fixed words only, so nothing needs escaping.
fn status(fleet: &FleetStatus) -> String {
    let FleetStatus { state, generation, slots, ready, failures, children, .. } = fleet;
    let children: Vec<String> = children
        .iter()
        .map(|ChildStatus { slot, pid, generation, state }| {
            let state = state.name();
            format!(r#"{{"slot":{slot},"pid":{pid},"generation":{generation},"state":"{state}"}}"#)
        })
        .collect();
    format!(
        "{{\"state\":\"{}\",\"master\":{},\"generation\":{generation},\"slots\":{slots},\"ready\":{ready},\
         \"failures\":{failures},\"children\":[{}]}}\n",
        state.name(),
        std::process::id(),
        children.join(",")
    )
}

/// The parts of a request that decide its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HttpRequest<'a> {
    method: &'a str,
    target: &'a str,
}

impl<'a> HttpRequest<'a> {
    /// Reads the head of a request; `None` while it is incomplete. The error is the answer to a malformed
    /// request.
    fn parse(head: &'a [u8]) -> Result<Option<Self>, Answer> {
        let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(_)) => {
                let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
                Ok(Some(Self { method, target }))
            }
            Err(httparse::Error::TooManyHeaders) => Err(Answer::too_large()),
            Err(error) => Err(Answer::text(400, &format!("bad request: {error}\n"))),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    kind: &'static str,
    body: String,
    /// Whether the request was HEAD: the answer has no body.
    head_only: bool,
}

impl Answer {
    fn text(code: u16, body: &str) -> Self {
        Self { code, kind: "text/plain; charset=utf-8", body: body.to_owned(), head_only: false }
    }

    fn too_large() -> Self {
        Self::text(431, "request head exceeds 1 KiB\n")
    }

    fn json(body: String) -> Self {
        Self { code: 200, kind: "application/json", body, head_only: false }
    }

    fn to_http(&self) -> String {
        let Self { code, kind, body, head_only } = self;
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n",
            body.len()
        );
        if *code == 405 {
            text += "Allow: GET, HEAD\r\n";
        }
        // `write!` to a String cannot fail.
        let _ = write!(text, "\r\n{}", if *head_only { "" } else { body });
        text
    }
}

fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status that the head is refused with.
    fn refusal(head: &[u8]) -> u16 {
        HttpRequest::parse(head).unwrap_err().code
    }

    #[test]
    fn request_is_method_and_target() {
        let head = b"GET /readyz?verbose HTTP/1.1\r\nHost: a\r\nCookie: b=\xff\r\n\r\nbody";
        let request = HttpRequest { method: "GET", target: "/readyz?verbose" };
        assert_eq!(HttpRequest::parse(head), Ok(Some(request)));
        let head = b"HEAD * HTTP/1.0\r\n\r\n";
        assert_eq!(HttpRequest::parse(head), Ok(Some(HttpRequest { method: "HEAD", target: "*" })));
    }

    #[test]
    fn request_without_its_end_is_incomplete() {
        let head = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 1..head.len() {
            assert_eq!(HttpRequest::parse(&head[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn malformed_request_is_400() {
        let cases: [&[u8]; 11] = [
            b"\0\xff\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /livez\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / RTSP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\0: a\r\n\r\n",
            // The start of a TLS handshake.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ];
        for head in cases {
            assert_eq!(refusal(head), 400, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn request_of_the_largest_size_has_room_for_its_fields() {
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        while head.len() + b"a:\r\n\r\n".len() <= HEAD_LIMIT {
            head.extend(b"a:\r\n");
        }
        assert_eq!(HttpRequest::parse(&head), Ok(None));
        head.extend(b"\r\n");
        assert_eq!(HttpRequest::parse(&head), Ok(Some(HttpRequest { method: "GET", target: "/" })));
    }

    #[test]
    fn refusal_is_a_complete_answer() {
        let answer = HttpRequest::parse(b"\0").unwrap_err().to_http();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
        assert!(answer.ends_with("\r\n\r\nbad request: invalid token\n"), "{answer:?}");
    }
}
