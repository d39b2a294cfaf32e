//! Finds out how an operation ends, from what the supervisor says and counts. PURE: no clock, no descriptor.
//!
//! The supervisor knows nothing of operations: they are requests as signals make them. So an operation ends when the
//! fleet is as it asked for, or when the supervisor has counted another result, or has said that it failed.

use super::operation::{Operation, OperationResult};
use crate::master::messages::{children, readable};
use crate::supervisor::{
    ChangeKind, ChangeResult, ChildState, FleetState, FleetStatus, FleetTotals, Remark, RollbackReason, Tally,
};

/// The operation that is under way.
#[derive(Debug)]
pub(super) struct Tracker {
    operation: Operation,
    /// What was counted when it began.
    totals: FleetTotals,
    /// Whether an upgrade has executed the program: this is the new one.
    executed: bool,
    /// The number of slots before.
    slots: usize,
    /// The pid of the child that is to be recycled.
    old: Option<u32>,
    /// What the supervisor has said of its failure.
    failure: Option<Failure>,
    /// What the supervisor has said when the reload began to hold.
    holding: Option<String>,
    /// The generation that a rollback has restored.
    restored: Option<u32>,
    /// Whether a rollback cannot restore a slot, for now.
    is_stuck: bool,
    progress: Progress,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) replaced: usize,
    pub(super) of: usize,
}

#[derive(Debug)]
struct Failure {
    /// The slot whose child has failed.
    slot: usize,
    message: String,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) result: OperationResult,
    pub(super) message: String,
    /// The slot whose child has failed.
    pub(super) slot: Option<usize>,
}

impl Ending {
    pub(super) fn new(result: OperationResult, message: impl Into<String>) -> Self {
        Self { result, message: message.into(), slot: None }
    }
}

impl Tracker {
    /// The operation was requested: `before` is the fleet before that, `after` right after it.
    pub(super) fn begin(operation: Operation, before: &FleetStatus, after: &FleetStatus) -> Self {
        let of = match operation {
            Operation::Workers(size) => size.of(before.slots).abs_diff(before.slots),
            Operation::Recycle(_) => 1,
            Operation::Stop { .. } => before.children.len(),
            Operation::Rollback => after.change.map_or(0, |change| change.of),
            Operation::Reload(_) | Operation::Upgrade | Operation::Promote => after.slots,
            Operation::Reopen => 0,
        };
        Self {
            operation,
            totals: after.totals,
            executed: false,
            slots: before.slots,
            old: match operation {
                Operation::Recycle(slot) => ready_pid(before, slot),
                _ => None,
            },
            failure: None,
            holding: None,
            restored: None,
            is_stuck: false,
            progress: Progress { replaced: 0, of },
        }
    }

    /// The upgrade that the program before this one has begun, with what that had counted.
    pub(super) fn resume_upgrade(totals: FleetTotals, slots: usize) -> Self {
        let progress = Progress { replaced: 0, of: slots };
        let operation = Operation::Upgrade;
        Self {
            operation,
            totals,
            executed: true,
            slots,
            old: None,
            failure: None,
            holding: None,
            restored: None,
            is_stuck: false,
            progress,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Notes what the supervisor says.
    pub(super) fn note(&mut self, remark: &Remark) {
        if let Remark::Holding { generation, children: new, of, hold } = remark {
            let end = hold.map(|hold| format!(", or for {}", readable(hold))).unwrap_or_default();
            self.holding = Some(format!(
                "holding: generation {generation} has {new} of {}, until promote or rollback{end}",
                children(*of)
            ));
        }
        if let Remark::RolledBack { generation } = remark {
            self.restored = Some(*generation);
        }
        if let Remark::RestoringFailed { slot, .. } = remark {
            self.is_stuck = true;
            let message = format!(
                "child {slot} is not rolled back yet: the child of the generation before did not become ready; it is \
                 tried again"
            );
            self.failure = Some(Failure { slot: *slot, message });
            return;
        }
        let failure = match (self.operation, remark) {
            (_, Remark::RollingBack { reason: RollbackReason::Failed { slot }, .. }) => Failure {
                slot: *slot,
                message: format!("new child {slot} failed; the old generation is restored"),
            },
            (
                Operation::Reload(_) | Operation::Promote | Operation::Upgrade,
                Remark::ReloadAborted { slot, replaced, of },
            ) => {
                self.progress = Progress { replaced: *replaced, of: *of };
                let upgraded = if self.executed { "the master runs the new program; " } else { "" };
                let message = format!(
                    "new child {slot} failed; {upgraded}{replaced} of {of} children replaced, the others keep running"
                );
                Failure { slot: *slot, message }
            }
            (Operation::Upgrade, Remark::CheckFailed) => Failure {
                slot: 0,
                message: "the new program failed its check; the fleet is unchanged".to_owned(),
            },
            (Operation::Upgrade, Remark::TrialFailed) => Failure {
                slot: 0,
                message: "the trial child did not become ready; the fleet is unchanged".to_owned(),
            },
            (Operation::Recycle(recycled), Remark::RecyclingFailed { slot }) if recycled == *slot => {
                Failure {
                    slot: *slot,
                    message: format!(
                        "child {slot} is not replaced yet: the new child did not become ready; it is tried again later"
                    ),
                }
            }
            (Operation::Workers(_), Remark::GrowUndone { slot, from, to }) => Failure {
                slot: *slot,
                message: format!(
                    "resize from {to} to {from} children undone: child {slot} could not be started"
                ),
            },
            (Operation::Workers(_), Remark::RespawnIn { slot, .. } | Remark::StartRetried { slot })
                if *slot >= self.slots =>
            {
                Failure {
                    slot: *slot,
                    message: format!("new child {slot} failed before it was ready; it is tried again"),
                }
            }
            _ => return,
        };
        self.failure.get_or_insert(failure);
    }

    /// How the operation has ended, if it has.
    pub(super) fn turn(&mut self, fleet: &FleetStatus) -> Option<Ending> {
        match self.operation {
            Operation::Reload(_) => self.change(fleet, Tally::Reload),
            Operation::Upgrade if self.executed => self.change(fleet, Tally::Reload),
            Operation::Upgrade => self.change(fleet, Tally::Upgrade),
            Operation::Workers(size) => self.resize(fleet, size.of(self.slots)),
            Operation::Recycle(slot) => self.recycle(fleet, slot),
            Operation::Stop { .. } => {
                let left = fleet.children.len();
                self.progress.replaced = self.progress.replaced.max(self.progress.of.saturating_sub(left));
                None
            }
            // The reload that it is about ends as it does.
            Operation::Promote => self.change(fleet, Tally::Reload),
            Operation::Rollback => self.rollback(fleet),
            // It has ended before it is tracked.
            Operation::Reopen => None,
        }
    }

    /// A reload or an upgrade: the supervisor counts each result. One with a canary has done what it was asked for when
    /// it holds.
    fn change(&mut self, fleet: &FleetStatus, tally: fn(ChangeResult) -> Tally) -> Option<Ending> {
        if let Some(change) = &fleet.change {
            self.progress = Progress { replaced: change.replaced, of: change.of };
            if change.kind == ChangeKind::Rollback {
                return self.is_stuck.then(|| self.failed(OperationResult::Aborted));
            }
        }
        if fleet.state == FleetState::Holding && matches!(self.operation, Operation::Reload(_)) {
            return Some(Ending::new(OperationResult::Done, self.holding.take()?));
        }
        let results = [
            (ChangeResult::Done, OperationResult::Done),
            (ChangeResult::Aborted, OperationResult::Aborted),
            (ChangeResult::Superseded, OperationResult::Superseded),
            (ChangeResult::Cancelled, OperationResult::Cancelled),
            (ChangeResult::Refused, OperationResult::Refused),
            (ChangeResult::RolledBack, OperationResult::Aborted),
        ];
        let has_risen = |(counted, _): &&(ChangeResult, OperationResult)| {
            fleet.totals.get(tally(*counted)) > self.totals.get(tally(*counted))
        };
        let (_, result) = *results.iter().find(has_risen)?;
        let generation = fleet.generation;
        let done = match (result, self.operation) {
            (OperationResult::Done, Operation::Upgrade) => {
                format!("upgraded: every child is of generation {generation}")
            }
            (OperationResult::Done, _) => format!("reloaded: every child is of generation {generation}"),
            (OperationResult::Superseded, _) => "a later request has taken its place".to_owned(),
            (OperationResult::Cancelled, _) => "the fleet was asked to stop".to_owned(),
            _ => return Some(self.failed(result)),
        };
        if result == OperationResult::Done {
            self.progress = Progress { replaced: fleet.slots, of: fleet.slots };
        }
        Some(Ending::new(result, done))
    }

    fn rollback(&mut self, fleet: &FleetStatus) -> Option<Ending> {
        if let Some(generation) = self.restored {
            self.progress.replaced = self.progress.of;
            let message = format!("rolled back: the fleet is of generation {generation} again");
            return Some(Ending::new(OperationResult::Done, message));
        }
        if let Some(change) = fleet.change.filter(|change| change.kind == ChangeKind::Rollback) {
            self.progress = Progress { replaced: change.replaced, of: change.of };
            return self.is_stuck.then(|| self.failed(OperationResult::Aborted));
        }
        let message = "the fleet was asked to stop, or another request has taken its place";
        Some(Ending::new(OperationResult::Superseded, message))
    }

    fn failed(&mut self, result: OperationResult) -> Ending {
        let name = self.operation.name();
        match self.failure.take() {
            Some(Failure { slot, message }) => {
                Ending { slot: Some(slot), ..Ending::new(result, format!("{name} aborted: {message}")) }
            }
            None => Ending::new(result, format!("{name} aborted: see `log`")),
        }
    }

    fn resize(&mut self, fleet: &FleetStatus, count: usize) -> Option<Ending> {
        if self.failure.is_some() {
            return Some(self.failed(OperationResult::Aborted));
        }
        if fleet.slots != count {
            let message = format!("the fleet has {} slots: a later request has taken its place", fleet.slots);
            return Some(Ending::new(OperationResult::Superseded, message));
        }
        let left = if count >= self.slots {
            (self.slots..count).filter(|slot| ready_pid(fleet, *slot).is_none()).count()
        } else {
            let mut slots: Vec<usize> = fleet.children.iter().map(|child| child.slot).collect();
            slots.retain(|slot| *slot >= count);
            slots.sort_unstable();
            slots.dedup();
            slots.len()
        };
        self.progress.replaced = self.progress.of.saturating_sub(left);
        let from = self.slots;
        let message = if from == count {
            format!("the fleet has {count} slots already")
        } else {
            format!("resized from {from} to {}", children(count))
        };
        (left == 0).then(|| Ending::new(OperationResult::Done, message))
    }

    fn recycle(&mut self, fleet: &FleetStatus, slot: usize) -> Option<Ending> {
        if self.failure.is_some() {
            return Some(self.failed(OperationResult::Aborted));
        }
        if slot >= fleet.slots {
            return Some(Ending::new(
                OperationResult::Superseded,
                format!("there is no slot {slot} any more"),
            ));
        }
        let new = fleet.children.iter().find(|child| {
            child.slot == slot && child.state == ChildState::Ready && Some(child.pid) != self.old
        })?;
        self.progress.replaced = 1;
        let old = self.old.map_or_else(String::new, |old| format!(" takes the place of pid {old}"));
        let message = format!("child {slot} (pid {}){old}", new.pid);
        Some(Ending::new(OperationResult::Done, message))
    }
}

/// The pid of the slot's ready child.
pub(super) fn ready_pid(fleet: &FleetStatus, slot: usize) -> Option<u32> {
    let ready =
        |child: &&crate::supervisor::ChildStatus| child.slot == slot && child.state == ChildState::Ready;
    fleet.children.iter().find(ready).map(|child| child.pid)
}

#[cfg(test)]
mod tests;
