//! HealthServer over HTTP, for whoever decides on restarts and on traffic: Kubernetes, a load balancer.
//!
//! A few threads of the master's own answer, from what the supervisor's loop posts after each turn:
//!
//! - `/livez` is 200 if the loop comes around: it is woken, and has to;
//! - `/readyz` is 200 if the fleet has started, somebody serves, and no stop was asked for;
//! - `/` and `/status` say how the fleet is, in JSON.
//!
//! Threads, and not more descriptors in the master's own `poll`: whatever a client does, it cannot
//! hold up the supervisor, and the same code runs on every platform. How many there are, how long a
//! connection may last and how long a request may be is fixed, so that nothing can pile up but in
//! the system's queue.

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

/// Clients that are answered at the same time; the others queue.
const THREADS: usize = 4;
/// How long a connection may last.
const LIMIT: Duration = Duration::from_secs(2);
/// How long the supervisor's loop may take to come around. A hook that is slower is no health.
const TURN_LIMIT: Duration = Duration::from_secs(1);
/// A request's head may be this long.
const HEAD_LIMIT: usize = 1024;
/// How long to wait after a connection that could not be accepted: the reason will still be there.
const BREATHER: Duration = Duration::from_millis(100);

/// The health listener. Dropping it closes it.
#[derive(Debug)]
pub(super) struct HealthServer {
    listener: Arc<Socket>,
    board: Arc<Board>,
}

/// Where the loop posts, and the threads read.
#[derive(Debug)]
struct Board {
    posted: Mutex<Posted>,
    turned: Condvar,
    waker: Waker,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Posted {
    /// How often the loop has come around.
    turns: u64,
    fleet: FleetStatus,
}

impl HealthServer {
    /// Begins to answer.
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

    /// The supervisor's loop has come around, and this is the fleet.
    pub(super) fn post(&self, fleet: FleetStatus) {
        let mut posted = self.board.posted();
        posted.turns = posted.turns.wrapping_add(1);
        posted.fleet = fleet;
        self.board.turned.notify_all();
    }
}

impl Drop for HealthServer {
    /// Has each thread look up from `accept`, for there is no portable way to interrupt it.
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
            let _ = TcpStream::connect_timeout(&addr, BREATHER);
        }
    }
}

impl Board {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole of a thread.
    fn answer_all(&self, listener: &Socket) {
        while !self.closed.load(Ordering::SeqCst) {
            match listener.accept() {
                // A client that is gone or too slow has nobody to tell it.
                Ok((stream, _)) => drop(self.answer(stream.into())),
                Err(_) => thread::sleep(BREATHER),
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let until = Instant::now() + LIMIT;
        let answer = match read_head(&mut stream, until)? {
            Some(head) => self.answer_to(&head),
            None => Answer::text(431, "the request is too long\n"),
        };
        stream.set_write_timeout(Some(time_left(until)?))?;
        stream.write_all(answer.to_http().as_bytes())?;
        // Closing would not do: on Windows a child that is started now has the connection open as well.
        stream.shutdown(Shutdown::Write)
    }

    /// `head`: a whole request, of a client that asks or does not know what it does.
    fn answer_to(&self, head: &str) -> Answer {
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let mut answer = match (method, path) {
            ("GET" | "HEAD", "/livez") => self.liveness(),
            ("GET" | "HEAD", "/readyz") => self.readiness(),
            ("GET" | "HEAD", "/" | "/status") => Answer::json(status(&self.posted().fleet)),
            ("GET" | "HEAD", _) => Answer::text(404, "here are /livez, /readyz and /status\n"),
            _ => Answer::text(405, "only GET and HEAD are answered\n"),
        };
        answer.headless = method == "HEAD";
        answer
    }

    /// Whether the supervisor's loop comes around, now that it is woken.
    fn liveness(&self) -> Answer {
        let posted = self.posted();
        let before = posted.turns;
        self.waker.wake();
        let waited = self.turned.wait_timeout_while(posted, TURN_LIMIT, |posted| posted.turns == before);
        let (_posted, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            return Answer::text(503, "the supervisor does not get on\n");
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

/// The fleet in JSON. There are but numbers and fixed words in it.
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

struct Answer {
    code: u16,
    kind: &'static str,
    body: String,
    /// Whether only what comes before the body was asked for.
    headless: bool,
}

impl Answer {
    fn text(code: u16, body: &str) -> Self {
        Self { code, kind: "text/plain; charset=utf-8", body: body.to_owned(), headless: false }
    }

    fn json(body: String) -> Self {
        Self { code: 200, kind: "application/json", body, headless: false }
    }

    fn to_http(&self) -> String {
        let Self { code, kind, body, headless } = self;
        let reason = match code {
            200 => "OK",
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
        let _ = write!(text, "\r\n{}", if *headless { "" } else { body });
        text
    }
}

/// Reads a request up to the empty line; `None` if that is too far away.
fn read_head(stream: &mut TcpStream, until: Instant) -> io::Result<Option<String>> {
    let mut head = [0; HEAD_LIMIT];
    let mut length = 0;
    while !head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        if length == HEAD_LIMIT {
            return Ok(None);
        }
        stream.set_read_timeout(Some(time_left(until)?))?;
        match stream.read(&mut head[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    Ok(Some(String::from_utf8_lossy(&head[..length]).into_owned()))
}

fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
