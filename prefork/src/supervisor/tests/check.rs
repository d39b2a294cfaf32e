//! Invariants that hold whenever the driver waits, in every history.

use std::collections::BTreeMap;
use std::fmt;

use super::super::rollout::Course;
use super::super::{ChangeResult, ChildId, Mode, Phase, Slot};
use super::{Action, Fleet, Remark, Tally};

impl Fleet {
    pub(super) fn check(&self) {
        self.supervisor.children.check();
        self.supervisor.slots.check();
        self.check_children();
        self.check_slots();
        self.check_totals();
        self.check_leader();
        assert_eq!(self.supervisor.next_deadline().filter(|at| *at < self.now), None, "{self:?}");
        match self.supervisor.mode {
            Mode::Running | Mode::StopDelay { .. } => assert!(!self.closed, "{self:?}"),
            Mode::DrainQueues { .. } => {
                let serving = self.processes.values().any(|process| !process.terminated && !process.killed);
                assert!(!self.closed && serving, "{self:?}");
            }
            Mode::Stopping { .. } => assert!(self.closed && self.verdict.is_none(), "{self:?}"),
            Mode::Finished => {
                let is_empty = self.processes.is_empty() && self.ordered.is_empty();
                assert!(self.verdict.is_some() && is_empty, "{self:?}");
            }
        }
    }

    /// The children that have no process yet, and their slots: those that are ordered, and those of the next turn.
    fn to_be_started(&self) -> BTreeMap<ChildId, usize> {
        let of_next_turn = self.supervisor.starts.iter().map(|start| (start.child, start.slot));
        self.ordered.iter().map(|(child, slot)| (*child, *slot)).chain(of_next_turn).collect()
    }

    /// The supervisor knows exactly the processes that exist.
    fn check_children(&self) {
        let is_starting = |id: &ChildId| self.supervisor.children[*id].phase == Phase::Starting;
        let (starting, started): (Vec<ChildId>, Vec<ChildId>) =
            self.supervisor.children.ids().into_iter().partition(is_starting);
        assert!(starting.iter().eq(self.to_be_started().keys()), "{self:?}");
        assert!(started.iter().eq(self.processes.keys()), "{self:?}");
        let stopping = matches!(self.supervisor.mode, Mode::Stopping { .. });
        for (id, process) in &self.processes {
            let child = &self.supervisor.children[*id];
            assert_eq!(child.slot, process.slot);
            let asked = match child.phase {
                Phase::Starting => panic!("{id:?} was never started: {self:?}"),
                Phase::Booting { .. } | Phase::Serving { .. } => false,
                Phase::Stopping { .. } | Phase::Killed { .. } => true,
            };
            assert_eq!(asked, process.terminated || process.killed, "{id:?} in {self:?}");
            assert!(asked || !stopping, "{id:?} is not asked to stop: {self:?}");
        }
    }

    /// Every slot has a child or a time for its next one. No child is in two slots, and none outside of the slots.
    fn check_slots(&self) {
        if !self.supervisor.is_active() {
            return;
        }
        let mut placed = Vec::new();
        for (index, slot) in self.supervisor.slots.iter().enumerate() {
            assert!(slot.occupant.is_some() != slot.respawn_at.is_some(), "slot {index}: {self:?}");
            for id in [slot.occupant, slot.successor].into_iter().flatten() {
                assert!(!placed.contains(&id), "{id:?} is in two slots: {self:?}");
                assert_eq!(self.supervisor.children[id].slot, index);
                let stops = self.processes.get(&id).is_some_and(|process| process.terminated);
                assert!(!stops, "{id:?} stops but keeps its slot: {self:?}");
                placed.push(id);
            }
        }
        let (status, to_be_started) = (self.supervisor.status(self.now), self.to_be_started());
        for index in 0..status.slots {
            let has_child = status.children.iter().any(|child| child.slot == index);
            let starts = to_be_started.values().any(|slot| *slot == index);
            let mut waiting = status.waiting.iter();
            let waits = waiting.any(|slot| slot.slot == index && (slot.starts_at.is_some() || starts));
            assert!(has_child || waits, "observers are told nothing of slot {index}: {self:?}");
        }
        let asked = |id: &ChildId| self.processes[id].terminated || self.processes[id].killed;
        for id in self.processes.keys() {
            assert!(placed.contains(id) || asked(id), "{id:?} belongs to no slot: {self:?}");
        }
        let has_canary = self.supervisor.slots.iter().any(|slot| slot.before.is_some());
        let rollout = &self.supervisor.rollout;
        let is_idle = rollout.course == Course::Idle && rollout.upgrade.is_none();
        let is_running = matches!(self.supervisor.mode, Mode::Running);
        assert!(!(has_canary && is_idle && is_running), "a canary is left: {self:?}");
        if let Course::Holding(_) = rollout.course {
            assert!(has_canary, "it holds without a canary: {self:?}");
            let of_canary = self.supervisor.slots.iter().filter(|slot| slot.before.is_some());
            let is_new = |slot: &Slot| slot.generation == rollout.target;
            assert!(of_canary.into_iter().all(is_new), "a child of another canary is left: {self:?}");
        }
        let parallel = self.supervisor.slots.iter().filter(|slot| slot.successor.is_some()).count();
        assert!(parallel <= self.settings.reload_parallel, "{self:?}");
    }

    /// Every start, reload and upgrade is counted once, and has at most one result.
    fn check_totals(&self) {
        let totals = self.supervisor.totals;
        let sum = |wanted: fn(Tally) -> bool| -> u64 {
            totals.each().filter(|(tally, _)| wanted(*tally)).map(|(_, count)| count).sum()
        };
        let happened = |wanted: fn(&Remark) -> bool| {
            let remarks = self.history.iter().filter_map(|(_, action)| match action {
                Action::Log(remark) => Some(remark),
                _ => None,
            });
            remarks.filter(|remark| wanted(remark)).count() as u64
        };
        let reloads = sum(|tally| matches!(tally, Tally::Reload(result) if result != ChangeResult::Refused));
        let under_way = u64::from(self.supervisor.rollout.interrupted().is_some());
        assert_eq!(
            reloads + under_way,
            happened(|remark| matches!(remark, Remark::Reloading { .. } | Remark::ReloadingCanary { .. })),
            "{self:?}"
        );
        let upgrades =
            sum(|tally| matches!(tally, Tally::Upgrade(result) if result != ChangeResult::Refused));
        let under_way = u64::from(self.supervisor.rollout.upgrade.is_some());
        assert_eq!(
            upgrades + under_way,
            happened(|remark| matches!(remark, Remark::Upgrading { .. })),
            "{self:?}"
        );
        assert_eq!(sum(|tally| matches!(tally, Tally::Start(_))), self.spawned, "{self:?}");
    }

    /// The receiver of an action is alive, or its end was reported in the same batch.
    pub(super) fn assert_known(&self, child: ChildId) {
        let known = self.processes.contains_key(&child) || self.just_gone.contains(&child);
        assert!(known, "{child:?} has ended: {self:?}");
    }

    /// The number of children that were asked to stop and have not ended.
    pub(super) fn leaving(&self) -> usize {
        self.processes.values().filter(|process| process.terminated).count()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.history.len();
        for (at, action) in &self.history[end.saturating_sub(40)..] {
            let at = at.duration_since(self.start).as_millis();
            writeln!(out, "{at:>7} {}", super::virtual_fleet::describe(action))?;
        }
        write!(out, "now {:?}: {:?}", self.now.duration_since(self.start), self.supervisor)
    }
}
