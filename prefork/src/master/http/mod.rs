//! The HTTP server of the master, for clients that it need not trust: one thread, one poll. It serves the health
//! endpoint over TCP, and the control socket.
//!
//! Its memory is bounded: 256 clients, each with one request head of 8 KiB and one answer; and so are its
//! descriptors, a quarter of those that the process may have. A client has a
//! deadline for each request and each answer. When all places are taken, a new client gets the place of the
//! one that has been idle for longest, so that idle and slow clients delay no probe. The thread has nothing
//! to do with supervision: it answers while a hook blocks the master, and no client can delay the master.
//!
//! - `mod.rs`: the thread
//! - `listener.rs`: where clients connect, and their streams
//! - `connection.rs`: one connection
//! - `message.rs`: requests and answers

mod connection;
mod listener;
mod message;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use connection::Progress;
#[cfg(any(test, fuzzing))]
pub(crate) use connection::fuzzing::http;
pub(super) use connection::{Connection, Unanswered};
pub(super) use listener::{HttpListener, HttpStream, tcp_listener};
pub(super) use message::{Answer, HttpRequest, LINES};

use crate::sys::{self, Peer};

/// The most clients at a time.
const CLIENTS_MAX: usize = 256;
/// Clients may have one in so many of the process's descriptors. The master needs the others for children: two for
/// each, three with `reuseport`, and as many again for a moment while it replaces them.
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

    /// # Errors
    ///
    /// The answer to a client that may send no request.
    fn admit(&self, _now: Instant, _peer: Option<Peer>) -> Result<(), Answer> {
        Ok(())
    }

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<Self::Pending>;

    /// The answer that has waited, if it is known now. It is known at the end of its time.
    fn resume(&self, now: Instant, pending: &mut Self::Pending) -> Option<Answer>;

    /// What a [stream](Reply::Stream) has to say now.
    fn next_part(&self, _pending: &mut Self::Pending) -> Part {
        Part::Last(String::new())
    }

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
    /// It has parts, of which each is asked for when the server is woken. A client that does not receive them in
    /// time is dropped.
    Stream {
        kind: &'static str,
        pending: P,
    },
}

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// There is none yet.
    None,
    More(String),
    Last(String),
}

/// The server. Dropping it closes the connections, and its own copy of the listener.
pub(super) struct HttpServer<L: HttpListener, S: Responder> {
    waker: Arc<Waker>,
    order: Arc<AtomicU8>,
    returned: Receiver<Clients<L, S>>,
}

/// What the thread is to do.
mod order {
    pub(super) const SERVE: u8 = 0;
    /// End, and return the clients.
    pub(super) const HALT: u8 = 1;
    /// Likewise, once every request is answered.
    pub(super) const FINISH: u8 = 2;
}

impl<L: HttpListener, S: Responder> HttpServer<L, S> {
    /// Starts the thread, which answers the clients of `listener`.
    pub(super) fn start(name: &'static str, listener: L, responder: Arc<S>) -> io::Result<Self> {
        Self::resume(Clients::new(name, listener, responder)?)
    }

    /// Starts the thread for clients that were [halted](Self::halt).
    pub(super) fn resume(clients: Clients<L, S>) -> io::Result<Self> {
        let waker = Arc::clone(&clients.waker);
        let (sender, returned) = mpsc::channel();
        let order = Arc::new(AtomicU8::new(order::SERVE));
        let server = Self { waker, order: Arc::clone(&order), returned };
        sys::spawn_thread(clients.name, move || {
            // Without a receiver they are dropped here.
            let _ = sender.send(clients.serve_until(&order));
        })?;
        server.wake();
        Ok(server)
    }

    /// Makes the server ask for the answers that wait.
    pub(super) fn wake(&self) {
        // It fails only if the server's thread has ended.
        let _ = self.waker.wake();
    }

    /// Ends the thread. `None` if that takes longer than `limit`.
    pub(super) fn halt(&self, limit: Duration) -> Option<Clients<L, S>> {
        self.order_end(order::HALT);
        self.returned.recv_timeout(limit).ok()
    }

    /// Ends the thread once every request is answered, but waits no longer than `limit`.
    pub(super) fn finish(&self, limit: Duration) {
        self.order_end(order::FINISH);
        let _ = self.returned.recv_timeout(limit);
    }

    fn order_end(&self, order: u8) {
        self.order.store(order, Ordering::SeqCst);
        self.wake();
    }
}

impl<L: HttpListener, S: Responder> Drop for HttpServer<L, S> {
    fn drop(&mut self) {
        self.order_end(order::HALT);
    }
}

impl<L: HttpListener, S: Responder> fmt::Debug for HttpServer<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").finish_non_exhaustive()
    }
}

/// What the thread has: the listener, and the clients by token.
pub(super) struct Clients<L: HttpListener, S: Responder> {
    name: &'static str,
    poll: Poll,
    waker: Arc<Waker>,
    listener: L,
    responder: Arc<S>,
    /// The most clients at a time.
    most: usize,
    /// When to accept next, if clients may be queued: the listener reports each once.
    accept_at: Option<Instant>,
    table: BTreeMap<usize, Connection<L::Stream, S::Pending>>,
    next: usize,
}

impl<L: HttpListener, S: Responder> Clients<L, S> {
    pub(super) fn new(name: &'static str, mut listener: L, responder: Arc<S>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            name,
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
            poll,
            listener,
            responder,
            most: CLIENTS_MAX.min(sys::descriptor_limit() / DESCRIPTORS_DIVISOR).max(1),
            accept_at: Some(Instant::now()),
            table: BTreeMap::new(),
            next: FIRST_CLIENT,
        })
    }

    /// What wakes the thread that serves them.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Every connection.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection<L::Stream, S::Pending>> {
        self.table.values()
    }

    /// Adds a connection, if need be in the place of another one.
    pub(super) fn add(&mut self, mut connection: Connection<L::Stream, S::Pending>) -> Option<usize> {
        if self.table.len() >= self.most {
            self.evict();
        }
        let client = self.next;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(connection.stream_mut(), Token(client), interest);
        // Without a registration it could not be served: it is closed.
        registered.ok()?;
        self.next += 1;
        self.table.insert(client, connection);
        Some(client)
    }

    fn serve_until(mut self, order: &AtomicU8) -> Self {
        let mut events = Events::with_capacity(CLIENTS_MAX);
        // Clients with more to do than one turn allows.
        let mut unfinished = Vec::new();
        loop {
            let ends = match order.load(Ordering::SeqCst) {
                order::SERVE => false,
                order::FINISH => !self.table.values().any(Connection::owes_answer),
                _ => true,
            };
            if ends {
                // What has been said meanwhile.
                let now = Instant::now();
                for client in self.waiting() {
                    self.advance(client, now);
                }
                return self;
            }
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
                    Token(client) => {
                        if event.is_write_closed() {
                            self.table.get_mut(&client).into_iter().for_each(Connection::note_hang_up);
                        }
                        ready.push(client);
                    }
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
        let waiting = self.table.iter().filter(|(_, connection)| connection.is_waiting());
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
                Ok(stream) => accepted.extend(self.admit(stream, now)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept_at = None;
                    return accepted;
                }
                // A client that has gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if is_interruption(&error) => {}
                // Nobody is to be closed for a client that is not there.
                Err(error) if sys::is_shortage(&error) && !self.listener.has_client() => {
                    self.accept_at = None;
                    return accepted;
                }
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

    fn admit(&mut self, stream: L::Stream, now: Instant) -> Option<usize> {
        let admitted = self.responder.admit(now, stream.peer());
        self.add(match admitted {
            Ok(()) => Connection::new(stream, now),
            Err(answer) => Connection::refused(stream, &answer, now),
        })
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
            let _ = self.poll.registry().deregister(connection.stream_mut());
        }
    }
}

impl<L: HttpListener, S: Responder> fmt::Debug for Clients<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("count", &self.table.len()).finish_non_exhaustive()
    }
}

fn is_interruption(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
