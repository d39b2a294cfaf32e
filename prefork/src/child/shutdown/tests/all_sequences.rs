//! Every sequence of events of a stop, to a depth. The states are finite: run deeper, it visits all of them.
//!
//! The rules, beside those of [`explorer`](crate::explorer):
//!
//! 1. A child that serves does nothing but ask its master, once. Only an order, the master's death, a queue that is
//!    empty or has had its time, or a master that does not answer begins the close of the gate.
//! 2. A stop that is under way goes on: the child never serves again, and there is a next look until it is drained, in
//!    50 ms at most.
//! 3. `Shutdown` is signalled once: when the gate is closed and every connection is quiet, or has had its second; or
//!    where the server has returned, or the gate does not hold it. Behind the closed gate it does not wait for longer.
//!    Threads that are not seen in `accept` had the time to get there.
//! 4. The child is released once, and ended, only after `Shutdown` and when no connection is left; where the gate stays
//!    open, released only when the server has returned.
//! 5. A server that returns by itself is not ended.
//! 6. As many threads are woken as were seen in `accept`, after `Shutdown`, of a server that took one.
//! 7. From each state, a stop whose gate closes and whose server is quiet and returns comes to its end.

use super::*;
use crate::explorer::form::{Part, form_of};
use crate::explorer::{Model, STATES_MERGE, explore};

/// What differs between servers and systems.
#[derive(Debug, Clone, Copy)]
struct Kind {
    blocking: bool,
    gate_stays_open: bool,
    gate_holds: bool,
    cooperates: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Event(StopEvent),
    /// The next look, which may be late, and whether the gate can be closed then.
    Look {
        seen: Seen,
        late: bool,
        closes: bool,
    },
    /// An event that begins to close the gate, which is not possible yet.
    EventAtOpenGate(StopEvent),
}

/// A stop, and what was done in it.
#[derive(Debug, Clone)]
struct World {
    kind: Kind,
    sequence: StopSequence,
    now: Instant,
    returned: bool,
    asked: bool,
    inspected: bool,
    /// When the gate was closed.
    closed_at: Option<Instant>,
    /// Whether it could not be.
    failed_to_close: bool,
    signalled: bool,
    released: bool,
    ended: bool,
}

const SHORT_QUEUE_LIMIT: Duration = Duration::from_millis(300);
/// What a thread that is not seen in `accept` has to get there before `Shutdown`: it may be about to.
const TIME_TO_ENTER_ACCEPT: Duration = Duration::from_millis(140);
const EVENTS: [StopEvent; 5] = [
    StopEvent::Signalled,
    StopEvent::Noted,
    StopEvent::Ordered,
    StopEvent::OrderedAfterQueue,
    StopEvent::Orphaned,
];

impl World {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            sequence: StopSequence::new(kind.blocking, kind.gate_stays_open, SHORT_QUEUE_LIMIT),
            now: Instant::now(),
            returned: false,
            asked: false,
            inspected: false,
            closed_at: None,
            failed_to_close: false,
            signalled: false,
            released: false,
            ended: false,
        }
    }

    /// A look that finds all that was wanted as quiet as can be.
    fn quiet(&self) -> Seen {
        let wanted = self.sequence.wanted();
        let server = ServerProgress { cooperates: self.kind.cooperates, returned: self.returned };
        Seen {
            queued: wanted.queued.then_some(0),
            accepts: wanted.accepts.then_some(QUIET),
            active: wanted.active.then_some(false),
            connected: false,
            server,
        }
    }

    /// What a look can find; what is not wanted is not looked for.
    fn sights(&self) -> Vec<Seen> {
        let wanted = self.sequence.wanted();
        let mut sights = vec![self.quiet()];
        let vary = |sights: &mut Vec<Seen>, change: &dyn Fn(Seen) -> Seen| {
            let others: Vec<Seen> = sights.iter().map(|seen| change(*seen)).collect();
            sights.extend(others);
        };
        if wanted.queued {
            vary(&mut sights, &|seen| Seen { queued: Some(1), ..seen });
        }
        if wanted.accepts {
            let unfinished = SeenAccepts { waiting: 0, unfinished: true };
            let waiting = SeenAccepts { waiting: 2, unfinished: false };
            let first = sights.clone();
            for accepts in [Some(unfinished), Some(waiting), None] {
                sights.extend(first.iter().map(|seen| Seen { accepts, ..*seen }));
            }
        }
        if wanted.active {
            let first = sights.clone();
            for active in [Some(true), None] {
                sights.extend(first.iter().map(|seen| Seen { active, ..*seen }));
            }
        }
        if wanted.connected {
            vary(&mut sights, &|seen| Seen { connected: true, ..seen });
        }
        if !self.returned && self.signalled {
            vary(&mut sights, &|mut seen| {
                seen.server.returned = true;
                seen
            });
        }
        sights
    }

    fn handle(&mut self, event: StopEvent, closes: bool, seen: Option<Seen>) {
        let was_serving = self.sequence.is_serving();
        self.sequence.handle(self.now, event);
        let was_asked = matches!(event, StopEvent::Ordered | StopEvent::Orphaned);
        assert!(!was_asked || !self.sequence.is_serving(), "an order is not obeyed");
        let begins = was_asked || matches!(event, StopEvent::Signalled | StopEvent::OrderedAfterQueue);
        assert!(!was_serving || self.sequence.is_serving() || begins, "a stop begins by itself");
        assert!(
            was_serving || event == StopEvent::Noted || !self.sequence.is_serving(),
            "a stop is forgotten"
        );
        while let Some(action) = self.sequence.poll_action() {
            self.perform(action, closes, event, seen);
        }
    }

    fn perform(&mut self, action: StopAction, closes: bool, event: StopEvent, seen: Option<Seen>) {
        assert!(!self.ended, "{action:?} after the end");
        match action {
            StopAction::AskMaster => {
                assert!(!std::mem::replace(&mut self.asked, true), "the master is asked twice");
                assert_eq!(event, StopEvent::Signalled);
            }
            StopAction::Inspect => {
                assert!(!std::mem::replace(&mut self.inspected, true), "it is inspected twice");
                self.check_begin(event, seen);
                let answer = StopEvent::Inspected { gate_holds: self.kind.gate_holds };
                self.sequence.handle(self.now, answer);
            }
            StopAction::CloseGate => {
                assert!(self.inspected && self.closed_at.is_none(), "the gate is closed");
                let answer = if closes { StopEvent::GateClosed } else { StopEvent::GateNotClosed };
                self.closed_at = closes.then_some(self.now);
                self.failed_to_close |= !closes;
                self.sequence.handle(self.now, answer);
            }
            StopAction::SignalShutdown => {
                assert!(!std::mem::replace(&mut self.signalled, true), "it is signalled twice");
                self.check_signal(seen);
            }
            StopAction::WakeAcceptors(count) => {
                let waiting = seen.and_then(|seen| seen.accepts).map(|accepts| accepts.waiting);
                assert!(self.signalled && self.kind.cooperates && waiting == Some(count) && count > 0);
            }
            StopAction::Release => {
                assert!(!std::mem::replace(&mut self.released, true), "it is released twice");
                let seen = self.check_end(seen);
                assert!(
                    !self.kind.gate_stays_open || seen.server.returned,
                    "the open gate admits connections"
                );
            }
            StopAction::Exit => {
                let seen = self.check_end(seen);
                let interrupts = !self.kind.blocking || self.sequence.can_interrupt;
                let returns = seen.server.returned || (self.kind.cooperates && interrupts);
                assert!(!returns, "a server that returns is ended");
                self.ended = true;
            }
        }
    }

    /// The close of the gate begins for a reason.
    fn check_begin(&self, event: StopEvent, seen: Option<Seen>) {
        let is_ordered = matches!(event, StopEvent::Ordered | StopEvent::Orphaned);
        // A queue that is empty, or whose time is over, or the end of the wait for an answer.
        assert!(is_ordered || seen.is_some(), "{event:?} closes the gate");
    }

    fn check_signal(&self, seen: Option<Seen>) {
        if self.failed_to_close || !self.kind.gate_holds {
            return;
        }
        let (seen, closed_at) = (seen.expect("a look"), self.closed_at.expect("the gate is closed"));
        let elapsed = self.now - closed_at;
        let is_over = |limit: Duration| elapsed >= limit;
        let is_quiet = match seen.active {
            Some(active) => !active || is_over(ACTIVE_LIMIT),
            None => is_over(BLIND_WAIT),
        };
        let are_over = match seen.accepts {
            Some(accepts) => !accepts.unfinished || is_over(ACCEPT_LIMIT),
            None => is_over(BLIND_WAIT),
        };
        let is_safe = self.kind.gate_stays_open || (is_quiet && are_over);
        assert!(seen.server.returned || is_safe, "a connection may be lost: {seen:?}");
        let loops = self.kind.blocking && self.kind.cooperates;
        let is_behind_gate = match seen.accepts {
            // The first look may have found threads on the old socket.
            Some(accepts) => {
                (accepts.waiting > 0 && self.sequence.looks > 1) || is_over(TIME_TO_ENTER_ACCEPT)
            }
            None => true,
        };
        assert!(
            !loops || is_behind_gate || seen.server.returned,
            "a loop may be at the old socket: {seen:?}"
        );
    }

    fn check_end(&self, seen: Option<Seen>) -> Seen {
        let seen = seen.expect("a look");
        assert!(self.signalled && self.closed_at.is_some() && !seen.connected, "it ends early: {seen:?}");
        assert!(self.sequence.looks >= SETTLED_LOOKS, "a connection may not have been seen yet");
        seen
    }

    /// There is a next look, soon, and the stages take no longer than they may.
    fn check_waits(&self, looked: bool) {
        let stage = self.sequence.stage;
        let next = self.sequence.next_look();
        match stage {
            StopStage::Serving | StopStage::Noted => assert_eq!(next, None),
            StopStage::Drained => {
                assert_eq!(next, None);
                assert!(self.released || self.ended, "nothing ends the process");
            }
            StopStage::Asking { until } => assert_eq!(next, Some(until)),
            StopStage::Emptying { .. }
            | StopStage::Closing
            | StopStage::Settling { .. }
            | StopStage::Draining { .. } => {
                assert!(
                    next.is_some_and(|at| at <= self.now + LONGEST_PAUSE),
                    "no look, or a late one: {stage:?}"
                );
            }
        }
        if let (StopStage::Settling { since }, true) = (stage, looked) {
            let is_late = self.now - since >= ACTIVE_LIMIT && self.sequence.looks >= INTERRUPTING_LOOKS;
            assert!(!is_late, "`Shutdown` is not signalled");
        }
        if let (StopStage::Emptying { until, .. }, true) = (stage, looked) {
            assert!(until > self.now, "the queue has no more time");
        }
    }
}

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        if self.ended {
            return Vec::new();
        }
        let mut steps: Vec<Step> = EVENTS.map(Step::Event).to_vec();
        if !self.inspected {
            steps.extend([StopEvent::Ordered, StopEvent::Orphaned].map(Step::EventAtOpenGate));
        }
        if self.sequence.next_look().is_some() {
            for seen in self.sights() {
                steps.push(Step::Look { seen, late: false, closes: true });
                if self.closed_at.is_none() {
                    steps.push(Step::Look { seen, late: false, closes: false });
                }
            }
            steps.push(Step::Look { seen: self.quiet(), late: true, closes: true });
        }
        steps
    }

    fn take(&mut self, step: Step) -> Vec<Step> {
        match step {
            Step::Event(event) => self.handle(event, true, None),
            Step::EventAtOpenGate(event) => self.handle(event, false, None),
            Step::Look { seen, late, closes } => {
                self.now = self.sequence.next_look().expect("offered only then");
                if late {
                    self.now += ACTIVE_LIMIT * 2;
                }
                self.returned = seen.server.returned;
                self.handle(StopEvent::Looked(seen), closes, Some(seen));
            }
        }
        self.check_waits(matches!(step, Step::Look { .. }));
        Vec::new()
    }

    fn form(&self) -> u64 {
        let mut counted = self.clone();
        let sequence = &mut counted.sequence;
        // No rule tells higher counts from these; looks for late threads come back after so many.
        sequence.looks = sequence.looks.min(INTERRUPTING_LOOKS);
        sequence.wakes = sequence.wakes.min(WAKES);
        while sequence.draining_looks >= INTERRUPTING_LOOKS + LOOKS_BETWEEN_WAKES {
            sequence.draining_looks -= LOOKS_BETWEEN_WAKES;
        }
        form_of(self.now, &counted, |name| match name.as_bytes() {
            // No wait that began then is longer.
            b"since" | b"closed_at" => Part::Age(ACTIVE_LIMIT),
            b"now" => Part::Nothing,
            _ => Part::All,
        })
    }

    fn friendly(&self) -> Option<Step> {
        if self.ended || self.sequence.stage == StopStage::Drained {
            return None;
        }
        if self.sequence.is_serving() {
            return Some(Step::Event(StopEvent::Ordered));
        }
        let mut seen = self.quiet();
        seen.server.returned = self.signalled && self.kind.cooperates;
        Some(Step::Look { seen, late: false, closes: true })
    }
}

fn visit(kind: Kind, depth: usize, least: usize) {
    if !STATES_MERGE {
        return println!("{kind:?}: not explored on this system");
    }
    let visited = explore(&format!("{kind:?}"), World::new(kind), depth);
    assert!(visited.states >= least, "the model explores less than it did: {visited:?}");
}

#[test]
fn async_servers() {
    for (gate_holds, cooperates) in [(true, true), (true, false), (false, true), (false, false)] {
        visit(Kind { blocking: false, gate_stays_open: false, gate_holds, cooperates }, 10, 500);
    }
}

#[test]
fn accepting_threads() {
    for cooperates in [true, false] {
        visit(Kind { blocking: true, gate_stays_open: false, gate_holds: true, cooperates }, 10, 500);
    }
}

#[test]
fn systems_without_a_gate() {
    for (blocking, cooperates) in [(true, true), (true, false), (false, true), (false, false)] {
        visit(Kind { blocking, gate_stays_open: true, gate_holds: false, cooperates }, 10, 500);
    }
}
