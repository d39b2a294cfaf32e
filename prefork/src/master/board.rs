//! What the master's loop posts at the end of its turns, and what its endpoints answer from that.
//!
//! - `/livez` is 200 if the loop turns within a second of being woken, otherwise 503;
//! - `/readyz` is 200 if the fleet has started, a child serves and no stop was requested, otherwise 503;
//! - `/status` describes the fleet in JSON;
//! - `/metrics` has its metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::http::Answer;
use super::metrics::{History, MetricsPage, ProcessUsages};
use super::status::{Change, StatusPage};
use super::templates::TemplateStatus;
use crate::listen::WatchedListeners;
use crate::supervisor::FleetStatus;
use crate::sys::Waker;

/// How long a turn of the supervisor's loop may take. A hook that takes longer makes the master not live.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// See the [module](self). The loop writes and the servers read.
#[derive(Debug)]
pub(super) struct Board {
    posted: Mutex<Posted>,
    supervisor: Waker,
    pages: Mutex<Pages>,
    health_connections: AtomicUsize,
}

/// What answers are made with. Both servers use it.
#[derive(Debug)]
struct Pages {
    metrics: MetricsPage,
    status: StatusPage,
    usages: ProcessUsages,
}

#[derive(Debug)]
struct Posted {
    /// Turns of the loop so far.
    turns: u64,
    /// Whether an answer waits for the next turn.
    awaited: bool,
    fleet: FleetStatus,
    templates: Vec<TemplateStatus>,
    listeners: Arc<[WatchedListeners]>,
}

/// The number of turns when a request came that asks for another one.
#[derive(Debug)]
pub(super) struct AwaitedTurn {
    before: u64,
    pub(super) until: Instant,
}

impl Board {
    pub(super) fn new(
        supervisor: Waker,
        fleet: FleetStatus,
        listeners: Vec<WatchedListeners>,
        history: History,
    ) -> Self {
        Self {
            posted: Mutex::new(Posted {
                turns: 0,
                awaited: false,
                fleet,
                templates: Vec::new(),
                listeners: listeners.into(),
            }),
            supervisor,
            pages: Mutex::new(Pages {
                status: StatusPage::new(history.clone()),
                metrics: MetricsPage::new(history),
                usages: ProcessUsages::new(),
            }),
            health_connections: AtomicUsize::new(0),
        }
    }

    /// Posts the listeners whose queues are told, when they have changed.
    pub(super) fn watch(&self, listeners: Vec<WatchedListeners>) {
        self.posted().listeners = listeners.into();
    }

    /// Posts the fleet's state during a turn.
    pub(super) fn post(&self, fleet: FleetStatus) {
        self.posted().fleet = fleet;
    }

    /// Posts the state of the fleet and of its templates.
    pub(super) fn post_all(&self, fleet: FleetStatus, templates: Vec<TemplateStatus>) {
        let mut posted = self.posted();
        (posted.fleet, posted.templates) = (fleet, templates);
    }

    /// Ends a turn of the supervisor's loop. Returns whether an answer waits for that.
    pub(super) fn end_turn(&self) -> bool {
        let mut posted = self.posted();
        posted.turns = posted.turns.wrapping_add(1);
        std::mem::take(&mut posted.awaited)
    }

    pub(super) fn note_health_connections(&self, count: usize) {
        self.health_connections.store(count, Ordering::Relaxed);
    }

    /// Ends the wait of the supervisor's loop.
    pub(super) fn wake_supervisor(&self) {
        self.supervisor.wake();
    }

    /// Wakes the supervisor's loop; its next turn is the answer.
    pub(super) fn await_turn(&self, now: Instant) -> AwaitedTurn {
        let mut posted = self.posted();
        posted.awaited = true;
        let before = posted.turns;
        drop(posted);
        self.supervisor.wake();
        AwaitedTurn { before, until: now + TURN_LIMIT }
    }

    /// The answer to `/livez`, if it is known now.
    pub(super) fn liveness(&self, now: Instant, awaited: &AwaitedTurn) -> Option<Answer> {
        if self.posted().turns != awaited.before {
            return Some(Answer::text(200, "ok\n"));
        }
        (now >= awaited.until).then(|| Answer::text(503, "supervisor loop is blocked\n"))
    }

    pub(super) fn readiness(&self) -> Answer {
        let posted = self.posted();
        if posted.fleet.is_ready() {
            return Answer::text(200, "ok\n");
        }
        let FleetStatus { state, ready, slots, .. } = &posted.fleet;
        Answer::text(503, &format!("{}: {ready} of {slots} ready\n", state.name()))
    }

    pub(super) fn metrics(&self, now: Instant) -> Answer {
        let mut pages = self.pages();
        let Pages { metrics, usages, .. } = &mut *pages;
        Answer::metrics(metrics.recent(now).unwrap_or_else(|| {
            let (fleet, templates, listeners) = self.fleet_and_more();
            metrics.make(
                &fleet,
                &templates,
                &listeners,
                self.health_connections.load(Ordering::Relaxed),
                usages,
            )
        }))
    }

    /// The fleet in JSON. `change` is what an operator has asked for and is under way, if there is such a thing.
    pub(super) fn status(&self, now: Instant, change: Option<Change>) -> Answer {
        let (fleet, templates, listeners) = self.fleet_and_more();
        let mut pages = self.pages();
        let Pages { status, usages, .. } = &mut *pages;
        Answer::json(200, status.make(now, &fleet, &templates, &listeners, change, usages))
    }

    fn fleet_and_more(&self) -> (FleetStatus, Vec<TemplateStatus>, Arc<[WatchedListeners]>) {
        let posted = self.posted();
        (posted.fleet.clone(), posted.templates.clone(), Arc::clone(&posted.listeners))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
