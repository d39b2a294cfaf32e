//! What the thread of the control socket and the master's loop exchange: requests, progress and outcomes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Requester;
use super::operation::{Operation, OperationResult, Outcome};
use super::tracker::Progress;
use crate::master::messages::readable;
use crate::master::status::Change;
use crate::supervisor::{ChangeKind, FleetStatus};

/// The outcomes that are kept for clients that have not taken theirs: more than there are clients, whose requests may all
/// be carried out in one turn of the master's loop.
const OUTCOMES_MAX: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<DeskState>,
}

#[derive(Debug, Default)]
struct DeskState {
    last_id: u64,
    under_way: Option<UnderWay>,
    /// What `under_way` puts an end to, if it begins.
    interrupted: Option<UnderWay>,
    /// What the master has not taken yet: at most an operation, a rollback, a stop, one at once, and that log files are
    /// opened again.
    submitted: VecDeque<Submitted>,
    outcomes: VecDeque<(u64, Arc<Outcome>)>,
    /// Whether the master ends.
    closed: bool,
}

/// An operation that the master is to carry out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submitted {
    pub(super) id: u64,
    pub(crate) operation: Operation,
    pub(super) requester: Requester,
}

/// The operation that excludes others.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWay {
    pub(super) id: u64,
    pub(super) operation: Operation,
    pub(super) requester: Requester,
    pub(super) since: Instant,
    pub(super) generation: u32,
    pub(super) progress: Progress,
    /// Whether it is a reload that a rollback takes back.
    pub(super) is_revocable: bool,
}

impl Desk {
    /// A desk with an operation that the program before this one has begun.
    pub(super) fn with(under_way: UnderWay) -> Self {
        let state = DeskState { last_id: under_way.id, under_way: Some(under_way), ..DeskState::default() };
        Self { state: Mutex::new(state) }
    }

    /// Takes a request, unless another operation is under way. A stop may begin at any time, and one at once ends
    /// a stop that is under way; a rollback may begin while a reload that it takes back is under way. Log files may be
    /// opened again at any time. Returns by what to ask for the outcome.
    ///
    /// # Errors
    ///
    /// The answer.
    pub(super) fn submit(
        &self,
        now: Instant,
        operation: Operation,
        requester: Requester,
    ) -> Result<u64, Outcome> {
        let mut state = self.state();
        let name = operation.name();
        if state.closed {
            let message = "the master has ended".to_owned();
            return Err(Outcome::refusal(name, OperationResult::Refused, message));
        }
        let id = match (operation, state.under_way) {
            // It is over at once, and changes no child. Once answers every request from before it.
            (Operation::Reopen, _) => match state.submitted.iter().find(|one| one.operation == operation) {
                Some(waiting) => return Ok(waiting.id),
                None => state.next_id(),
            },
            (_, None) => state.begin(now, operation, requester),
            // It makes the present one quicker.
            (
                Operation::Stop { now: true },
                Some(UnderWay { id, operation: Operation::Stop { now: false }, .. }),
            ) => {
                state.under_way.iter_mut().for_each(|under_way| under_way.operation = operation);
                id
            }
            (Operation::Stop { .. }, Some(under_way)) if under_way.operation.name() != name => {
                state.begin(now, operation, requester)
            }
            (Operation::Rollback, Some(UnderWay { is_revocable: true, .. })) => {
                state.begin(now, operation, requester)
            }
            (_, Some(under_way)) => return Err(busy(now, operation, &under_way)),
        };
        state.submitted.push_back(Submitted { id, operation, requester });
        Ok(id)
    }

    pub(super) fn take_submitted(&self) -> Option<Submitted> {
        self.state().submitted.pop_front()
    }

    pub(super) fn has_submitted(&self) -> bool {
        !self.state().submitted.is_empty()
    }

    pub(super) fn under_way(&self) -> Option<UnderWay> {
        self.state().under_way
    }

    /// The operation that is under way, for `/status`.
    pub(super) fn change(&self) -> Option<Change> {
        let UnderWay { operation, generation, progress, .. } = self.state().under_way?;
        let (name, Progress { replaced, of }) = (operation.name(), progress);
        Some(Change { name, generation, replaced, of })
    }

    /// Notes how far the operation `id` is. Returns whether that is new.
    pub(super) fn note_progress(&self, id: u64, fleet: &FleetStatus, progress: Progress) -> bool {
        let mut state = self.state();
        let Some(under_way) = state.under_way.as_mut().filter(|under_way| under_way.id == id) else {
            return false;
        };
        under_way.generation = fleet.generation;
        let kind = fleet.change.map(|change| change.kind);
        under_way.is_revocable = kind == Some(ChangeKind::Reload { is_revocable: true });
        std::mem::replace(&mut under_way.progress, progress) != progress
    }

    /// The operation has ended.
    pub(super) fn conclude(&self, id: u64, outcome: Outcome) {
        let mut state = self.state();
        state.interrupted.take_if(|interrupted| interrupted.id == id);
        if state.under_way.take_if(|under_way| under_way.id == id).is_some() {
            // It is left if the one that was to end it was refused.
            state.under_way = state.interrupted.take();
        }
        state.outcomes.push_back((id, Arc::new(outcome)));
        if state.outcomes.len() > OUTCOMES_MAX {
            state.outcomes.pop_front();
        }
    }

    pub(super) fn outcome(&self, id: u64) -> Option<Arc<Outcome>> {
        let state = self.state();
        let outcome = state.outcomes.iter().find(|(ended, _)| *ended == id);
        outcome.map(|(_, outcome)| Arc::clone(outcome))
    }

    /// The master ends: what was not taken is refused, and streams end.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let left: Vec<Submitted> = state.submitted.drain(..).collect();
        drop(state);
        for Submitted { id, operation, .. } in left {
            if self.outcome(id).is_none() {
                let message = "the master has ended".to_owned();
                self.conclude(id, Outcome::refusal(operation.name(), OperationResult::Refused, message));
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeskState {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn begin(&mut self, since: Instant, operation: Operation, requester: Requester) -> u64 {
        let (id, progress) = (self.next_id(), Progress::default());
        let (generation, is_revocable) = (0, false);
        let begun = UnderWay { id, operation, requester, since, generation, progress, is_revocable };
        self.interrupted = self.under_way.replace(begun).or(self.interrupted.take());
        id
    }
}

fn busy(now: Instant, asked: Operation, under_way: &UnderWay) -> Outcome {
    let UnderWay { operation, requester, since, generation, progress, .. } = under_way;
    let elapsed = now.saturating_duration_since(*since);
    let mut message =
        format!("{} is under way for {}, requested by {requester}", operation.describe(), readable(elapsed));
    if progress.of > 0 {
        message += &format!("; {} of {} children so far", progress.replaced, progress.of);
    }
    Outcome {
        generation: *generation,
        replaced: progress.replaced,
        of: progress.of,
        ..Outcome::refusal(asked.name(), OperationResult::Busy, message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::supervisor::{CanaryChoice, ChangeStatus, FleetState};

    const RELOAD: Operation = Operation::Reload(CanaryChoice { children: None, hold: None });
    const STOP: Operation = Operation::Stop { now: false };
    const STOP_NOW: Operation = Operation::Stop { now: true };
    const ROOT: Requester = Requester { uid: 0, pid: Some(55) };

    /// A fleet whose reload to generation 3 can be taken back, or cannot.
    fn fleet(is_revocable: bool) -> FleetStatus {
        let kind = ChangeKind::Reload { is_revocable };
        let change = ChangeStatus { kind, generation: 3, replaced: 0, of: 4 };
        let fleet = FleetStatus::without_children(FleetState::Reloading);
        FleetStatus { generation: 3, change: Some(change), ..fleet }
    }

    fn done(operation: Operation) -> Outcome {
        Outcome::refusal(operation.name(), OperationResult::Done, "done".to_owned())
    }

    #[test]
    fn second_operation_is_told_what_is_under_way() {
        let (desk, now) = (Desk::default(), Instant::now());
        let id = desk.submit(now, RELOAD, ROOT).unwrap();
        desk.note_progress(id, &fleet(false), Progress { replaced: 1, of: 4 });
        let busy = desk.submit(now + Duration::from_secs(2), Operation::Upgrade, ROOT).unwrap_err();
        assert_eq!((busy.operation, busy.result), ("upgrade", OperationResult::Busy));
        assert_eq!(
            busy.message,
            "a reload is under way for 2s, requested by uid 0 (pid 55); 1 of 4 children so far"
        );
        assert_eq!(desk.take_submitted().map(|submitted| submitted.id), Some(id));
        assert!(desk.outcome(id).is_none());
        desk.conclude(id, done(RELOAD));
        assert!(desk.outcome(id).is_some() && desk.change().is_none());
        assert!(desk.submit(now, Operation::Upgrade, ROOT).is_ok());
    }

    #[test]
    fn stop_begins_at_any_time_and_one_at_once_ends_the_same_stop() {
        let (desk, now) = (Desk::default(), Instant::now());
        let reload = desk.submit(now, RELOAD, ROOT).unwrap();
        let stop = desk.submit(now, STOP, ROOT).unwrap();
        assert_ne!(stop, reload);
        assert_eq!(desk.submit(now, STOP, ROOT).unwrap_err().result, OperationResult::Busy);
        assert_eq!(desk.submit(now, STOP_NOW, ROOT).unwrap(), stop);
        assert_eq!(desk.submit(now, STOP_NOW, ROOT).unwrap_err().result, OperationResult::Busy);
        assert_eq!(desk.submit(now, RELOAD, ROOT).unwrap_err().result, OperationResult::Busy);
        desk.conclude(reload, done(RELOAD));
        assert_eq!(desk.change().unwrap().name, "stop", "the end of the reload is not that of the stop");
    }

    #[test]
    fn rollback_begins_while_a_reload_that_it_takes_back_is_under_way() {
        let (desk, now) = (Desk::default(), Instant::now());
        let reload = desk.submit(now, RELOAD, ROOT).unwrap();
        desk.note_progress(reload, &fleet(false), Progress::default());
        let busy = desk.submit(now, Operation::Rollback, ROOT).unwrap_err();
        assert_eq!(busy.result, OperationResult::Busy, "one without a canary cannot be taken back");
        desk.note_progress(reload, &fleet(true), Progress::default());
        let rollback = desk.submit(now, Operation::Rollback, ROOT).unwrap();
        assert_eq!(desk.submit(now, RELOAD, ROOT).unwrap_err().result, OperationResult::Busy);
        assert!(!desk.note_progress(reload, &fleet(true), Progress { replaced: 1, of: 4 }));

        // It is refused: the reload goes on.
        desk.conclude(rollback, done(Operation::Rollback));
        assert_eq!(desk.change().unwrap().name, "reload");
        let rollback = desk.submit(now, Operation::Rollback, ROOT).unwrap();
        // It has begun: the reload has ended.
        desk.conclude(reload, done(RELOAD));
        desk.conclude(rollback, done(Operation::Rollback));
        assert_eq!(desk.change(), None);
    }

    #[test]
    fn log_files_may_be_opened_again_at_any_time() {
        let (desk, now) = (Desk::default(), Instant::now());
        let first = desk.submit(now, Operation::Reopen, ROOT).unwrap();
        assert!(desk.under_way().is_none());
        let reload = desk.submit(now, RELOAD, ROOT).unwrap();
        let second = desk.submit(now, Operation::Reopen, ROOT).unwrap();
        for id in [first, second] {
            desk.conclude(id, done(Operation::Reopen));
            assert_eq!(desk.outcome(id).unwrap().operation, "reopen");
        }
        assert!(desk.outcome(reload).is_none());
        assert_eq!(desk.change().unwrap().name, "reload");
    }

    #[test]
    fn requests_that_were_not_taken_are_refused_at_the_end() {
        let (desk, now) = (Desk::default(), Instant::now());
        let id = desk.submit(now, RELOAD, ROOT).unwrap();
        desk.close();
        assert_eq!(desk.outcome(id).unwrap().result, OperationResult::Refused);
        assert_eq!(desk.submit(now, STOP, ROOT).unwrap_err().result, OperationResult::Refused);
    }

    #[test]
    fn outcomes_that_are_kept_are_bounded() {
        let (desk, now) = (Desk::default(), Instant::now());
        for _ in 0..2 * OUTCOMES_MAX {
            let id = desk.submit(now, RELOAD, ROOT).unwrap();
            desk.take_submitted();
            desk.conclude(id, done(RELOAD));
        }
        assert_eq!(desk.state().outcomes.len(), OUTCOMES_MAX);
    }
}
