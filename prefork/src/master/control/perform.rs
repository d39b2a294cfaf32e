//! Operations as requests to the supervisor.

use std::sync::Arc;
use std::time::Instant;

use prefork_options as options;

use super::Submitted;
use super::operation::{Operation, Size};
use super::tracker::ready_pid;
use crate::logging::Follower;
use crate::master::Master;
use crate::supervisor::{Event, FleetStatus, RecycleReason, Request};

/// Why a reload with a hold alone is refused.
pub(super) const HOLD_ALONE: &str = "hold has no meaning without a canary: add `canary=N`";

impl Master {
    /// Carries out what clients of the control socket have asked for. Returns whether there was anything.
    pub(in crate::master) fn take_operations(&mut self) -> bool {
        let mut any = false;
        while let Some(submitted) = self.observers.take_operation() {
            any = true;
            let before = self.supervisor.status(Instant::now());
            if submitted.operation == Operation::Reopen {
                let since = Instant::now();
                let reopened = self.reopen_logs();
                self.observers.answer_reopen(submitted, since, before.generation, reopened);
                continue;
            }
            // What is logged from here on belongs to the operation.
            let record = Follower::record();
            match self.perform_operation(submitted.operation, &before) {
                Ok(()) => self.begin_operation(submitted, record, &before),
                Err(reason) => self.observers.refuse_operation(submitted, reason),
            }
        }
        any
    }

    fn begin_operation(&mut self, submitted: Submitted, record: Arc<Follower>, before: &FleetStatus) {
        let after = self.supervisor.status(Instant::now());
        self.observers.begin_operation(submitted, record, before, &after);
    }

    /// # Errors
    ///
    /// Why it is refused; then nothing was changed.
    fn perform_operation(&mut self, operation: Operation, fleet: &FleetStatus) -> Result<(), String> {
        let now = Instant::now();
        let is_stop = matches!(operation, Operation::Stop { .. });
        if !is_stop && !self.supervisor.takes_changes() {
            return Err(self.report_not_begun(operation, "the fleet stops".to_owned()));
        }
        match operation {
            Operation::Reload(choice) if choice.hold.is_some() && !self.supervisor.has_canary(choice) => {
                Err(self.report_not_begun(operation, HOLD_ALONE.to_owned()))
            }
            Operation::Reload(choice) => self.try_request(now, Request::ReloadWith(choice)),
            Operation::Upgrade => self.try_request(now, Request::Upgrade),
            Operation::Workers(size) => {
                let count = new_size(size, fleet.slots);
                let count = count.map_err(|reason| self.report_not_begun(operation, reason))?;
                self.try_request(now, Request::Resize(count))
            }
            Operation::Stop { now: false } => self.try_request(now, Request::Stop),
            Operation::Stop { now: true } => self.try_request(now, Request::Quit),
            Operation::Recycle(slot) => {
                self.recycle_slot(now, slot, fleet).map_err(|reason| self.report_not_begun(operation, reason))
            }
            Operation::Promote => self.promote(),
            Operation::Rollback => self.roll_back(),
            // It is answered before.
            Operation::Reopen => Ok(()),
        }
    }

    /// Logs why an operation does not begin, and returns it.
    fn report_not_begun(&self, operation: Operation, reason: String) -> String {
        let event = self.plan.logger.event("operation_refused");
        event.warn(format_args!("refused: {}: {reason}", operation.describe()));
        reason
    }

    fn recycle_slot(&mut self, now: Instant, slot: usize, fleet: &FleetStatus) -> Result<(), String> {
        if slot >= fleet.slots {
            return Err(format!("there is no slot {slot}: the fleet has {}, from 0", fleet.slots));
        }
        let pid = ready_pid(fleet, slot);
        let child = self.children.iter().find(|(_, entry)| Some(entry.pid) == pid).map(|(child, _)| *child);
        let child = child.ok_or_else(|| format!("slot {slot} has no ready child to replace"))?;
        self.supervisor.handle(now, Event::RecycleRequested(child, RecycleReason::Operator));
        Ok(())
    }
}

/// The number of slots that a fleet with so many is to have.
///
/// # Errors
///
/// It cannot have so many.
fn new_size(size: Size, slots: usize) -> Result<usize, String> {
    let most = usize::try_from(options::WORKERS_MAX).unwrap_or(usize::MAX);
    match size.of(slots) {
        0 => Err(format!("a fleet keeps one slot, and this one has {slots}: a stop ends it")),
        count if count > most => Err(format!("a fleet has {most} slots at most, and this one has {slots}")),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_of_the_slots_that_there_are() {
        for (size, slots, expected) in [
            (Size::To(8192), 1, Ok(8192)),
            (Size::By(2), 3, Ok(5)),
            (Size::By(-2), 3, Ok(1)),
            (Size::By(0), 3, Ok(3)),
            (Size::By(-3), 3, Err("keeps one slot, and this one has 3")),
            (Size::By(-8191), 1, Err("keeps one slot, and this one has 1")),
            (Size::By(8191), 2, Err("8192 slots at most, and this one has 2")),
        ] {
            match (new_size(size, slots), expected) {
                (Err(refused), Err(reason)) => assert!(refused.contains(reason), "{refused}"),
                (count, expected) => assert_eq!(count, expected.map_err(str::to_owned), "{size:?}"),
            }
        }
    }
}
