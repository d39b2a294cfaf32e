//! Drives the stop of this child: does what the [`StopSequence`] decides, and looks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ServeState;
use super::shutdown::{Seen, SeenAccepts, ServerProgress, StopAction, StopEvent, StopSequence};
use crate::logging::Logger;
use crate::protocol::ToMaster;
use crate::shared;
use crate::sys::AcceptGate;

/// Within the range of the clock.
const LONGEST_QUEUE_LIMIT: Duration = Duration::from_secs(365 * 86_400);

/// See the [module](self).
pub(super) struct Drain {
    state: Arc<ServeState>,
    logger: Logger,
    gate: AcceptGate,
    /// The addresses of the listeners behind the gate, in its order.
    addrs: Vec<String>,
    /// Those whose queues the stop waits for, by their places; if there are none, all that no other child has.
    queues: Vec<usize>,
    sequence: StopSequence,
    /// Whether an attempt to close the gate has failed and was logged.
    failure_reported: bool,
}

impl Drain {
    pub(super) fn new(state: Arc<ServeState>, logger: Logger, gate: AcceptGate, addrs: Vec<String>) -> Self {
        // The rest of the grace is for what was accepted.
        let queue_limit = (state.context.grace() / 5 * 4).min(LONGEST_QUEUE_LIMIT);
        let sequence = StopSequence::new(state.blocking, gate.stays_open(), queue_limit);
        Self { state, logger, gate, addrs, queues: Vec::new(), sequence, failure_reported: false }
    }

    /// Whether no stop is under way.
    pub(super) fn is_serving(&self) -> bool {
        self.sequence.is_serving()
    }

    /// When [`look`](Self::look) is due, if a stop is under way.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.sequence.next_look()
    }

    /// Whether the server may let the kernel accept for it.
    pub(super) fn server_uses_io_uring(&self) -> bool {
        self.gate.server_uses_io_uring()
    }

    /// Stops once the queues of the listeners with these addresses are empty.
    pub(super) fn stop_after_queues(&mut self, addrs: &[String]) {
        self.queues = (0..self.addrs.len()).filter(|place| addrs.contains(&self.addrs[*place])).collect();
        self.handle(StopEvent::OrderedAfterQueue);
    }

    pub(super) fn handle(&mut self, event: StopEvent) {
        self.sequence.handle(Instant::now(), event);
        while let Some(action) = self.sequence.poll_action() {
            if let Some(answer) = self.perform(action) {
                self.sequence.handle(Instant::now(), answer);
            }
        }
    }

    /// Finds out what the sequence wants to know.
    pub(super) fn look(&mut self) {
        let wanted = self.sequence.wanted();
        let server =
            ServerProgress { cooperates: self.state.cooperates(), returned: self.state.has_returned() };
        let mut seen = Seen { server, ..Seen::default() };
        if wanted.queued {
            seen.queued = self.gate.queue_length(&self.queues).ok();
        }
        // Threads come before connections: one that leaves `accept` in between is seen in one of them.
        if wanted.accepts {
            let accepts = self.gate.interrupt_accepts().ok();
            seen.accepts = accepts.map(|(waiting, unfinished)| SeenAccepts { waiting, unfinished });
        }
        if wanted.active {
            seen.active = self.gate.has_active_connections().ok();
        }
        if wanted.connected {
            // The process ends after its work as the leader.
            seen.connected =
                self.gate.has_connections(server.returned) || self.state.context.leader().is_at_work();
        }
        self.handle(StopEvent::Looked(seen));
    }

    fn perform(&mut self, action: StopAction) -> Option<StopEvent> {
        match action {
            StopAction::AskMaster => {
                // A master that does not answer is dead, or stopped: the sequence waits for neither.
                let _ = self.state.context.send(ToMaster::StopRequested);
            }
            StopAction::Inspect => {
                return Some(StopEvent::Inspected { gate_holds: self.gate.holds_server() });
            }
            StopAction::CloseGate => return Some(self.close_gate()),
            StopAction::SignalShutdown => {
                self.state.context.stop().set();
                // For a server with a handler of its own. It comes no sooner than `Shutdown`.
                self.state.host.raise_stop_signal();
            }
            StopAction::WakeAcceptors(count) => self.gate.wake_acceptors(count),
            StopAction::Release => self.state.drained.set(),
            StopAction::Exit => {
                self.state.host.end_after_drain(i32::from(self.state.orphaned.load(Ordering::SeqCst)));
            }
        }
        None
    }

    fn close_gate(&mut self) -> StopEvent {
        // From now on answers can say that their connection is closed after them, and a fair share is one of the
        // other children.
        self.state.context.announce_stop();
        shared::note_drain();
        self.state.context.leader().close();
        let Err(error) = self.gate.close() else { return StopEvent::GateClosed };
        if !self.failure_reported {
            self.failure_reported = true;
            let event = self.logger.event("cannot_stop_accepting");
            event.warn(format_args!("{} cannot stop accepting yet: {error}", self.state.name()));
        }
        StopEvent::GateNotClosed
    }
}
