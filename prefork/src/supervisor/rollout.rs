//! Replacement of children, new before old: reload and recycling.
//!
//! One slot after the other (or a few at a time) gets a successor. When it is ready it becomes the
//! occupant, and the old occupant is asked to stop. A successor that fails ends the reload; the
//! children that serve stay, so that every slot has one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::canary::{CanaryPlan, Hold};
use super::policy::{SlotFailures, lifetime};
use super::trial::{SlotRole, Upgrade};
use super::{
    CanaryChoice, ChangeResult, Child, ChildId, Phase, RecycleReason, Remark, RollbackReason, Slot,
    StartReason, Supervisor, Tally, deadline,
};

/// The age at which a child is replaced at the earliest, whatever it or its limits ask for, so that replacements do
/// not keep the machine busy.
const LEAST_LIFETIME: Duration = Duration::from_millis(500);
/// Delay before another attempt to recycle, after one that failed.
const RECYCLE_AGAIN: Duration = Duration::from_secs(60);

/// Slots that wait for a successor, and the reason.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Rollout {
    pub(super) queue: VecDeque<usize>,
    pub(super) course: Course,
    /// Number of reloads and upgrades that have begun: the newest generation.
    pub(super) newest: u32,
    /// The generation that the present or the last reload leads to.
    pub(super) target: u32,
    pub(super) upgrade: Option<Upgrade>,
    /// The generation of the last completed reload, and of new slots.
    pub(super) settled: u32,
}

/// What is done with slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Course {
    /// Queued slots are recycled.
    #[default]
    Idle,
    /// Queued slots get a child of the generation `target`; with a canary, only some of them before the reload holds.
    Reloading { canary: Option<CanaryPlan> },
    /// The reload holds. Queued slots are recycled.
    Holding(Hold),
    /// The reload is rolled back: queued slots get a child of their own generation. When it is tried again with
    /// those that could not be replaced.
    Restoring { again_at: Option<Instant> },
}

/// What an upgrade has interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupted {
    Reload { target: u32, canary: Option<CanaryPlan> },
    Restoring,
}

impl Rollout {
    /// Cancels all replacements.
    pub(super) fn cancel(&mut self) {
        self.queue.clear();
        self.course = Course::Idle;
        self.upgrade = None;
    }

    /// Whether children are being replaced, and not because of their limits.
    pub(super) fn replaces_children(&self) -> bool {
        matches!(self.course, Course::Reloading { .. } | Course::Restoring { .. })
    }

    /// The newest generation of which children are, or will be.
    pub(super) fn leads_to(&self) -> u32 {
        match self.course {
            _ if self.upgrade.is_some() => self.newest,
            Course::Reloading { .. } | Course::Holding(_) => self.target,
            Course::Idle | Course::Restoring { .. } => self.settled,
        }
    }

    /// What is under way and would be interrupted by an upgrade, or what an upgrade has interrupted.
    pub(super) fn interruption(&self) -> Option<Interrupted> {
        let target = self.target;
        match self.course {
            Course::Reloading { canary } => Some(Interrupted::Reload { target, canary }),
            Course::Holding(Hold { plan, .. }) => {
                // It has the children that it has, however many slots there are by now.
                let canary = Some(CanaryPlan { children: 0, ..plan });
                Some(Interrupted::Reload { target, canary })
            }
            Course::Restoring { .. } => Some(Interrupted::Restoring),
            Course::Idle => self.upgrade.and_then(|upgrade| upgrade.interrupted),
        }
    }

    /// The generation of the reload that is under way, or that an upgrade has interrupted.
    pub(super) fn interrupted(&self) -> Option<u32> {
        match self.interruption() {
            Some(Interrupted::Reload { target, .. }) => Some(target),
            Some(Interrupted::Restoring) | None => None,
        }
    }

    /// Begins or continues a reload of these slots to the generation `target`.
    pub(super) fn resume(&mut self, target: u32, canary: Option<CanaryPlan>, queue: VecDeque<usize>) {
        self.queue = queue;
        self.target = target;
        self.course = Course::Reloading { canary };
    }
}

impl Supervisor {
    /// Replaces every child. A reload that is under way starts over.
    pub(super) fn reload(&mut self, now: Instant, choice: CanaryChoice) {
        self.report_replaced_upgrade();
        if let Some(generation) = self.rollout.interrupted() {
            self.log(Remark::ReloadReplaced { generation });
        }
        self.withdraw_successors(now);
        self.cancel_rollout(ChangeResult::Superseded);
        self.rollout.newest += 1;
        let generation = self.rollout.newest;
        let canary = self.plan_canary(choice);
        self.rollout.resume(generation, canary, (0..self.slots.len()).collect());
        self.log(match canary {
            Some(CanaryPlan { children, .. }) => {
                Remark::ReloadingCanary { generation, children: children.min(self.slots.len()) }
            }
            None => Remark::Reloading { generation },
        });
    }

    /// Cancels all replacements. A reload or an upgrade that is under way ends with this result.
    pub(super) fn cancel_rollout(&mut self, result: ChangeResult) {
        if self.rollout.interrupted().is_some() {
            self.totals.count(Tally::Reload(result));
        }
        if self.rollout.upgrade.is_some() {
            self.totals.count(Tally::Upgrade(result));
        }
        self.rollout.cancel();
    }

    /// The generation of the next reload.
    pub(crate) fn next_generation(&self) -> u32 {
        self.rollout.newest + 1
    }

    /// Whether a child of this generation may be started later.
    pub(crate) fn needs_generation(&self, generation: u32) -> bool {
        generation == self.rollout.settled
            || (self.rollout.upgrade.is_some() && generation == self.rollout.newest)
            || self.rollout.interrupted() == Some(generation)
            || self.starts.iter().any(|start| start.generation == generation)
            || self.slots.iter().any(|slot| [Some(slot.generation), slot.before].contains(&Some(generation)))
    }

    /// Adds a new slot to the reload, if one is under way.
    pub(super) fn add_to_reload(&mut self, slot: usize) {
        if let Course::Reloading { .. } = self.rollout.course {
            self.rollout.queue.push_back(slot);
        }
    }

    /// Replaces one child that asked for it; if it does so right after its start, a moment later, so that a
    /// program that always asks does not keep the machine busy.
    pub(super) fn recycle(&mut self, now: Instant, id: ChildId, reason: RecycleReason) {
        let Some(&Child { slot, phase: Phase::Serving { since }, .. }) = self.children.get(id) else {
            return;
        };
        if self.role_in_slot(id, slot) != SlotRole::Occupant {
            return;
        }
        let earliest = deadline(since, LEAST_LIFETIME);
        let at_once = matches!(reason, RecycleReason::Signalled | RecycleReason::Operator);
        if at_once || earliest <= now {
            self.queue_recycling(slot, reason);
        } else if self.slots[slot].recycle_at.is_none_or(|(at, _)| at > earliest) {
            self.slots.edit(slot).recycle_at = Some((earliest, reason));
        }
    }

    pub(super) fn queue_recycling(&mut self, slot: usize, reason: RecycleReason) {
        self.slots.edit(slot).recycle_requested = Some(reason);
        let Some(child) = self.slots[slot].occupant else { return };
        if self.is_active() && !self.rollout.queue.contains(&slot) && self.slots[slot].successor.is_none() {
            self.log(Remark::Recycling { child, reason });
            self.totals.count(Tally::Recycle(reason));
            self.rollout.queue.push_back(slot);
        }
    }

    /// Postpones the recycling of children that have reached a limit.
    pub(super) fn recycle_later(&mut self, now: Instant) {
        let again_at = deadline(now, RECYCLE_AGAIN);
        self.slots.edit_each(|slot| {
            if let Some(reason) = slot.recycle_requested.filter(|_| slot.successor.is_none()) {
                slot.recycle_at = Some((again_at, reason));
            }
        });
    }

    /// Sets the time at which the slot's new occupant reaches its greatest age.
    pub(super) fn limit_lifetime(&mut self, now: Instant, slot: usize) {
        let mut slot = self.slots.edit(slot);
        let limits = self.settings.max_lifetime.zip(slot.occupant);
        let at = |(limit, id): (_, ChildId)| deadline(now, lifetime(limit, id.0).max(LEAST_LIFETIME));
        slot.recycle_at = limits.map(|limits| (at(limits), RecycleReason::Lifetime));
    }

    /// Starts as many successors as may be under way at a time.
    pub(super) fn advance_rollout(&mut self, now: Instant) {
        // Nothing else is replaced during a trial, so that a failure is the trial's own.
        if !self.is_active() || self.rollout.upgrade.is_some() {
            return;
        }
        loop {
            self.start_successors();
            let course = self.rollout.course;
            self.end_course(now);
            if self.rollout.course == course {
                break;
            }
        }
    }

    /// Ends what is done.
    fn end_course(&mut self, now: Instant) {
        let done = self.rollout.queue.is_empty() || self.has_whole_canary();
        let done = done && self.slots.successors() == 0;
        match self.rollout.course {
            Course::Reloading { canary: Some(plan) } if done => self.begin_hold(now, plan),
            Course::Holding(_) if self.slots.revocable() == 0 => {
                self.roll_back(now, RollbackReason::Removed);
            }
            // A child of the new program may have ended again, or be the first of its slot.
            Course::Reloading { canary: None } if done && self.all_slots_live() => {
                self.cancel_rollout(ChangeResult::Done);
                self.rollout.settled = self.rollout.target;
                self.slots.edit_each(|slot| slot.before = None);
                self.log(Remark::Reloaded { generation: self.rollout.target });
                self.announce_if_complete();
            }
            Course::Restoring { .. } if self.is_restored() => self.finish_restoring(),
            _ => {}
        }
    }

    fn start_successors(&mut self) {
        while !self.rollout.queue.is_empty()
            && self.slots.successors() < self.settings.reload_parallel
            // Reloads in quick succession must not accumulate old children that drain.
            && self.children.leaving() < self.slots.len()
            && !self.has_whole_canary()
        {
            let Some(slot) = self.next_in_queue() else { break };
            if let Some((generation, reason)) = self.replacement_of(slot) {
                let id = self.spawn(slot, generation, reason);
                self.slots.edit(slot).successor = Some(id);
            }
        }
    }

    /// The generation of a queued slot's successor, and why it gets one. `None` if it is gone, or has a new child
    /// already.
    fn replacement_of(&self, index: usize) -> Option<(u32, StartReason)> {
        let slot = self.slots.get(index).filter(|slot| slot.successor.is_none())?;
        match self.rollout.course {
            Course::Reloading { .. } => Some((self.rollout.target, StartReason::Reload)),
            Course::Restoring { .. } if self.is_to_restore(index) => {
                Some((slot.generation, StartReason::Rollback))
            }
            Course::Idle | Course::Holding(_) | Course::Restoring { .. } => {
                slot.recycle_requested.map(|_| (slot.generation, StartReason::Recycle))
            }
        }
    }

    /// The next slot in the queue. That of the leader comes last: the leadership then moves once, to a new child. But
    /// a canary replaces the children of the one that it supersedes first.
    fn next_in_queue(&mut self) -> Option<usize> {
        let queue = &self.rollout.queue;
        let is_superseded = |slot: &usize| {
            self.slots.get(*slot).is_some_and(|slot| slot.before.is_some() && !self.is_reloaded(slot))
        };
        let first = match self.rollout.course {
            Course::Reloading { canary: Some(_) } => queue.iter().position(is_superseded),
            _ => None,
        };
        let place = first.or_else(|| queue.iter().position(|slot| !self.leads(*slot)));
        self.rollout.queue.remove(place.unwrap_or_default())
    }

    /// The successor is ready: it becomes the occupant, and the old one is asked to stop.
    pub(super) fn promote(&mut self, now: Instant, slot: usize, id: ChildId) {
        let generation = self.children.get(id).map(|child| child.generation);
        let is_revocable = generation.is_some() && generation == self.revocable_generation();
        let mut slot = self.slots.edit(slot);
        if generation.is_some_and(|generation| generation != slot.generation) {
            slot.before = is_revocable.then_some(slot.before.unwrap_or(slot.generation));
        }
        let old = slot.occupant.replace(id);
        slot.successor = None;
        slot.respawn_at = None;
        slot.predecessor = None;
        slot.failures = SlotFailures::default();
        slot.unstartable = false;
        slot.recycle_requested = None;
        slot.generation = generation.unwrap_or(slot.generation);
        drop(slot);
        if let Some(old) = old {
            self.terminate(now, old);
        }
    }

    /// The successor did not become ready.
    pub(super) fn successor_failed(&mut self, now: Instant, slot: usize) {
        if self.rollout.upgrade.is_some() {
            return self.upgrade_child_failed(now);
        }
        let is_new = self.slots[slot].before.is_some();
        match self.rollout.course {
            Course::Reloading { .. } => self.abort_reload(now, slot),
            Course::Holding(_) if is_new => self.roll_back(now, RollbackReason::Failed { slot }),
            Course::Restoring { .. } if is_new => self.restoring_failed(now, slot),
            Course::Idle | Course::Holding(_) | Course::Restoring { .. } => {
                self.recycle_later(now);
                self.log(Remark::RecyclingFailed { slot });
            }
        }
    }

    /// A child exited before it was ready, or within [`STABLE`](super::policy::STABLE) of that. If it is a new child
    /// of the reload under way, the new program does not work.
    pub(super) fn abort_reload_of(&mut self, now: Instant, slot: usize, generation: u32) {
        let is_reloading = matches!(self.rollout.course, Course::Reloading { .. });
        if is_reloading && generation == self.rollout.target {
            // The slot's next child is of the generation that works.
            self.slots.edit(slot).generation = self.rollout.settled;
            self.abort_reload(now, slot);
        }
    }

    /// Continues a reload that was interrupted.
    pub(super) fn resume_reload(&mut self, target: u32, canary: Option<CanaryPlan>) {
        self.rollout.resume(target, canary, VecDeque::new());
        let left = (0..self.slots.len()).filter(|slot| !self.is_reloaded(&self.slots[*slot]));
        self.rollout.queue = left.collect();
        self.log(Remark::ReloadResumed { generation: target });
    }

    fn abort_reload(&mut self, now: Instant, slot: usize) {
        if self.slots.revocable() > 0 {
            return self.roll_back(now, RollbackReason::Failed { slot });
        }
        self.cancel_rollout(ChangeResult::Aborted);
        self.withdraw_successors(now);
        self.recycle_later(now);
        let replaced = self.slots.iter().filter(|slot| self.is_reloaded(slot)).count();
        self.log(Remark::ReloadAborted { slot, replaced, of: self.slots.len() });
        self.announce_if_complete();
    }

    /// Asks every successor that is not ready to stop.
    pub(super) fn withdraw_successors(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            if let Some(id) = self.slots[slot].successor {
                self.slots.edit(slot).successor = None;
                self.terminate(now, id);
            }
        }
    }

    /// Whether the slot's child is of the generation that the reload leads to.
    pub(super) fn is_reloaded(&self, slot: &Slot) -> bool {
        let occupant = slot.occupant.and_then(|id| self.children.get(id));
        occupant.is_some_and(|child| child.generation == self.rollout.target)
    }
}
