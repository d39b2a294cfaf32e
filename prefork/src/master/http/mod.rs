//! The HTTP server of the master, for clients that it need not trust: one thread, one poll.
//!
//! Its memory is bounded: 256 clients, each with one request head of 8 KiB and one answer; and so are its
//! descriptors, a quarter of those that the process may have. A client has a
//! deadline for each request and each answer. When all places are taken, a new client gets the place of the
//! one that has been idle for longest, so that idle and slow clients delay no probe. The thread has nothing
//! to do with supervision: it answers while a hook blocks the master, and no client can delay the master.
//!
//! - `mod.rs`: the thread
//! - `connection.rs`: one connection
//! - `message.rs`: requests and answers

mod connection;
mod message;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::Socket;

use connection::{Connection, Progress};
pub(super) use message::{Answer, HttpRequest};

use crate::sys;

/// The most clients at a time.
const CLIENTS_MAX: usize = 256;
/// Clients may have one in so many of the process's descriptors. The master needs the others for children: two for
/// each with `reuseport`, and as many again for a moment while it replaces them.
const DESCRIPTORS_DIVISOR: usize = 4;
/// The most clients that are accepted before others have their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait after `accept` failed: the cause, such as a lack of descriptors, lasts a while.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// What answers requests.
pub(super) trait Responder: Send + Sync + 'static {
    /// What an answer can wait for.
    type Pending: Send;

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<Self::Pending>;

    /// The answer that has waited, if it is known now. It is known at the end of its time.
    fn resume(&self, now: Instant, pending: &Self::Pending) -> Option<Answer>;

    /// Notes how many connections are open.
    fn note_connections(&self, _count: usize) {}
}

/// The answer to a request, or what it waits for.
#[derive(Debug)]
pub(super) enum Reply<P> {
    Now(Answer),
    /// It is known at `until`, or when the server is [woken](HttpServer::wake) before.
    Later {
        pending: P,
        until: Instant,
    },
}

/// The server. Dropping it closes the connections, and its own copy of the listener.
#[derive(Debug)]
pub(super) struct HttpServer {
    waker: Arc<Waker>,
    closed: Arc<AtomicBool>,
}

impl HttpServer {
    /// Starts the thread, which answers the clients of `listener`.
    pub(super) fn start(name: &str, listener: &Socket, responder: Arc<impl Responder>) -> io::Result<Self> {
        let listener = TcpListener::from(listener.try_clone()?);
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let closed = Arc::new(AtomicBool::new(false));
        let server = Self { waker, closed: Arc::clone(&closed) };
        let clients = Clients {
            poll,
            listener,
            responder,
            most: CLIENTS_MAX.min(sys::descriptor_limit() / DESCRIPTORS_DIVISOR).max(1),
            accept_at: None,
            table: BTreeMap::new(),
            next: FIRST_CLIENT,
        };
        sys::spawn_thread(name, move || clients.serve_until(&closed))?;
        Ok(server)
    }

    /// Makes the server ask for the answers that wait.
    pub(super) fn wake(&self) {
        // It fails only if the server's thread has ended.
        let _ = self.waker.wake();
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake();
    }
}

/// What the thread has: the listener, and the clients by token.
struct Clients<S: Responder> {
    poll: Poll,
    listener: mio::net::TcpListener,
    responder: Arc<S>,
    /// The most clients at a time.
    most: usize,
    /// When to accept next, if clients may be queued: the listener reports each once.
    accept_at: Option<Instant>,
    table: BTreeMap<usize, Connection<TcpStream, S::Pending>>,
    next: usize,
}

impl<S: Responder> Clients<S> {
    fn serve_until(mut self, closed: &AtomicBool) {
        let mut events = Events::with_capacity(CLIENTS_MAX);
        // Clients with more to do than one turn allows.
        let mut unfinished = Vec::new();
        while !closed.load(Ordering::SeqCst) {
            let timeout = if unfinished.is_empty() { self.next_timeout() } else { Some(Duration::ZERO) };
            // Nothing that a client does makes it fail.
            if self.poll.poll(&mut events, timeout).is_err_and(|error| !is_interruption(&error)) {
                thread::sleep(ACCEPT_DELAY);
            }
            let now = Instant::now();
            let mut ready = std::mem::take(&mut unfinished);
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_at = Some(now),
                    WAKER => ready.extend(self.waiting()),
                    Token(client) => ready.push(client),
                }
            }
            ready.extend(self.due(now));
            if self.accept_at.is_some_and(|at| at <= now) {
                ready.extend(self.accept(now));
            }
            self.responder.note_connections(self.table.len());
            ready.sort_unstable();
            ready.dedup();
            unfinished = ready.into_iter().filter(|client| self.advance(*client, now)).collect();
        }
    }

    fn next_timeout(&self) -> Option<Duration> {
        let deadlines = self.table.values().map(Connection::deadline).chain(self.accept_at);
        deadlines.min().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Clients whose answer waits.
    fn waiting(&self) -> Vec<usize> {
        let waiting = self.table.iter().filter(|(_, connection)| connection.pending().is_some());
        waiting.map(|(client, _)| *client).collect()
    }

    /// Clients whose time is over.
    fn due(&self, now: Instant) -> Vec<usize> {
        let due = self.table.iter().filter(|(_, connection)| connection.deadline() <= now);
        due.map(|(client, _)| *client).collect()
    }

    /// Accepts the clients that are queued, and returns them.
    fn accept(&mut self, now: Instant) -> Vec<usize> {
        let mut accepted = Vec::new();
        while accepted.len() < ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => accepted.extend(self.admit(stream, now)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept_at = None;
                    return accepted;
                }
                // A client that has gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if is_interruption(&error) => {}
                Err(error) => {
                    if sys::is_shortage(&error) {
                        // The next client gets what this one gives back.
                        self.evict();
                    }
                    self.accept_at = Some(now + ACCEPT_DELAY);
                    return accepted;
                }
            }
        }
        self.accept_at = Some(now);
        accepted
    }

    /// Gives a client a place, if need be another one's.
    fn admit(&mut self, mut stream: TcpStream, now: Instant) -> Option<usize> {
        if self.table.len() >= self.most {
            self.evict();
        }
        let client = self.next;
        let registered = self.poll.registry().register(
            &mut stream,
            Token(client),
            Interest::READABLE | Interest::WRITABLE,
        );
        // Without a registration it could not be served: it is closed.
        registered.ok()?;
        self.next += 1;
        self.table.insert(client, Connection::new(stream, now));
        Some(client)
    }

    /// Closes the connection that has waited longest for a request; if none waits, the oldest.
    fn evict(&mut self) {
        let idle =
            self.table.iter().filter_map(|(client, connection)| Some((connection.idle_since()?, *client)));
        let longest = idle.min().map(|(_, client)| client);
        if let Some(client) = longest.or_else(|| self.table.keys().next().copied()) {
            self.close(client);
        }
    }

    /// Serves a client for one turn. Returns whether it has more to do.
    fn advance(&mut self, client: usize, now: Instant) -> bool {
        // An earlier client of this turn may have its place.
        let Some(connection) = self.table.get_mut(&client) else { return false };
        match connection.advance(now, &*self.responder) {
            Progress::Waits => false,
            Progress::HasMore => true,
            Progress::Ended => {
                self.close(client);
                false
            }
        }
    }

    fn close(&mut self, client: usize) {
        if let Some(mut connection) = self.table.remove(&client) {
            // It fails for no stream that was registered.
            let _ = self.poll.registry().deregister(connection.stream());
        }
    }
}

fn is_interruption(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
