//! The leadership of the fleet, as a child sees it: it asks when its program waits, and says when the program's work
//! as the leader has ended.
//!
//! ```text
//!          candidate              lead
//!  Idle ──────────────▶ Asked ──────────▶ Leading
//!    ▲   the program waits                   │  resign, stop, death of the master: the term is over
//!    └───────────────────────────────────────┘
//!      resigned: the program has dropped every `LeaderTerm`
//! ```
//!
//! The channel keeps the order of messages, so the two sides need no numbers: each `lead` is answered by one
//! `resigned`, and a `resign` that crosses it finds no term.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::latch::Latch;
use crate::protocol::ToMaster;

/// How often a child asks at most: a program that gives the leadership up at once, again and again, keeps neither its
/// master busy nor is taken for one that floods it.
const ASKING_INTERVAL: Duration = Duration::from_secs(1);

type Tell = Box<dyn Fn(ToMaster) + Send + Sync>;

/// What the link thread and the program's handles share.
pub(super) struct LeaderState {
    state: Mutex<State>,
    /// The threads that wait to become the leader.
    threads: Condvar,
    tell: Tell,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Whether this child stops or has lost its master: it is the leader no more.
    closed: bool,
    /// The [`LeaderTerm`]s that exist.
    terms: usize,
    next_waiter: u64,
    /// What waits to become the leader: threads, and tasks with their wakers.
    waiters: BTreeMap<u64, Option<Waker>>,
    asked_at: Option<Instant>,
    /// Whether a thread asks later.
    asks_later: bool,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Asked,
    /// The latch is set when the term is over.
    Leading(Latch),
}

impl std::fmt::Debug for LeaderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderState").field("state", &*self.lock()).finish_non_exhaustive()
    }
}

impl LeaderState {
    pub(super) fn new(tell: Tell) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), threads: Condvar::new(), tell })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The master says that this child is the leader.
    pub(super) fn lead(self: &Arc<Self>) {
        self.change(|state| {
            state.stage = Stage::Leading(Latch::new());
            if state.closed {
                // The message crossed the end of this child's link or its stop.
                state.end_term();
            }
        });
    }

    /// The master asks this child to resign.
    pub(super) fn resign(self: &Arc<Self>) {
        self.change(State::end_term);
    }

    /// This child stops, or has lost its master.
    pub(super) fn close(self: &Arc<Self>) {
        self.change(|state| {
            state.closed = true;
            state.end_term();
        });
    }

    /// Whether the program's work as the leader has not ended.
    pub(super) fn is_at_work(&self) -> bool {
        self.lock().terms > 0
    }

    /// Makes a change, tells the master what follows from it, and wakes what waits.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        // Under the lock: the messages keep their order.
        if state.takes_leave() {
            state.stage = Stage::Idle;
            (self.tell)(ToMaster::Resigned);
        }
        if state.wants_to_ask() {
            self.ask(&mut state);
        }
        let tasks = if state.answers() { state.take_wakers() } else { Vec::new() };
        let wakes_threads = state.answers();
        drop(state);
        if wakes_threads {
            self.threads.notify_all();
        }
        tasks.into_iter().for_each(Waker::wake);
        result
    }

    fn ask(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        let left = state.asked_at.map(|at| ASKING_INTERVAL.saturating_sub(now.saturating_duration_since(at)));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let shared = Arc::clone(self);
            let later = move || {
                thread::sleep(left);
                shared.change(|state| state.asks_later = false);
            };
            let started = thread::Builder::new().name("prefork-leader".to_owned()).spawn(later);
            if started.is_ok() {
                state.asks_later = true;
                return;
            }
        }
        state.asked_at = Some(now);
        state.stage = Stage::Asked;
        (self.tell)(ToMaster::Candidate);
    }

    fn end_one(self: &Arc<Self>) {
        self.change(|state| state.terms -= 1);
    }
}

impl State {
    fn end_term(&mut self) {
        if let Stage::Leading(over) = &self.stage {
            over.set();
        }
    }

    fn leads(&self) -> Option<&Latch> {
        match &self.stage {
            Stage::Leading(over) if !over.is_set() => Some(over),
            Stage::Leading(_) | Stage::Idle | Stage::Asked => None,
        }
    }

    /// Whether the term ends: nothing works as the leader, and nothing is about to.
    fn takes_leave(&self) -> bool {
        let is_leading = matches!(self.stage, Stage::Leading(_));
        is_leading && self.terms == 0 && (self.leads().is_none() || self.waiters.is_empty())
    }

    fn wants_to_ask(&self) -> bool {
        let is_idle = matches!(self.stage, Stage::Idle);
        is_idle && !self.closed && !self.asks_later && !self.waiters.is_empty()
    }

    /// Whether there is an answer for what waits.
    fn answers(&self) -> bool {
        self.closed || self.leads().is_some()
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.waiters.values_mut().filter_map(Option::take).collect()
    }

    fn add_waiter(&mut self, task: Option<Waker>) -> u64 {
        self.next_waiter += 1;
        self.waiters.insert(self.next_waiter, task);
        self.next_waiter
    }

    /// The latch of a new [`LeaderTerm`], if there is an answer; `None` in it if the child is closed.
    fn take(&mut self) -> Option<Option<Latch>> {
        if let Some(over) = self.leads().cloned() {
            self.terms += 1;
            return Some(Some(over));
        }
        self.closed.then_some(None)
    }
}

/// Becomes the leader of the fleet: the one child that does what is to be done once, such as a schedule, a migration
/// or the upkeep of a cache. From [`ChildContext::leadership`](crate::ChildContext::leadership), or an argument of the
/// serve function. Cheap to clone.
///
/// A child that waits is a candidate. The master makes one candidate that serves the leader, and tells it; it gets a
/// [`LeaderTerm`], and is the leader until that is dropped. If its process ends, another child is the leader at once. A
/// child that is about to be stopped is asked to end its term first ([`LeaderTerm::is_over`]); in a reload and an
/// upgrade the leadership moves to a new child, once.
///
/// **At most one child of a fleet has a `LeaderTerm`**: a new leader is told only when the last one has dropped its
/// terms, or when its process has ended. No timeout takes the leadership from a child that lives. So:
///
/// - A leader that keeps its term after it was asked to stop delays the next leader until it is killed at the end of
///   `shutdown_grace`. A child that drains does not end before its terms are dropped, or its grace is over.
/// - A leader that hangs, or that was stopped by SIGSTOP, stays the leader. `hang_timeout` ends a child that hangs.
/// - If the master is killed, each child learns it at once, and the term is over. Nothing then awaits the end of its
///   work: a fleet that is started anew may have a leader while an orphan is finishing, for `shutdown_grace` at most.
///   Where that is not enough, have the work itself take a lock (a file's, or the database's).
/// - What a killed leader has sent to another system may have its effect there later, and a process that it has started
///   may outlive it.
///
/// Nothing is sent or woken while nothing changes, and a child that never waits costs nothing. With `workers = 0`
/// this process is the leader.
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::time::Duration;
///
/// #[prefork::main]
/// fn serve(ln: TcpListener, leadership: prefork::Leadership) -> std::io::Result<()> {
///     std::thread::spawn(move || {
///         // `None`: this child stops.
///         while let Some(term) = leadership.wait() {
///             while !term.wait_timeout(Duration::from_secs(60)) {
///                 // … what one child does each minute
///             }
///         }
///     });
///     for stream in ln.incoming() {
///         # drop(stream);
///         // …
///     }
///     Ok(())
/// }
/// # fn example() { main(); }
/// ```
///
/// In async code, `leadership.term().await` is the next term, and [`LeaderTerm::over`] a future for its end.
#[derive(Debug, Clone)]
pub struct Leadership {
    shared: Arc<LeaderState>,
}

impl Leadership {
    pub(super) fn new(shared: Arc<LeaderState>) -> Self {
        Self { shared }
    }

    /// Whether this child is the leader now, and was not asked to end its term.
    ///
    /// For logs and answers. Work that only the leader may do holds a [`LeaderTerm`] while it runs: this answer can be
    /// out of date when it is read.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.lock().leads().is_some()
    }

    /// Blocks this thread until this child is the leader. Returns at once if it is.
    ///
    /// Only a child that is ready becomes the leader. A child asks its master once a second at most: one that has given
    /// the leadership up by itself and waits again does not have it back sooner.
    ///
    /// `None`: this child stops, or has lost its master. It does not become the leader any more.
    #[must_use = "the term ends when it is dropped"]
    pub fn wait(&self) -> Option<LeaderTerm> {
        let waiter = self.shared.change(|state| state.add_waiter(None));
        let mut state = self.shared.lock();
        let taken = loop {
            match state.take() {
                Some(taken) => break taken,
                None => state = self.shared.threads.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        self.shared.change(|state| state.waiters.remove(&waiter));
        taken.map(|over| LeaderTerm { shared: Arc::clone(&self.shared), over })
    }

    /// A future of what [`wait`](Self::wait) returns. It needs no runtime.
    pub fn term(&self) -> NextTerm {
        NextTerm { shared: Arc::clone(&self.shared), waiter: None }
    }
}

/// Resolves when this child is the leader; see [`Leadership::term`].
///
/// Once it was polled, drop it or poll it to its end: a child with a future that is kept and not polled can be the leader,
/// and does nothing.
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct NextTerm {
    shared: Arc<LeaderState>,
    waiter: Option<u64>,
}

impl Future for NextTerm {
    /// `None`: this child stops, or has lost its master.
    type Output = Option<LeaderTerm>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = Arc::clone(&self.shared);
        let waiter = self.waiter;
        // The old waker is dropped without the lock: that can drop a task, and a term with it.
        let (taken, waiter, _old) = shared.change(|state| {
            let old = waiter.and_then(|waiter| state.waiters.remove(&waiter));
            match state.take() {
                Some(taken) => (Some(taken), None, old),
                None => (None, Some(state.add_waiter(Some(context.waker().clone()))), old),
            }
        });
        self.waiter = waiter;
        match taken {
            Some(over) => Poll::Ready(over.map(|over| LeaderTerm { shared, over })),
            None => Poll::Pending,
        }
    }
}

impl Drop for NextTerm {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.shared.change(|state| state.waiters.remove(&waiter));
        }
    }
}

/// This child is the leader of its fleet while this exists; see [`Leadership`].
///
/// Hold it while the work runs that only the leader may do, end the work when the term [is over](Self::is_over), and
/// drop it then. A term that is dropped earlier gives the leadership to another candidate. Clones, and terms that
/// other threads and tasks of this child were given, are the same term: it ends when the last one is dropped.
#[derive(Debug)]
#[must_use = "the term ends when it is dropped"]
pub struct LeaderTerm {
    shared: Arc<LeaderState>,
    over: Latch,
}

impl LeaderTerm {
    /// Whether this child has to end its work as the leader: it is to stop, another child is to be the leader, or the
    /// master is dead.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.is_set()
    }

    /// Blocks this thread until the term is over.
    pub fn wait(&self) {
        self.over.wait();
    }

    /// Blocks this thread until the term is over, or for this time. Returns whether the term is over.
    #[must_use = "the term may be over"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.over.wait_timeout(timeout)
    }

    /// A future that resolves when the term is over. It does not keep the term.
    pub fn over(&self) -> TermOver {
        TermOver { latch: self.over.clone() }
    }
}

impl Clone for LeaderTerm {
    fn clone(&self) -> Self {
        self.shared.change(|state| state.terms += 1);
        Self { shared: Arc::clone(&self.shared), over: self.over.clone() }
    }
}

impl Drop for LeaderTerm {
    fn drop(&mut self) {
        self.shared.end_one();
    }
}

/// Resolves when a term is over; see [`LeaderTerm::over`]. Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "a future does nothing until it is polled"]
pub struct TermOver {
    latch: Latch,
}

impl Future for TermOver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.latch).poll(context)
    }
}

#[cfg(test)]
mod tests;
