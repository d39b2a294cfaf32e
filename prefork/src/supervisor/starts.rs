//! The start of a child, from the decision until it has a process or none can be started.

use std::time::{Duration, Instant};

use super::policy::LONGEST_DELAY;
use super::trial::SlotRole;
use super::{
    Action, Child, ChildId, Event, FailureCause, Hook, Mode, Order, Phase, Remark, StartReason, Supervisor,
    Tally, Verdict, deadline,
};

impl Supervisor {
    pub(super) fn on_spawned(&mut self, now: Instant, event: Event, id: ChildId, pid: u32) {
        let until = deadline(now, self.settings.start_timeout);
        if self.children.get(id).is_none_or(|child| child.phase != Phase::Starting) {
            return self.unexpected(event);
        }
        let Some(mut child) = self.children.edit(id) else { return };
        child.pid = Some(pid);
        child.phase = Phase::Booting { until };
        self.totals.count(Tally::Start(child.reason));
        let slot = child.slot;
        drop(child);
        if self.role_in_slot(id, slot) == SlotRole::Occupant {
            let mut slot = self.slots.edit(slot);
            slot.size_before = None;
            slot.unstartable = false;
        }
        match self.mode {
            Mode::Running | Mode::StopDelay { .. } if self.role_in_slot(id, slot) != SlotRole::Leftover => {
                if !self.is_upgrade_check(id) {
                    self.actions.push_back(Action::Hook(Hook::ChildSpawn(pid)));
                }
                let is_occupant = self.slots[slot].occupant == Some(id);
                if let Some(old) = self.slots.edit(slot).predecessor.take_if(|_| is_occupant) {
                    self.actions.push_back(Action::Hook(Hook::ChildRecover { old, new: pid }));
                }
                if self.in_stop_delay() {
                    self.actions.push_back(Action::AnnounceStop(id));
                }
            }
            Mode::Stopping { at_once: true, .. } => self.kill(id, false),
            // Not needed any more: its slot is gone, or has another child.
            Mode::Running
            | Mode::StopDelay { .. }
            | Mode::DrainQueues { .. }
            | Mode::Stopping { .. }
            | Mode::Finished => self.terminate(now, id),
        }
    }

    pub(super) fn on_spawn_failed(&mut self, now: Instant, event: Event, id: ChildId, transient: bool) {
        if self.children.get(id).is_none_or(|child| child.phase != Phase::Starting) {
            return self.unexpected(event);
        }
        let Some((child, role)) = self.remove(id) else { return };
        self.totals.count(Tally::Failure { kind: FailureCause::Spawn, ready: false });
        match role {
            _ if !self.is_active() => {}
            SlotRole::Successor => self.successor_failed(now, child.slot),
            SlotRole::Occupant if self.is_of_canary(&child) => self.canary_failed(now, &child),
            SlotRole::Occupant => self.start_failed(now, child.slot, transient),
            SlotRole::Leftover => {}
        }
    }

    /// No process could be started for the slot. At the start that counts as a failure. Once the fleet was
    /// complete it does not: one slot's trouble ends no other slot.
    fn start_failed(&mut self, now: Instant, slot: usize, transient: bool) {
        if let Some(size) = self.slots[slot].size_before {
            return self.undo_grow(now, slot, size);
        }
        if !self.started && !transient {
            return self.stop(now, Verdict::SpawnFailed);
        }
        if !self.started {
            return self.boot_failed(now, slot);
        }
        let left = self.time_to_give_up(now);
        if left == Some(Duration::ZERO) && self.children.live() == 0 {
            return self.stop(now, Verdict::SpawnFailed);
        }
        if !self.slots[slot].unstartable {
            self.slots.edit(slot).unstartable = true;
            self.log(Remark::StartRetried { slot });
        }
        let failures = self.slots[slot].failures.before_ready.saturating_add(1);
        self.slots.edit(slot).failures.before_ready = failures;
        // A fleet without a ready child makes its last attempt at the end of its patience.
        let left = left.filter(|left| !left.is_zero()).unwrap_or(LONGEST_DELAY);
        let policy = self.settings.recover;
        let delay = policy.delay(self.slots[slot].failures).min(left).max(policy.interval);
        self.slots.edit(slot).respawn_at = Some(deadline(now, delay));
    }

    /// The next attempts to start a child come now.
    pub(super) fn on_template_ready(&mut self, now: Instant, generation: u32) {
        self.slots.edit_each(|slot| {
            if slot.unstartable && slot.generation == generation {
                slot.respawn_at = slot.respawn_at.map(|at| at.min(now));
            }
        });
    }

    /// How much longer a fleet without a ready child tries to start one.
    fn time_to_give_up(&self, now: Instant) -> Option<Duration> {
        let without = now.duration_since(self.none_ready_since?);
        Some(self.settings.recover.patience().saturating_sub(without))
    }

    pub(super) fn respawn(&mut self, now: Instant, slot: usize) {
        let delay = self.settings.recover.delay(self.slots[slot].failures);
        let mut waiting = self.slots.edit(slot);
        waiting.recycle_at = None;
        waiting.recycle_requested = None;
        drop(waiting);
        if delay.is_zero() {
            return self.spawn_occupant(slot, StartReason::Recover);
        }
        self.slots.edit(slot).respawn_at = Some(deadline(now, delay));
        self.log(Remark::RespawnIn { slot, delay });
    }

    pub(super) fn spawn_occupant(&mut self, slot: usize, reason: StartReason) {
        let id = self.spawn(slot, self.slots[slot].generation, reason);
        self.slots.edit(slot).occupant = Some(id);
    }

    /// Starts a child: the first of a slot, a replacement or a successor.
    pub(super) fn spawn(&mut self, slot: usize, generation: u32, reason: StartReason) -> ChildId {
        let child = ChildId(self.next_id);
        self.next_id += 1;
        self.children.insert(child, Child::new(slot, generation, reason));
        self.starts.push_back(Order { child, slot, generation });
        child
    }

    /// Cancels planned starts and replacements, and hooks that have not been called.
    pub(super) fn withdraw_plans(&mut self) {
        self.slots.edit_each(|slot| (slot.respawn_at, slot.recycle_at) = (None, None));
        self.actions.retain(|action| !matches!(action, Action::Hook(_)));
    }

    /// Cancels the starts under way: another program takes over, and does not know them.
    pub(super) fn withdraw_starts(&mut self, now: Instant) {
        let starting = self.children.iter().filter(|(_, child)| child.phase == Phase::Starting);
        for id in starting.map(|(id, _)| id).collect::<Vec<_>>() {
            self.withdraw_spawn(now, id);
        }
    }

    /// Cancels a spawn that has not been carried out.
    pub(super) fn withdraw_spawn(&mut self, now: Instant, id: ChildId) {
        let planned = self.starts.len();
        self.starts.retain(|start| start.child != id);
        if self.starts.len() < planned {
            self.forget_spawn(now, id);
        } else {
            self.actions.push_back(Action::Withdraw(id));
        }
    }

    pub(super) fn on_withdrawn(&mut self, now: Instant, event: Event, id: ChildId) {
        if self.children.get(id).is_none_or(|child| child.phase != Phase::Starting) {
            return self.unexpected(event);
        }
        self.forget_spawn(now, id);
    }

    /// Forgets a child that is not started. If its slot still needs one, the program that was to take over has not.
    fn forget_spawn(&mut self, now: Instant, id: ChildId) {
        let Some((child, role)) = self.remove(id) else { return };
        if role == SlotRole::Occupant && self.is_active() {
            self.slots.edit(child.slot).respawn_at = Some(now);
        }
    }
}
