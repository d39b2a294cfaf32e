//! Children, from their start to their exit; and from an exit to the next child of the slot (`on_exited`).

use std::time::Instant;

use super::canary::is_failure;
use super::policy::{FailureKind, LINK_CLOSED_LIMIT, QUEUE_CHECK_INTERVAL, STABLE, SlotFailures, queue_wait};
use super::trial::SlotRole;
use super::{
    Action, Child, ChildId, Event, Exit, FailureCause, Hook, Mode, Phase, Remark, StartReason, Supervisor,
    Tally, Verdict, deadline,
};

impl Supervisor {
    pub(super) fn on_handshake_refused(&mut self, now: Instant, event: Event, id: ChildId) {
        let Some(child) = self.children.get(id) else { return self.unexpected(event) };
        let is_occupant = self.slots.get(child.slot).is_some_and(|slot| slot.occupant == Some(id));
        match child.phase {
            // A killed child missed the start timeout because it never took the handshake.
            Phase::Booting { .. } | Phase::Killed { unready: true } if is_occupant && !self.started => {
                self.note_failing(id, FailureCause::Link);
                self.stop(now, Verdict::SpawnFailed);
            }
            // It fails like any other child: the others serve on.
            Phase::Booting { .. } => {
                self.note_failing(id, FailureCause::Link);
                self.kill(id, true);
            }
            // The event crossed the order to stop.
            Phase::Stopping { .. } | Phase::Killed { .. } => {}
            Phase::Starting | Phase::Serving { .. } => self.unexpected(event),
        }
    }

    pub(super) fn on_link_closed(&mut self, now: Instant, event: Event, id: ChildId) {
        let Some(mut child) = self.children.edit(id) else { return self.unexpected(event) };
        // A child that was asked to stop may close its link, and exit within its grace.
        if matches!(child.phase, Phase::Booting { .. } | Phase::Serving { .. }) {
            child.link_until = Some(deadline(now, LINK_CLOSED_LIMIT));
        }
    }

    pub(super) fn on_link_abused(&mut self, event: Event, id: ChildId) {
        let Some(child) = self.children.get(id) else { return self.unexpected(event) };
        match child.phase {
            Phase::Booting { .. } | Phase::Serving { .. } => self.kill_unlinked(id),
            // The link is not read any more, and cannot carry an order to stop.
            Phase::Stopping { .. } => self.kill(id, false),
            Phase::Killed { .. } => {}
            Phase::Starting => self.unexpected(event),
        }
    }

    pub(super) fn on_ready(&mut self, now: Instant, event: Event, id: ChildId) {
        if self.is_upgrade_check(id) {
            // It serves nothing: it answers, or it has failed.
            return;
        }
        match self.children.get(id).map(|child| child.phase) {
            Some(Phase::Booting { .. }) => {}
            // Its message crossed the order to stop.
            Some(Phase::Stopping { .. } | Phase::Killed { .. }) => return,
            Some(Phase::Starting | Phase::Serving { .. }) | None => return self.unexpected(event),
        }
        let Some(mut child) = self.children.edit(id) else { return };
        child.phase = Phase::Serving { since: now };
        let slot = child.slot;
        drop(child);
        self.failures.note_ready();
        if self.is_upgrade_trial(id) {
            return self.withdraw_starts(now);
        }
        if self.slots[slot].successor == Some(id) {
            self.promote(now, slot, id);
        }
        self.limit_lifetime(now, slot);
        self.announce_if_complete();
    }

    /// Calls `on_master_ready` when every slot has a ready child for the first time; after an upgrade,
    /// when every child has been replaced.
    pub(super) fn announce_if_complete(&mut self) {
        if !self.ready_announced && !self.rollout.replaces_children() && self.all_slots_live() {
            self.started = true;
            self.ready_announced = true;
            let pids = self.slots.iter().filter_map(|slot| self.children.get(slot.occupant?)?.pid).collect();
            self.actions.push_back(Action::Hook(Hook::MasterReady(pids)));
        }
    }

    /// Notes how a child fails whose exit will not tell.
    pub(super) fn note_failing(&mut self, id: ChildId, kind: FailureCause) {
        if let Some(mut child) = self.children.edit(id) {
            child.failing.get_or_insert(kind);
        }
    }

    /// Counts the exit of a child, if it is a failure.
    fn count_failure(&mut self, now: Instant, child: &Child, exit: Exit) {
        let (ready, since) = match child.phase {
            Phase::Booting { .. } | Phase::Killed { unready: true } => (false, None),
            Phase::Serving { since } => (true, Some(since)),
            Phase::Starting | Phase::Stopping { .. } | Phase::Killed { unready: false } => return,
        };
        let kind = match (child.failing, exit) {
            (Some(kind), _) => kind,
            (None, Exit::Clean) if since.is_some_and(|since| now.duration_since(since) >= STABLE) => return,
            (None, Exit::Clean) => FailureCause::EarlyExit,
            (None, Exit::Failed) => FailureCause::Status,
            (None, Exit::Signalled) => FailureCause::Signal,
        };
        self.totals.count(Tally::Failure { kind, ready });
    }

    pub(super) fn on_exited(&mut self, now: Instant, event: Event, id: ChildId, exit: Exit) {
        if self.children.get(id).is_none_or(|child| child.phase == Phase::Starting) {
            return self.unexpected(event);
        }
        let Some((child, role)) = self.remove(id) else { return };
        self.count_failure(now, &child, exit);
        if !self.is_active() {
            return;
        }
        match (role, child.phase) {
            (SlotRole::Leftover, _) => {}
            (SlotRole::Successor, _) => self.successor_failed(now, child.slot),
            (SlotRole::Occupant, phase) if self.is_of_canary(&child) && is_failure(phase, exit, now) => {
                self.slots.edit(child.slot).predecessor = child.pid;
                self.canary_failed(now, &child);
            }
            (SlotRole::Occupant, Phase::Serving { since }) => {
                let stable = now.duration_since(since) >= STABLE;
                let mut slot = self.slots.edit(child.slot);
                slot.predecessor = child.pid;
                let early = if stable { 0 } else { slot.failures.early.saturating_add(1) };
                slot.failures = SlotFailures { before_ready: 0, early };
                drop(slot);
                if !stable {
                    self.abort_reload_of(now, child.slot, child.generation);
                }
                if exit == Exit::Clean && stable {
                    self.respawn(now, child.slot);
                } else {
                    self.fail(now, child.slot, FailureKind::Outlived);
                }
            }
            (SlotRole::Occupant, _) => {
                self.slots.edit(child.slot).predecessor = child.pid;
                self.abort_reload_of(now, child.slot, child.generation);
                self.boot_failed(now, child.slot);
            }
        }
    }

    pub(super) fn on_deadline(&mut self, now: Instant) {
        match self.mode {
            Mode::StopDelay { until } if until <= now => self.stop_gracefully(now),
            Mode::DrainQueues { until, .. } if until <= now => {
                self.log(Remark::NotEmptied);
                self.finish_draining_queues(now);
            }
            Mode::DrainQueues { since, until, check_at } if check_at <= now => {
                self.mode = Mode::DrainQueues { since, until, check_at: deadline(now, QUEUE_CHECK_INTERVAL) };
                self.actions.push_back(Action::CheckQueues);
            }
            _ => {}
        }
        self.advance_canary(now);
        for slot in self.slots.due(now) {
            self.on_due_slot(now, slot);
        }
        for id in self.children.due(now) {
            self.on_due_child(now, id);
        }
    }

    fn on_due_slot(&mut self, now: Instant, slot: usize) {
        if self.slots[slot].respawn_at.is_some_and(|at| at <= now) {
            self.slots.edit(slot).respawn_at = None;
            self.spawn_occupant(slot, StartReason::Recover);
        }
        let recycled = self.slots.edit(slot).recycle_at.take_if(|(at, _)| *at <= now);
        if let Some((_, reason)) = recycled {
            self.queue_recycling(slot, reason);
        }
    }

    fn on_due_child(&mut self, now: Instant, id: ChildId) {
        match self.children[id].phase {
            Phase::Booting { until } if until <= now => {
                self.note_failing(id, FailureCause::StartTimeout);
                self.log(Remark::BootTimeout(id));
                self.kill(id, true);
            }
            Phase::Stopping { .. } => {
                self.log(Remark::GraceOver(id));
                self.totals.count(Tally::StopTimeout);
                self.kill(id, false);
            }
            Phase::Booting { .. } | Phase::Serving { .. } => {
                self.log(Remark::LinkClosed(id));
                self.kill_unlinked(id);
            }
            Phase::Starting | Phase::Killed { .. } => {}
        }
    }

    /// Kills a child that cannot be asked to stop any more.
    fn kill_unlinked(&mut self, id: ChildId) {
        if let Some(mut child) = self.children.edit(id) {
            child.link_until = None;
            child.failing.get_or_insert(FailureCause::Link);
            self.actions.push_back(Action::KillFailed(id));
        }
    }

    /// A child failed before it was ready, or could not be started.
    pub(super) fn boot_failed(&mut self, now: Instant, slot: usize) {
        let in_a_row = self.slots[slot].failures.before_ready.saturating_add(1);
        self.slots.edit(slot).failures.before_ready = in_a_row;
        let failure = if self.has_serving_child() {
            FailureKind::Outlived
        } else {
            FailureKind::NoneReady { in_a_row }
        };
        self.fail(now, slot, failure);
    }

    /// Counts a failure in the slot, and starts the next child or stops the fleet.
    fn fail(&mut self, now: Instant, slot: usize, failure: FailureKind) {
        let (failures, too_many) = self.failures.record(now, failure);
        if too_many {
            return self.stop(now, Verdict::OverRecovery { failures });
        }
        self.respawn(now, slot);
    }

    /// Asks a child to stop, in any phase.
    pub(super) fn terminate(&mut self, now: Instant, id: ChildId) {
        self.order_stop(now, id, Action::Terminate(id));
    }

    /// Asks the last child of a slot to stop: first it accepts what is queued on the slot's socket.
    pub(super) fn stop_after_queue(&mut self, now: Instant, id: ChildId) {
        self.order_stop(now, id, Action::StopAfterQueue(id));
    }

    fn order_stop(&mut self, now: Instant, id: ChildId, how: Action) {
        let until = deadline(now, self.settings.grace);
        let Some(mut child) = self.children.edit(id) else { return };
        match child.phase {
            Phase::Starting => {
                drop(child);
                self.withdraw_spawn(now, id);
            }
            Phase::Booting { .. } | Phase::Serving { .. } => {
                child.phase = Phase::Stopping { until };
                drop(child);
                self.order_resignation(id);
                self.actions.push_back(how);
            }
            Phase::Stopping { .. } | Phase::Killed { .. } => {}
        }
    }

    /// However late the order is given, the child has four fifths of the grace from then on: what a wait for queues leaves.
    pub(super) fn on_stop_ordered(&mut self, now: Instant, id: ChildId) {
        let grace = self.settings.grace;
        let least = deadline(now, grace.saturating_sub(queue_wait(grace)));
        let Some(mut child) = self.children.edit(id) else { return };
        if let Phase::Stopping { until } = &mut child.phase {
            *until = least.max(*until);
        }
    }

    pub(super) fn kill(&mut self, id: ChildId, unready: bool) {
        let Some(mut child) = self.children.edit(id) else { return };
        if !matches!(child.phase, Phase::Starting | Phase::Killed { .. }) {
            child.phase = Phase::Killed { unready };
            self.actions.push_back(Action::Kill(id));
        }
    }

    pub(super) fn kill_all(&mut self) {
        if let Mode::Stopping { at_once, .. } = &mut self.mode {
            *at_once = true;
        }
        for id in self.children.ids() {
            self.kill(id, false);
        }
    }

    /// Removes a child that is gone, and returns the role it had in its slot.
    pub(super) fn remove(&mut self, id: ChildId) -> Option<(Child, SlotRole)> {
        let child = self.children.remove(id)?;
        self.forget_in_leadership(id);
        let role = self.role_in_slot(id, child.slot);
        match role {
            SlotRole::Occupant => self.slots.edit(child.slot).occupant = None,
            SlotRole::Successor => self.slots.edit(child.slot).successor = None,
            SlotRole::Leftover => {}
        }
        Some((child, role))
    }

    /// The role of a child in its slot, which may be gone.
    pub(super) fn role_in_slot(&self, id: ChildId, slot: usize) -> SlotRole {
        match self.slots.get(slot) {
            Some(slot) if slot.occupant == Some(id) => SlotRole::Occupant,
            Some(slot) if slot.successor == Some(id) => SlotRole::Successor,
            Some(_) | None => SlotRole::Leftover,
        }
    }
}
