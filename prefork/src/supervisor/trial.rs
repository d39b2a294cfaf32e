//! Upgrade to another program in the master's own process: first a child that checks it, then a trial child,
//! then the exec, then the other children.
//!
//! The child that checks answers with what the new program needs, and ends; the driver prepares that. Then the
//! trial child is started as the new program's children are. Each of the two is slot 0's successor. If one of
//! them fails, nothing changes: a reload that the upgrade has interrupted continues. Once the trial child is
//! ready the driver executes the new program, which resumes from a [`Snapshot`] of the fleet, promotes the
//! trial child and reloads the other slots.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rollout::Interrupted;
use super::{
    ChangeResult, Child, ChildId, FleetTotals, LeaderSnapshot, Phase, Remark, Settings, Slot, StartReason,
    Supervisor, Tally, deadline,
};

/// An upgrade that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upgrade {
    /// The child that checks the new program, and then the trial child.
    pub(super) child: ChildId,
    pub(super) stage: Stage,
    /// The reload, or its rollback, that the upgrade has interrupted.
    pub(super) interrupted: Option<Interrupted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Check,
    Trial,
}

/// The state of a fleet in a form that another program can read: ages in place of times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Snapshot {
    /// The option `workers`; `slots` is the present size.
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    /// The generation of the trial child.
    pub(crate) generation: u32,
    /// The number of failures over the master's life.
    pub(crate) failures: u32,
    /// The ages of the last failures.
    pub(crate) failure_ages: Vec<Duration>,
    pub(crate) totals: FleetTotals,
    pub(crate) leader: LeaderSnapshot,
    pub(crate) children: Vec<ChildSnapshot>,
}

/// One living child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildSnapshot {
    pub(crate) id: ChildId,
    pub(crate) slot: usize,
    pub(crate) generation: u32,
    pub(crate) pid: u32,
    pub(crate) role: SlotRole,
    pub(crate) ready: bool,
}

/// The role of a child in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotRole {
    Occupant,
    /// The trial child.
    Successor,
    /// It was asked to stop, or its slot is gone.
    Leftover,
}

impl Supervisor {
    /// Starts the child that checks the new program. Other replacements are cancelled.
    pub(super) fn begin_upgrade(&mut self, now: Instant) {
        let interrupted = self.rollout.interruption();
        self.report_replaced_upgrade();
        self.withdraw_successors(now);
        if self.rollout.upgrade.is_some() {
            self.totals.count(Tally::Upgrade(ChangeResult::Superseded));
        }
        // A reload has its result when the upgrade has.
        self.rollout.cancel();
        self.rollout.newest += 1;
        let generation = self.rollout.newest;
        self.log(Remark::Upgrading { generation });
        self.start_for_upgrade(Stage::Check, interrupted);
    }

    pub(super) fn report_replaced_upgrade(&mut self) {
        if self.rollout.upgrade.is_some() {
            self.log(Remark::UpgradeReplaced);
        }
    }

    fn start_for_upgrade(&mut self, stage: Stage, interrupted: Option<Interrupted>) {
        let child = self.spawn(0, self.rollout.newest, StartReason::Upgrade);
        self.slots.edit(0).successor = Some(child);
        self.rollout.upgrade = Some(Upgrade { child, stage, interrupted });
    }

    /// The new program was checked, and what it needs is prepared: starts the trial child.
    pub(super) fn on_checked(&mut self, now: Instant, id: ChildId) {
        // The upgrade may have ended meanwhile.
        if let Some(Upgrade { interrupted, .. }) = self.rollout.upgrade.filter(|_| self.is_upgrade_check(id))
        {
            self.withdraw_successors(now);
            self.start_for_upgrade(Stage::Trial, interrupted);
        }
    }

    /// Whether this child is a successor: the old occupant of its slot stays if it fails.
    pub(crate) fn is_successor(&self, id: ChildId) -> bool {
        self.children.get(id).is_some_and(|child| self.role_in_slot(id, child.slot) == SlotRole::Successor)
    }

    /// The generation that an upgrade leads to, if one is under way.
    pub(crate) fn upgrade_generation(&self) -> Option<u32> {
        self.rollout.upgrade.map(|_| self.rollout.newest)
    }

    /// Whether this child is to check the program that is to take the master's place.
    pub(crate) fn is_upgrade_check(&self, id: ChildId) -> bool {
        self.is_in_stage(id, Stage::Check)
    }

    /// Whether this child is the trial child of the program that is to take the master's place.
    pub(crate) fn is_upgrade_trial(&self, id: ChildId) -> bool {
        self.is_in_stage(id, Stage::Trial)
    }

    fn is_in_stage(&self, id: ChildId, stage: Stage) -> bool {
        self.rollout.upgrade.is_some_and(|upgrade| upgrade.child == id && upgrade.stage == stage)
    }

    /// Whether the trial child is ready, so that the master can execute the new program.
    pub(super) fn trial_is_ready(&self) -> bool {
        let trial = self.rollout.upgrade.filter(|upgrade| upgrade.stage == Stage::Trial);
        // The new program would not know a child that is being started.
        trial.is_some_and(|upgrade| self.is_serving(upgrade.child)) && self.children.starting() == 0
    }

    /// The child that the upgrade depends on has failed.
    pub(super) fn upgrade_child_failed(&mut self, now: Instant) {
        match self.rollout.upgrade {
            Some(Upgrade { stage: Stage::Check, .. }) => self.upgrade_failed(now, Some(Remark::CheckFailed)),
            _ => self.upgrade_failed(now, Some(Remark::TrialFailed)),
        }
    }

    /// Ends an upgrade that is under way, for the reason in `remark` unless it is logged: the fleet stays as
    /// it was, and a reload that the upgrade has interrupted continues.
    pub(super) fn upgrade_failed(&mut self, now: Instant, remark: Option<Remark>) {
        let Some(Upgrade { interrupted, .. }) = self.rollout.upgrade else { return };
        self.end_upgrade(now, remark, ChangeResult::Aborted);
        match interrupted {
            Some(Interrupted::Reload { target, canary }) => self.resume_reload(target, canary),
            Some(Interrupted::Restoring) => self.restore(),
            None => self.announce_if_complete(),
        }
    }

    /// Ends an upgrade that is under way, because a stop was requested.
    pub(super) fn abort_upgrade(&mut self, now: Instant) {
        if self.rollout.upgrade.is_some() {
            if self.rollout.interrupted().is_some() {
                self.totals.count(Tally::Reload(ChangeResult::Cancelled));
            }
            self.end_upgrade(now, Some(Remark::UpgradeAborted), ChangeResult::Cancelled);
            // The upgrade may have cancelled a reload that the hook was waiting for.
            self.announce_if_complete();
        }
    }

    pub(super) fn end_upgrade(&mut self, now: Instant, remark: Option<Remark>, result: ChangeResult) {
        self.totals.count(Tally::Upgrade(result));
        self.rollout.upgrade = None;
        self.withdraw_successors(now);
        self.recycle_later(now);
        remark.into_iter().for_each(|remark| self.log(remark));
    }

    /// The state that the next program resumes from.
    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let (failures, failure_ages) = self.failures.snapshot(now);
        let mut totals = self.totals;
        if self.rollout.interrupted().is_some() {
            totals.count(Tally::Reload(ChangeResult::Superseded));
        }
        let children = self.children.iter().filter_map(|(id, child)| {
            let is_stopping = matches!(child.phase, Phase::Stopping { .. } | Phase::Killed { .. });
            let role = if is_stopping { SlotRole::Leftover } else { self.role_in_slot(id, child.slot) };
            let (slot, generation, ready) = (child.slot, child.generation, child.is_serving());
            Some(ChildSnapshot { id, slot, generation, pid: child.pid?, role, ready })
        });
        Snapshot {
            workers: self.settings.workers,
            slots: self.slots.len(),
            generation: self.rollout.newest,
            failures,
            failure_ages,
            totals,
            leader: self.leader.snapshot(),
            children: children.collect(),
        }
    }

    /// Resumes from another program's supervisor. `all_slots`: the trial child is replaced as well,
    /// because its sockets or privileges are not this program's. The next event continues the upgrade: those from
    /// before the exec come first, such as the end of the trial child.
    pub(crate) fn resume(settings: Settings, snapshot: &Snapshot, all_slots: bool, now: Instant) -> Self {
        let mut supervisor = Self::empty(settings);
        let newest = snapshot.generation;
        supervisor.rollout.newest = newest;
        supervisor.rollout.settled = newest;
        supervisor.started = true;
        supervisor.totals = snapshot.totals;
        supervisor.totals.count(Tally::Upgrade(ChangeResult::Done));
        supervisor.failures.resume(now, snapshot.failures, &snapshot.failure_ages);
        // A child that fails from here on is replaced by one of this program.
        for _ in 0..snapshot.slots {
            supervisor.slots.push(Slot { generation: newest, ..Slot::default() });
        }
        for child in &snapshot.children {
            supervisor.adopt(now, child);
        }
        supervisor.resume_leader(&snapshot.leader);
        for slot in 0..supervisor.slots.len() {
            match supervisor.slots[slot].successor {
                Some(trial) => supervisor.promote(now, slot, trial),
                None if supervisor.slots[slot].occupant.is_none() => {
                    supervisor.spawn_occupant(slot, StartReason::Upgrade);
                }
                None => {}
            }
            supervisor.limit_lifetime(now, slot);
        }
        if snapshot.workers != settings.workers && supervisor.slots.len() != settings.workers {
            supervisor.resize(now, settings.workers);
        }
        supervisor.finish_upgrade(all_slots);
        supervisor
    }

    fn adopt(&mut self, now: Instant, found: &ChildSnapshot) {
        let phase = match (found.role, found.ready) {
            (SlotRole::Leftover, _) => Phase::Stopping { until: deadline(now, self.settings.grace) },
            (_, true) => Phase::Serving { since: now },
            (_, false) => Phase::Booting { until: deadline(now, self.settings.start_timeout) },
        };
        self.next_id = self.next_id.max(found.id.0 + 1);
        // Its start was counted.
        let child = Child::new(found.slot, found.generation, StartReason::Upgrade);
        self.children.insert(found.id, Child { pid: Some(found.pid), phase, ..child });
        if found.slot < self.slots.len() {
            let mut slot = self.slots.edit(found.slot);
            match found.role {
                SlotRole::Occupant => slot.occupant = Some(found.id),
                SlotRole::Successor => slot.successor = Some(found.id),
                SlotRole::Leftover => {}
            }
        }
    }

    /// Reloads every slot whose child is not of the newest generation.
    fn finish_upgrade(&mut self, all_slots: bool) {
        let newest = self.rollout.newest;
        self.rollout.resume(newest, None, VecDeque::new());
        let is_old = |slot: &usize| all_slots || !self.is_reloaded(&self.slots[*slot]);
        let old = (0..self.slots.len()).filter(is_old).collect();
        self.rollout.resume(newest, None, old);
        self.log(Remark::Reloading { generation: newest });
    }
}
