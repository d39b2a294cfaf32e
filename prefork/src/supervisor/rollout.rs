//! Replacement of children, new before old: reload and recycling.
//!
//! One slot after the other (or a few at a time) gets a successor. When it is ready it becomes the
//! occupant, and the old occupant is asked to stop. A successor that fails ends the reload; the
//! children that serve stay, so that every slot has one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::policy::{SlotFailures, lifetime};
use super::trial::Upgrade;
use super::{
    ChangeResult, ChildId, Phase, RecycleReason, Remark, Slot, StartReason, Supervisor, Tally, deadline,
};

/// The age at which a child is replaced at the earliest, whatever it or its limits ask for, so that replacements do
/// not keep the machine busy.
const LEAST_LIFETIME: Duration = Duration::from_millis(500);
/// Delay before another attempt to recycle, after one that failed.
const RECYCLE_AGAIN: Duration = Duration::from_secs(60);

/// Slots that wait for a successor, and the reason.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    queue: VecDeque<usize>,
    /// Whether a reload is under way; without one, the queued slots are being recycled.
    reloading: bool,
    /// Number of reloads and upgrades that have begun: the newest generation.
    pub(super) newest: u32,
    /// The generation that the present or the last reload leads to.
    target: u32,
    pub(super) upgrade: Option<Upgrade>,
    /// The generation of the last completed reload, and of new slots.
    pub(super) settled: u32,
}

impl Rollout {
    /// Cancels all replacements.
    pub(super) fn cancel(&mut self) {
        self.queue.clear();
        self.reloading = false;
        self.upgrade = None;
    }

    pub(super) fn is_reloading(&self) -> bool {
        self.reloading
    }

    /// The newest generation of which children are, or will be.
    pub(super) fn leads_to(&self) -> u32 {
        if self.upgrade.is_some() { self.newest } else { self.target }
    }

    /// The generation of the reload that is under way, or that an upgrade has interrupted.
    pub(super) fn interrupted(&self) -> Option<u32> {
        let under_way = self.reloading.then_some(self.target);
        under_way.or(self.upgrade.and_then(|upgrade| upgrade.interrupted))
    }

    /// Begins or continues a reload of these slots to the generation `target`.
    pub(super) fn resume(&mut self, target: u32, queue: VecDeque<usize>) {
        self.queue = queue;
        self.target = target;
        self.reloading = true;
    }
}

impl Supervisor {
    /// Replaces every child. A reload that is under way starts over.
    pub(super) fn reload(&mut self, now: Instant) {
        self.report_replaced_upgrade();
        self.withdraw_successors(now);
        self.cancel_rollout(ChangeResult::Superseded);
        self.rollout.newest += 1;
        self.rollout.resume(self.rollout.newest, (0..self.slots.len()).collect());
        self.log(Remark::Reloading { generation: self.rollout.newest });
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
            || self.slots.iter().any(|slot| slot.generation == generation)
    }

    /// Adds a new slot to the reload, if one is under way.
    pub(super) fn add_to_reload(&mut self, slot: usize) {
        if self.rollout.reloading {
            self.rollout.queue.push_back(slot);
        }
    }

    /// Replaces one child that asked for it; if it does so right after its start, a moment later, so that a
    /// program that always asks does not keep the machine busy.
    pub(super) fn recycle(&mut self, now: Instant, id: ChildId, reason: RecycleReason) {
        let Some(slot) = self.slots.iter().position(|slot| slot.occupant == Some(id)) else { return };
        let Some(Phase::Serving { since }) = self.children.get(&id).map(|child| child.phase) else { return };
        let earliest = deadline(since, LEAST_LIFETIME);
        let at_once = matches!(reason, RecycleReason::Signalled | RecycleReason::Operator);
        if at_once || earliest <= now {
            self.queue_recycling(slot, reason);
        } else if self.slots[slot].recycle_at.is_none_or(|(at, _)| at > earliest) {
            self.slots[slot].recycle_at = Some((earliest, reason));
        }
    }

    pub(super) fn queue_recycling(&mut self, slot: usize, reason: RecycleReason) {
        self.slots[slot].recycle_requested = Some(reason);
        let Some(child) = self.slots[slot].occupant else { return };
        if self.is_active() && !self.rollout.queue.contains(&slot) && self.slots[slot].successor.is_none() {
            self.log(Remark::Recycling { child, reason });
            self.totals.count(Tally::Recycle(reason));
            self.rollout.queue.push_back(slot);
        }
    }

    /// Postpones the recycling of children that have reached a limit.
    pub(super) fn recycle_later(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().filter(|slot| slot.successor.is_none()) {
            if let Some(reason) = slot.recycle_requested {
                slot.recycle_at = Some((deadline(now, RECYCLE_AGAIN), reason));
            }
        }
    }

    /// Sets the time at which the slot's new occupant reaches its greatest age.
    pub(super) fn limit_lifetime(&mut self, now: Instant, slot: usize) {
        let slot = &mut self.slots[slot];
        let limits = self.settings.max_lifetime.zip(slot.occupant);
        let at = |(limit, id): (_, ChildId)| deadline(now, lifetime(limit, id.0).max(LEAST_LIFETIME));
        slot.recycle_at = limits.map(|limits| (at(limits), RecycleReason::Lifetime));
    }

    /// Starts as many successors as may be under way at a time.
    pub(super) fn advance_rollout(&mut self) {
        // Nothing else is replaced during a trial, so that a failure is the trial's own.
        if !self.is_active() || self.rollout.upgrade.is_some() {
            return;
        }
        while self.successors() < self.settings.reload_parallel && self.draining() < self.slots.len() {
            let Some(slot) = self.next_in_queue() else { break };
            // A queued slot may be gone, or have a new child already.
            let reloading = self.rollout.reloading;
            let wanted =
                |slot: &Slot| slot.successor.is_none() && (reloading || slot.recycle_requested.is_some());
            if self.slots.get(slot).is_some_and(wanted) {
                let (generation, reason) = if reloading {
                    (self.rollout.target, StartReason::Reload)
                } else {
                    (self.slots[slot].generation, StartReason::Recycle)
                };
                let id = self.spawn(slot, generation, reason);
                self.slots[slot].successor = Some(id);
            }
        }
        if self.rollout.reloading && self.rollout.queue.is_empty() && self.successors() == 0 {
            self.cancel_rollout(ChangeResult::Done);
            self.rollout.settled = self.rollout.target;
            self.log(Remark::Reloaded { generation: self.rollout.target });
            self.announce_if_complete();
        }
    }

    /// The next slot in the queue. That of the leader comes last: the leadership then moves once, to a new child.
    fn next_in_queue(&mut self) -> Option<usize> {
        let place = self.rollout.queue.iter().position(|slot| !self.leads(*slot));
        self.rollout.queue.remove(place.unwrap_or_default())
    }

    /// The successor is ready: it becomes the occupant, and the old one is asked to stop.
    pub(super) fn promote(&mut self, now: Instant, slot: usize, id: ChildId) {
        let generation = self.children.get(&id).map(|child| child.generation);
        let slot = &mut self.slots[slot];
        let old = slot.occupant.replace(id);
        slot.successor = None;
        slot.respawn_at = None;
        slot.predecessor = None;
        slot.failures = SlotFailures::default();
        slot.unstartable = false;
        slot.recycle_requested = None;
        slot.generation = generation.unwrap_or(slot.generation);
        if let Some(old) = old {
            self.terminate(now, old);
        }
    }

    /// The successor did not become ready.
    pub(super) fn successor_failed(&mut self, now: Instant, slot: usize) {
        if self.rollout.upgrade.is_some() {
            return self.upgrade_child_failed(now);
        }
        if !self.rollout.reloading {
            self.recycle_later(now);
            return self.log(Remark::RecyclingFailed { slot });
        }
        self.abort_reload(now, slot);
    }

    /// A child exited within [`STABLE`](super::policy::STABLE) of being ready. If it is a new child of the
    /// reload under way, the new program does not work although it became ready.
    pub(super) fn abort_reload_of(&mut self, now: Instant, slot: usize, generation: u32) {
        if self.rollout.reloading && generation == self.rollout.target {
            self.abort_reload(now, slot);
        }
    }

    /// Continues a reload that was interrupted.
    pub(super) fn resume_reload(&mut self, target: u32) {
        self.rollout.resume(target, VecDeque::new());
        let left = (0..self.slots.len()).filter(|slot| !self.is_reloaded(&self.slots[*slot]));
        self.rollout.queue = left.collect();
        self.log(Remark::ReloadResumed { generation: target });
    }

    fn abort_reload(&mut self, now: Instant, slot: usize) {
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
            if let Some(id) = self.slots[slot].successor.take() {
                self.terminate(now, id);
            }
        }
    }

    /// Whether the slot's child is of the generation that the reload leads to.
    pub(super) fn is_reloaded(&self, slot: &Slot) -> bool {
        let occupant = slot.occupant.and_then(|id| self.children.get(&id));
        occupant.is_some_and(|child| child.generation == self.rollout.target)
    }

    fn successors(&self) -> usize {
        self.slots.iter().filter(|slot| slot.successor.is_some()).count()
    }

    /// Number of old children that drain. Reloads in quick succession must not accumulate them.
    fn draining(&self) -> usize {
        self.children
            .values()
            .filter(|child| matches!(child.phase, Phase::Stopping { .. } | Phase::Killed { .. }))
            .count()
    }
}
