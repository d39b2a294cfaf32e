//! Children, from spawn to exit.

use std::time::{Duration, Instant};

use super::policy::{LOOK, STABLE};
use super::trial::SlotRole;
use super::{Action, Child, ChildId, Event, Hook, Mode, Phase, Remark, Supervisor, Verdict, deadline};

impl Supervisor {
    pub(super) fn on_spawned(&mut self, now: Instant, event: Event, id: ChildId, pid: u32) {
        let until = deadline(now, self.settings.start_timeout);
        let Some(child) = self.children.get_mut(&id).filter(|child| child.phase == Phase::Starting) else {
            return self.unexpected(event);
        };
        child.pid = Some(pid);
        child.phase = Phase::Booting { until };
        let slot = child.slot;
        match self.mode {
            Mode::Running | Mode::StopDelay { .. } if self.belongs(id, slot) => {
                self.actions.push_back(Action::Hook(Hook::ChildSpawn(pid)));
                let slot = &mut self.slots[slot];
                if let Some(old) = slot.predecessor.take_if(|_| slot.occupant == Some(id)) {
                    self.actions.push_back(Action::Hook(Hook::ChildRecover { old, new: pid }));
                }
                if self.in_stop_delay() {
                    self.actions.push_back(Action::AnnounceStop(id));
                }
            }
            Mode::Stopping { at_once: true, .. } => self.kill(id, false),
            // Asked for, and not wanted any more: its slot is gone, or another was started instead.
            Mode::Running
            | Mode::StopDelay { .. }
            | Mode::Emptying { .. }
            | Mode::Stopping { .. }
            | Mode::Finished => self.terminate(now, id),
        }
    }

    pub(super) fn on_spawn_failed(&mut self, now: Instant, event: Event, id: ChildId, transient: bool) {
        if self.children.get(&id).is_none_or(|child| child.phase != Phase::Starting) {
            return self.unexpected(event);
        }
        let Some((child, role)) = self.remove(id) else { return };
        match role {
            _ if !self.is_active() => {}
            SlotRole::Successor => self.successor_failed(now, child.slot),
            SlotRole::Occupant if transient => self.strike(now, child.slot),
            SlotRole::Occupant => self.stop(now, Verdict::SpawnFailed),
            SlotRole::Leftover => {}
        }
    }

    pub(super) fn on_handshake_refused(&mut self, now: Instant, event: Event, id: ChildId) {
        let Some(child) = self.children.get(&id) else { return self.unexpected(event) };
        let is_occupant = self.slots.get(child.slot).is_some_and(|slot| slot.occupant == Some(id));
        match child.phase {
            // Killed: it is late already, and that is why.
            Phase::Booting { .. } | Phase::Killed { unready: true } if is_occupant => {
                self.stop(now, Verdict::SpawnFailed);
            }
            // As with any other successor that fails, the old child stays.
            Phase::Booting { .. } => self.kill(id, true),
            // It crossed our order to stop.
            Phase::Stopping { .. } | Phase::Killed { .. } => {}
            Phase::Starting | Phase::Serving { .. } => self.unexpected(event),
        }
    }

    pub(super) fn on_ready(&mut self, now: Instant, event: Event, id: ChildId) {
        let slot = match self.children.get_mut(&id) {
            Some(child) if matches!(child.phase, Phase::Booting { .. }) => {
                child.phase = Phase::Serving { since: now };
                child.slot
            }
            // Its word and our order to stop crossed.
            Some(child) if matches!(child.phase, Phase::Stopping { .. } | Phase::Killed { .. }) => return,
            _ => return self.unexpected(event),
        };
        if self.rollout.trial == Some(id) {
            return;
        }
        if self.slots[slot].successor == Some(id) {
            self.promote(now, slot, id);
        }
        self.limit_lifetime(now, slot);
        self.announce_if_whole();
    }

    /// Calls `on_master_ready`, the first time that every slot has a ready child; after an upgrade,
    /// when they have been replaced.
    pub(super) fn announce_if_whole(&mut self) {
        if !self.announced && !self.rollout.is_reloading() && self.live_slots().all(|live| live) {
            self.started = true;
            self.announced = true;
            let pids = self.slots.iter().filter_map(|slot| self.children.get(&slot.occupant?)?.pid).collect();
            self.actions.push_back(Action::Hook(Hook::MasterReady(pids)));
        }
    }

    pub(super) fn on_exited(&mut self, now: Instant, event: Event, id: ChildId, clean: bool) {
        if self.children.get(&id).is_none_or(|child| child.phase == Phase::Starting) {
            return self.unexpected(event);
        }
        let Some((child, role)) = self.remove(id) else { return };
        if !self.is_active() {
            return;
        }
        match (role, child.phase) {
            (SlotRole::Leftover, _) => {}
            (SlotRole::Successor, _) => self.successor_failed(now, child.slot),
            (SlotRole::Occupant, Phase::Serving { since }) => {
                self.slots[child.slot].predecessor = child.pid;
                let stable = now.duration_since(since) >= STABLE;
                let restless = !stable && self.slots[child.slot].flickered;
                self.slots[child.slot].flickered = !stable;
                self.slots[child.slot].strikes = 0;
                if !stable {
                    self.doubt_reload(now, child.slot, child.generation);
                }
                if clean && stable {
                    self.respawn(now, child.slot, self.settings.recover.interval);
                } else {
                    self.fail(now, child.slot, restless);
                }
            }
            (SlotRole::Occupant, _) => {
                self.slots[child.slot].predecessor = child.pid;
                self.strike(now, child.slot);
            }
        }
    }

    pub(super) fn on_deadline(&mut self, now: Instant) {
        match self.mode {
            Mode::StopDelay { until } if until <= now => self.stop_in_order(now),
            Mode::Emptying { until, .. } if until <= now => {
                self.log(Remark::NotEmptied);
                self.stop_waiting(now);
            }
            Mode::Emptying { since, until, look_at } if look_at <= now => {
                self.mode = Mode::Emptying { since, until, look_at: deadline(now, LOOK) };
                self.actions.push_back(Action::CheckQueues);
            }
            _ => {}
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].respawn_at.is_some_and(|at| at <= now) {
                self.slots[slot].respawn_at = None;
                self.spawn_occupant(slot);
            }
            if self.slots[slot].recycle_at.is_some_and(|at| at <= now) {
                self.slots[slot].recycle_at = None;
                self.queue_recycling(slot);
            }
        }
        for id in self.ids() {
            match self.children.get(&id).map(|child| child.phase) {
                Some(Phase::Booting { until }) if until <= now => {
                    self.log(Remark::BootTimeout(id));
                    self.kill(id, true);
                }
                Some(Phase::Stopping { until }) if until <= now => {
                    self.log(Remark::GraceOver(id));
                    self.kill(id, false);
                }
                _ => {}
            }
        }
    }

    /// A child died before it was ready, or was never born.
    fn strike(&mut self, now: Instant, slot: usize) {
        self.slots[slot].strikes = self.slots[slot].strikes.saturating_add(1);
        self.fail(now, slot, false);
    }

    /// Counts a failure in the slot, and recovers from it or gives up.
    fn fail(&mut self, now: Instant, slot: usize, restless: bool) {
        let (failures, too_many) = self.failures.record(now);
        if too_many {
            return self.stop(now, Verdict::OverRecovery { failures });
        }
        let delay = self.settings.recover.delay(self.slots[slot].strikes, restless);
        self.respawn(now, slot, delay);
    }

    fn respawn(&mut self, now: Instant, slot: usize, delay: Duration) {
        self.slots[slot].recycle_at = None;
        self.slots[slot].recycle_requested = false;
        if delay.is_zero() {
            return self.spawn_occupant(slot);
        }
        self.slots[slot].respawn_at = Some(deadline(now, delay));
        self.log(Remark::RespawnIn { slot, delay });
    }

    pub(super) fn spawn_occupant(&mut self, slot: usize) {
        let id = self.spawn(slot, self.slots[slot].generation);
        self.slots[slot].occupant = Some(id);
    }

    /// The one way a child comes to be, first or fifth.
    pub(super) fn spawn(&mut self, slot: usize, generation: u32) -> ChildId {
        let child = ChildId(self.next_id);
        self.next_id += 1;
        self.children.insert(child, Child { slot, generation, pid: None, phase: Phase::Starting });
        self.actions.push_back(Action::Spawn { child, slot, generation });
        child
    }

    /// Takes back whatever was decided on for later, and every hook that has not been called.
    pub(super) fn withdraw_plans(&mut self) {
        for slot in &mut self.slots {
            slot.respawn_at = None;
            slot.recycle_at = None;
        }
        self.actions.retain(|action| !matches!(action, Action::Hook(_)));
    }

    /// Takes back a spawn that has not been carried out.
    fn withdraw_spawn(&mut self, id: ChildId) {
        let planned = self.actions.len();
        self.actions.retain(|action| !matches!(action, Action::Spawn { child, .. } if *child == id));
        if self.actions.len() < planned {
            self.remove(id);
        }
    }

    /// Asks a child to stop, whatever it is doing.
    pub(super) fn terminate(&mut self, now: Instant, id: ChildId) {
        self.dismiss(now, id, Action::Terminate(id));
    }

    /// Asks a child to stop whose slot will have no other.
    pub(super) fn retire(&mut self, now: Instant, id: ChildId) {
        self.dismiss(now, id, Action::StopAfterQueue(id));
    }

    fn dismiss(&mut self, now: Instant, id: ChildId, how: Action) {
        let until = deadline(now, self.settings.grace);
        let Some(child) = self.children.get_mut(&id) else { return };
        match child.phase {
            Phase::Starting => self.withdraw_spawn(id),
            Phase::Booting { .. } | Phase::Serving { .. } => {
                child.phase = Phase::Stopping { until };
                self.actions.push_back(how);
            }
            Phase::Stopping { .. } | Phase::Killed { .. } => {}
        }
    }

    fn kill(&mut self, id: ChildId, unready: bool) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if !matches!(child.phase, Phase::Starting | Phase::Killed { .. }) {
            child.phase = Phase::Killed { unready };
            self.actions.push_back(Action::Kill(id));
        }
    }

    pub(super) fn kill_all(&mut self) {
        if let Mode::Stopping { at_once, .. } = &mut self.mode {
            *at_once = true;
        }
        for id in self.ids() {
            self.kill(id, false);
        }
    }

    fn belongs(&self, id: ChildId, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.occupant == Some(id) || slot.successor == Some(id))
    }

    /// Forgets a child that is gone, and says what it was to its slot.
    fn remove(&mut self, id: ChildId) -> Option<(Child, SlotRole)> {
        let child = self.children.remove(&id)?;
        let Some(slot) = self.slots.get_mut(child.slot) else { return Some((child, SlotRole::Leftover)) };
        let role = if slot.occupant == Some(id) {
            slot.occupant = None;
            SlotRole::Occupant
        } else if slot.successor == Some(id) {
            slot.successor = None;
            SlotRole::Successor
        } else {
            SlotRole::Leftover
        };
        Some((child, role))
    }
}
