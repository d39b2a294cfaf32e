//! The health endpoint: what the HTTP server answers to Kubernetes, a load balancer or another supervisor.
//!
//! It answers from the overview that the supervisor's loop posts after each turn, and before the log tells of a
//! new state:
//!
//! - `/livez` is 200 if the loop turns within a second of being woken, otherwise 503;
//! - `/readyz` is 200 if the fleet has started, a child serves and no stop was requested, otherwise 503;
//! - `/` and `/status` describe the fleet in JSON;
//! - `/metrics` has its metrics.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::http::{Answer, HttpRequest, HttpServer, Reply, Responder};
use super::metrics::{History, MetricsPage};
use crate::listen::WatchedListeners;
use crate::supervisor::{ChildStatus, FleetStatus};
use crate::sys::Waker;

/// How long a turn of the supervisor's loop may take. A hook that takes longer makes the master not live.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// The health listener and its server. Dropping it closes both.
#[derive(Debug)]
pub(super) struct HealthServer {
    listener: Socket,
    board: Arc<Board>,
    server: HttpServer,
}

/// What the loop posts and the server reads.
#[derive(Debug)]
struct Board {
    posted: Mutex<Posted>,
    supervisor: Waker,
    /// The server's alone.
    page: Mutex<MetricsPage>,
    connections: AtomicUsize,
}

#[derive(Debug)]
struct Posted {
    /// Turns of the loop so far.
    turns: u64,
    /// Whether an answer waits for the next turn.
    awaited: bool,
    fleet: FleetStatus,
    listeners: Arc<[WatchedListeners]>,
}

/// The number of turns when a request came that asks for another one.
#[derive(Debug)]
struct AwaitedTurn {
    before: u64,
    until: Instant,
}

impl HealthServer {
    pub(super) fn start(
        listener: Socket,
        supervisor: Waker,
        fleet: FleetStatus,
        listeners: Vec<WatchedListeners>,
        history: History,
    ) -> io::Result<Self> {
        let posted = Mutex::new(Posted { turns: 0, awaited: false, fleet, listeners: listeners.into() });
        let (page, connections) = (Mutex::new(MetricsPage::new(history)), AtomicUsize::new(0));
        let board = Arc::new(Board { posted, supervisor, page, connections });
        let server = HttpServer::start("prefork-health", &listener, Arc::clone(&board))?;
        Ok(Self { listener, board, server })
    }

    pub(super) fn listener(&self) -> &Socket {
        &self.listener
    }

    /// Posts the listeners whose queues are told, when they have changed.
    pub(super) fn watch(&self, listeners: Vec<WatchedListeners>) {
        self.board.posted().listeners = listeners.into();
    }

    /// Posts the fleet's state during a turn.
    pub(super) fn post(&self, fleet: FleetStatus) {
        self.board.posted().fleet = fleet;
    }

    /// Posts the fleet's state at the end of a turn of the supervisor's loop.
    pub(super) fn end_turn(&self, fleet: FleetStatus) {
        let mut posted = self.board.posted();
        posted.turns = posted.turns.wrapping_add(1);
        posted.fleet = fleet;
        if std::mem::take(&mut posted.awaited) {
            self.server.wake();
        }
    }
}

impl Responder for Board {
    type Pending = AwaitedTurn;

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<AwaitedTurn> {
        Reply::Now(match (request.method, request.path) {
            ("GET" | "HEAD", "/livez") => return self.await_turn(now),
            ("GET" | "HEAD", "/metrics") => self.metrics(now),
            ("GET" | "HEAD", "/readyz") => self.readiness(),
            ("GET" | "HEAD", "/" | "/status") => Answer::json(status(&self.posted().fleet)),
            ("GET" | "HEAD", _) => Answer::text(404, "not found: try /livez, /readyz, /status or /metrics\n"),
            _ => Answer::text(405, "method not allowed: use GET or HEAD\n"),
        })
    }

    fn resume(&self, now: Instant, pending: &AwaitedTurn) -> Option<Answer> {
        if self.posted().turns != pending.before {
            return Some(Answer::text(200, "ok\n"));
        }
        (now >= pending.until).then(|| Answer::text(503, "supervisor loop is blocked\n"))
    }

    fn note_connections(&self, count: usize) {
        self.connections.store(count, Ordering::Relaxed);
    }
}

impl Board {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the supervisor's loop; its next turn is the answer.
    fn await_turn(&self, now: Instant) -> Reply<AwaitedTurn> {
        let mut posted = self.posted();
        posted.awaited = true;
        let before = posted.turns;
        drop(posted);
        self.supervisor.wake();
        let until = now + TURN_LIMIT;
        Reply::Later { pending: AwaitedTurn { before, until }, until }
    }

    fn metrics(&self, now: Instant) -> Answer {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        Answer::metrics(page.recent(now).unwrap_or_else(|| {
            let posted = self.posted();
            let (fleet, listeners) = (posted.fleet.clone(), Arc::clone(&posted.listeners));
            drop(posted);
            page.make(&fleet, &listeners, self.connections.load(Ordering::Relaxed))
        }))
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
        .map(|ChildStatus { slot, pid, generation, state, leader }| {
            let state = state.name();
            format!(
                r#"{{"slot":{slot},"pid":{pid},"generation":{generation},"state":"{state}","leader":{leader}}}"#
            )
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
