//! The stop of a child: events in, actions out, time as an argument. The driver in `drain.rs` does the
//! system calls.
//!
//! ```text
//!            Signalled            Noted
//!  Serving ────────────▶ Asking ────────▶ Noted
//!    │                     │ ASK_LIMIT      │
//!    ├─────────────────────┴────────────────┤
//!    │ OrderedAfterQueue                    │ Ordered, Orphaned
//!    ▼        the queues stay empty,        ▼
//!  Emptying ────────────────────────────▶ Closing ◀─┐ GateNotClosed
//!               Ordered, Orphaned           │ └─────┘
//!                                           │ GateClosed
//!                                           ▼
//!  Draining ◀────── SignalShutdown ────── Settling
//!    │                                    threads leave `accept`,
//!    │ no connection is left              connections become quiet
//!    ▼
//!  Drained: the serve function returns, or the process exits
//! ```
//!
//! What it promises to a server that knows nothing of it: the server accepts no connection once the gate
//! is closed; [`Shutdown`](crate::Shutdown) resolves only when every accepted connection is quiet, for
//! [`ACTIVE_LIMIT`] at most, so that a server which then closes idle connections closes none with a request
//! on its way; and the process ends when the last accepted connection is closed.
//!
//! Two kinds of servers learn of the stop before the gate is closed, because it does not hold them: one
//! with io_uring, whose pending accepts keep the old socket, and any server where the system has no gate.

mod seen;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) use seen::{Seen, SeenAccepts, ServerProgress, Wanted};

/// The pause before the second look at a stage, and the factor by which pauses grow.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const PAUSE_GROWTH_IN_HALVES: u32 = 3;
/// The longest pause. The end of the last connection is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long a child that received a signal waits for the order of its master, which may be busy or
/// stopped.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// A queue that was empty for this many looks in a row stays empty: handshakes that had begun are over. The
/// looks take from 250 ms to 550 ms, which is longer than a round trip to most clients.
const EMPTY_LOOKS: u32 = 12;
/// Threads that were about to enter `accept` when the gate was closed, or when `Shutdown` was signalled, are
/// behind the gate after this many looks, which take 140 ms.
const INTERRUPTING_LOOKS: u32 = 10;
/// After this many looks every accepted connection has been seen at least once.
const SETTLED_LOOKS: u32 = 3;
/// How often threads that wait in `accept` behind the closed gate are woken in a row to look at their stop
/// flag.
const WAKES: u32 = 5;
/// After that, the looks from one for threads that have come to `accept` late to the next: 1 s. Such a thread
/// had other work, or no CPU.
const LOOKS_BETWEEN_WAKES: u32 = 20;
/// How long `Shutdown` waits for connections to become quiet: a client that has sent nothing for this long
/// after it connected is idle, and one that sends more all the time is not told in a better moment.
const ACTIVE_LIMIT: Duration = Duration::from_secs(1);
/// A thread that cannot be seen outside `accept` for this long has other work, or blocks the signal.
const ACCEPT_LIMIT: Duration = Duration::from_millis(500);
/// How long to wait where the system cannot tell what threads and connections do.
const BLIND_WAIT: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopEvent {
    /// This process received a request to stop that is not the master's: a signal.
    Signalled,
    /// The master knows of the signal. It orders the stop when it is time.
    Noted,
    /// The master orders the stop.
    Ordered,
    /// The master orders the stop once the queues of certain listeners are empty.
    OrderedAfterQueue,
    /// The master is dead.
    Orphaned,
    /// The answer to `Inspect`.
    Inspected { gate_holds: bool },
    /// An answer to `CloseGate`.
    GateClosed,
    /// The other answer to `CloseGate`.
    GateNotClosed,
    /// The time of [`StopSequence::next_look`] has passed, and this is what was seen.
    Looked(Seen),
}

/// What the driver has to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopAction {
    /// Ask the master to replace this child and to order its stop.
    AskMaster,
    /// Find out whether the closed gate holds this server; answered by `Inspected`.
    Inspect,
    /// Close the accept gate; answered by `GateClosed` or `GateNotClosed`.
    CloseGate,
    /// Tell the server to stop.
    SignalShutdown,
    /// Wake that many threads that wait in `accept` behind the closed gate.
    WakeAcceptors(usize),
    /// Let the process end once the serve function has returned: no connection is left.
    Release,
    /// End the process: the server does not return by itself.
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopStage {
    Serving,
    Asking {
        until: Instant,
    },
    /// The child serves on, for as long as its master needs to replace it.
    Noted,
    Emptying {
        until: Instant,
        empty_looks: u32,
    },
    Closing,
    Settling {
        since: Instant,
    },
    Draining {
        since: Instant,
    },
    Drained,
}

/// See the [module](self).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct StopSequence {
    stage: StopStage,
    actions: VecDeque<StopAction>,
    next_look: Option<Instant>,
    pause: Duration,
    /// Whether the server accepts in threads, and not on a runtime.
    blocking: bool,
    /// Whether the system has no gate: until the serve function has returned, it can accept.
    gate_stays_open: bool,
    /// How long the queues may take to become empty.
    queue_limit: Duration,
    /// Whether `SignalShutdown` was an action.
    shutdown_signalled: bool,
    released: bool,
    /// Whether threads that wait in `accept` can be made to leave it.
    can_interrupt: bool,
    /// Looks since the gate was closed.
    looks: u32,
    /// Looks since `Shutdown` was signalled at a closed gate, and wakes.
    draining_looks: u32,
    wakes: u32,
    /// Whether threads are being woken that went to `accept` after their last connection.
    wakes_again: bool,
}

impl StopSequence {
    pub(super) fn new(blocking: bool, gate_stays_open: bool, queue_limit: Duration) -> Self {
        Self {
            stage: StopStage::Serving,
            actions: VecDeque::new(),
            next_look: None,
            pause: FIRST_PAUSE,
            blocking,
            gate_stays_open,
            queue_limit,
            shutdown_signalled: false,
            released: false,
            can_interrupt: true,
            looks: 0,
            draining_looks: 0,
            wakes: 0,
            wakes_again: false,
        }
    }

    /// The next thing to do, if there is one.
    pub(super) fn poll_action(&mut self) -> Option<StopAction> {
        self.actions.pop_front()
    }

    /// Whether no stop is under way.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.stage, StopStage::Serving | StopStage::Noted)
    }

    /// When to look next; never without a stop.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// What the look has to find out.
    pub(super) fn wanted(&self) -> Wanted {
        match self.stage {
            StopStage::Serving
            | StopStage::Asking { .. }
            | StopStage::Noted
            | StopStage::Closing
            | StopStage::Drained => Wanted::default(),
            StopStage::Emptying { .. } => Wanted { queued: true, ..Wanted::default() },
            StopStage::Settling { .. } => Wanted { accepts: true, active: true, ..Wanted::default() },
            StopStage::Draining { .. } => {
                let accepts = !self.is_settled() || self.looks_for_late_threads();
                Wanted { accepts, connected: true, ..Wanted::default() }
            }
        }
    }

    /// Handles an event that happened at `now`.
    pub(super) fn handle(&mut self, now: Instant, event: StopEvent) {
        match (event, self.stage) {
            (StopEvent::Signalled, StopStage::Serving) => {
                let until = now + ASK_LIMIT;
                self.stage = StopStage::Asking { until };
                self.next_look = Some(until);
                self.actions.push_back(StopAction::AskMaster);
            }
            (StopEvent::Noted, StopStage::Asking { .. }) => {
                self.stage = StopStage::Noted;
                self.next_look = None;
            }
            (
                StopEvent::OrderedAfterQueue,
                StopStage::Serving | StopStage::Asking { .. } | StopStage::Noted,
            ) => {
                self.enter(now, StopStage::Emptying { until: now + self.queue_limit, empty_looks: 0 });
            }
            (
                StopEvent::Ordered | StopEvent::Orphaned,
                StopStage::Serving | StopStage::Asking { .. } | StopStage::Noted | StopStage::Emptying { .. },
            ) => self.begin_to_close(),
            (StopEvent::Inspected { gate_holds }, StopStage::Closing) => {
                if !gate_holds {
                    self.signal_shutdown();
                }
                self.actions.push_back(StopAction::CloseGate);
            }
            (StopEvent::GateClosed, StopStage::Closing) => {
                self.enter(now, StopStage::Settling { since: now });
            }
            (StopEvent::GateNotClosed, StopStage::Closing) => {
                // A server that learns of the stop may close what is in the way.
                self.signal_shutdown();
                self.look_later(now);
            }
            (StopEvent::Looked(seen), _) => self.looked(now, seen),
            // A stop that is under way is not begun again.
            (
                StopEvent::Signalled
                | StopEvent::Noted
                | StopEvent::Ordered
                | StopEvent::OrderedAfterQueue
                | StopEvent::Orphaned
                | StopEvent::Inspected { .. }
                | StopEvent::GateClosed
                | StopEvent::GateNotClosed,
                _,
            ) => {}
        }
    }

    fn looked(&mut self, now: Instant, seen: Seen) {
        match self.stage {
            StopStage::Serving | StopStage::Noted | StopStage::Drained => self.next_look = None,
            StopStage::Asking { until } if until <= now => self.begin_to_close(),
            StopStage::Asking { .. } => {}
            StopStage::Emptying { until, empty_looks } => self.look_at_queue(now, until, empty_looks, seen),
            StopStage::Closing => {
                self.next_look = None;
                self.actions.push_back(StopAction::CloseGate);
            }
            StopStage::Settling { since } => self.settle(now, since, seen),
            StopStage::Draining { since } => self.drain(now, since, seen),
        }
    }

    fn look_at_queue(&mut self, now: Instant, until: Instant, empty_looks: u32, seen: Seen) {
        // Where the system does not tell the queue's length, the queue counts as empty.
        let empty = seen.queued.unwrap_or(0) == 0;
        let empty_looks = if empty { empty_looks + 1 } else { 0 };
        if empty_looks >= EMPTY_LOOKS || until <= now {
            return self.begin_to_close();
        }
        self.stage = StopStage::Emptying { until, empty_looks };
        self.look_later(now);
    }

    fn begin_to_close(&mut self) {
        self.stage = StopStage::Closing;
        self.next_look = None;
        self.actions.push_back(StopAction::Inspect);
    }

    /// Waits until threads have left `accept` and connections are quiet, and signals `Shutdown` then.
    ///
    /// The order matters. A loop may look at its stop flag right after `accept`, and drop the connection
    /// that it has just accepted: its thread has to wait behind the gate before. A runtime may close a
    /// connection that it has not read yet, or that its client is about to use again.
    fn settle(&mut self, now: Instant, since: Instant, seen: Seen) {
        self.looks += 1;
        let elapsed = now.saturating_duration_since(since);
        self.can_interrupt = seen.accepts.is_some();
        let loops = self.blocking && seen.server.cooperates && self.can_interrupt;
        // The first look may have found threads on the old socket.
        let behind_gate = self.looks > 1 && seen.accepts.is_some_and(|accepts| accepts.waiting > 0);
        let threads_wait = !loops || behind_gate || self.looks >= INTERRUPTING_LOOKS;
        let quiet =
            self.gate_stays_open || (accepts_are_over(seen, elapsed) && connections_are_quiet(seen, elapsed));
        if seen.server.returned || (threads_wait && quiet) {
            self.signal_shutdown();
            self.stage = StopStage::Draining { since };
        }
        self.look_again(now, seen);
    }

    fn drain(&mut self, now: Instant, since: Instant, seen: Seen) {
        let was_settled = self.is_settled();
        let wakes = self.wanted().accepts && seen.server.cooperates;
        self.looks = self.looks.saturating_add(1);
        self.draining_looks = self.draining_looks.saturating_add(1);
        let waiting = seen.accepts.map_or(0, |accepts| accepts.waiting);
        if wakes && waiting > 0 {
            self.wakes = self.wakes.saturating_add(1);
            self.actions.push_back(StopAction::WakeAcceptors(waiting));
        }
        if was_settled && !seen.connected && self.blocking && !self.wakes_again {
            // Threads that serve what they accept are in `accept` only now.
            self.wakes_again = true;
            (self.draining_looks, self.wakes) = (0, 0);
        }
        let elapsed = now.saturating_duration_since(since);
        let accepts_are_over = was_settled || accepts_are_over(seen, elapsed);
        if !seen.connected && accepts_are_over && self.looks >= SETTLED_LOOKS {
            self.no_connection_is_left(seen);
        }
        if self.stage != StopStage::Drained {
            self.look_again(now, seen);
        }
    }

    fn no_connection_is_left(&mut self, seen: Seen) {
        let ServerProgress { cooperates, returned } = seen.server;
        // A gate that stays open admits connections until the server has returned.
        if !self.released && (!self.gate_stays_open || returned) {
            self.released = true;
            self.actions.push_back(StopAction::Release);
        }
        // Behind the closed gate, a server without a `Shutdown` waits for ever, and so does a loop that
        // cannot be interrupted.
        let returns = returned || (cooperates && (self.can_interrupt || !self.blocking));
        if !returns {
            self.actions.push_back(StopAction::Exit);
        }
        // A loop that is not seen in `accept` yet has to be woken there.
        let is_awaited = self.blocking && !self.gate_stays_open;
        if self.released && (!returns || returned || (self.is_settled() && !is_awaited)) {
            self.stage = StopStage::Drained;
            self.next_look = None;
        }
    }

    /// Whether no thread has to be interrupted or woken any more. A wake-up behind a closed gate stays
    /// queued until a thread takes it; at an open gate a client's connection can take its place.
    fn is_settled(&self) -> bool {
        !self.gate_stays_open && (self.draining_looks >= INTERRUPTING_LOOKS || self.wakes >= WAKES)
    }

    /// Whether this look is for threads that have come to `accept` since the others were woken.
    fn looks_for_late_threads(&self) -> bool {
        self.blocking && self.draining_looks % LOOKS_BETWEEN_WAKES == 0
    }

    fn signal_shutdown(&mut self) {
        if !self.shutdown_signalled {
            self.shutdown_signalled = true;
            self.actions.push_back(StopAction::SignalShutdown);
        }
    }

    /// Enters a stage whose first look is due at once.
    fn enter(&mut self, now: Instant, stage: StopStage) {
        self.stage = stage;
        self.pause = FIRST_PAUSE;
        self.next_look = Some(now);
    }

    /// Plans the next look at a closed gate. While every thread was seen outside `accept`, the first ones follow each
    /// other at once. One that is in `accept` needs the pause: it is taken to be behind the gate when it is seen there again.
    fn look_again(&mut self, now: Instant, seen: Seen) {
        self.look_later(now);
        let is_outside = seen.accepts.is_some_and(|accepts| accepts.waiting == 0 && !accepts.unfinished);
        if is_outside && self.looks < SETTLED_LOOKS {
            self.next_look = Some(now);
        }
    }

    fn look_later(&mut self, now: Instant) {
        self.next_look = Some(now + self.pause);
        self.pause = (self.pause * PAUSE_GROWTH_IN_HALVES / 2).min(LONGEST_PAUSE);
    }
}

/// Whether every accepted connection has a descriptor by now.
fn accepts_are_over(seen: Seen, elapsed: Duration) -> bool {
    match seen.accepts {
        Some(accepts) => !accepts.unfinished || elapsed >= ACCEPT_LIMIT,
        None => elapsed >= BLIND_WAIT,
    }
}

/// Whether no client of an accepted connection is about to send, or has just sent.
fn connections_are_quiet(seen: Seen, elapsed: Duration) -> bool {
    match seen.active {
        Some(active) => !active || elapsed >= ACTIVE_LIMIT,
        None => elapsed >= BLIND_WAIT,
    }
}

#[cfg(test)]
mod tests;
