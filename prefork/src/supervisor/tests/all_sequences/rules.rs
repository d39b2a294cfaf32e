//! What holds of each step. What holds of each state is in `check.rs`, and the driver checks each action.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::world::World;
use crate::supervisor::policy::Counted;
use crate::supervisor::{Mode, SAME_STOP, SlotRole};

/// A fleet before a step.
#[derive(Debug)]
pub(super) struct Before {
    serving: BTreeMap<ChildId, usize>,
    asked: BTreeSet<ChildId>,
    mode: Mode,
    stop_requested_at: Option<Instant>,
}

impl Before {
    pub(super) fn of(world: &World) -> Self {
        let fleet = &world.fleet;
        Self {
            serving: serving(fleet),
            asked: asked(fleet),
            mode: fleet.supervisor.mode,
            stop_requested_at: fleet.supervisor.stop_requested_at,
        }
    }

    pub(super) fn check(&self, world: &mut World, event: Option<Event>) {
        let actions: Vec<Action> =
            world.fleet.history[world.fleet.told..].iter().map(|(_, action)| action.clone()).collect();
        for action in &actions {
            match action {
                Action::Terminate(id) | Action::StopAfterQueue(id) => self.check_stop_of(&world.fleet, *id),
                Action::Kill(id) => self.check_kill_of(&actions, event, *id),
                Action::KillFailed(id) => {
                    let is_closed = actions.contains(&Action::Log(Remark::LinkClosed(*id)));
                    assert!(is_closed || event == Some(Event::LinkAbused(*id)), "{id:?} is killed");
                }
                Action::Spawn { .. } => self.check_start(event),
                Action::Exec if world.fleet.exec_works => world.announced = false,
                Action::Hook(Hook::MasterReady(pids)) => {
                    assert!(!world.announced, "the fleet is announced twice");
                    assert_eq!(pids.len(), world.fleet.supervisor.fleet_size(), "{pids:?} are announced");
                    world.announced = true;
                }
                Action::Log(Remark::Reloaded { generation }) if world.fleet.supervisor.is_active() => {
                    check_reloaded(&world.fleet, *generation);
                }
                Action::Finish(_) => world.fleet.clone().assert_over(),
                _ => {}
            }
        }
        self.check_slots(&world.fleet, event);
        self.check_outcome(&actions, world.fleet.now, event);
        check_starts(world);
        check_waits(world);
        check_status(&world.fleet);
    }

    /// A child that serves is asked to stop when its successor serves, its slot is gone, or the fleet ends.
    fn check_stop_of(&self, fleet: &Fleet, id: ChildId) {
        let Some(slot) = self.serving.get(&id) else { return };
        let now = serving(fleet);
        let is_replaced = now.iter().any(|(other, of)| *of == *slot && *other != id);
        let is_removed = *slot >= fleet.supervisor.fleet_size();
        let ends = !fleet.supervisor.is_active();
        assert!(is_replaced || is_removed || ends, "{id:?} serves and is asked to stop: {fleet:?}");
    }

    /// A child is killed because it was late, never took the handshake, has lost its link while it stops, or a stop at
    /// once was requested.
    fn check_kill_of(&self, actions: &[Action], event: Option<Event>, id: ChildId) {
        let told = |remark: &Remark| actions.contains(&Action::Log(remark.clone()));
        let is_late =
            told(&Remark::BootTimeout(id)) || (told(&Remark::GraceOver(id)) && self.asked.contains(&id));
        let at_once = self.stops_at_once() || told(&Remark::StoppingAtOnce);
        let events = [Event::HandshakeRefused(id), Event::LinkAbused(id)];
        let has_no_link = events.contains(&event.unwrap_or(Event::DeadlinePassed));
        assert!(is_late || at_once || has_no_link, "{id:?} is killed: {self:?}");
    }

    /// No child is started in a fleet that ends.
    fn check_start(&self, event: Option<Event>) {
        let was_active = matches!(self.mode, Mode::Running | Mode::StopDelay { .. });
        let ends = event == Some(Event::Request(Request::Quit));
        assert!(was_active && !ends, "a child is started: {self:?}");
    }

    /// In a fleet that runs, no step but the end of its child leaves a slot without one that serves.
    fn check_slots(&self, fleet: &Fleet, event: Option<Event>) {
        if !fleet.supervisor.is_active() {
            return;
        }
        let now: BTreeSet<usize> = serving(fleet).into_values().collect();
        for (id, slot) in &self.serving {
            let is_gone = matches!(event, Some(Event::Exited { child, .. }) if child == *id);
            let is_removed = *slot >= fleet.supervisor.fleet_size();
            assert!(is_gone || is_removed || now.contains(slot), "slot {slot} is empty: {fleet:?}");
        }
    }

    /// Each request has one answer in the log, and no change begins without one.
    fn check_outcome(&self, actions: &[Action], now: Instant, event: Option<Event>) {
        let count = |is_answer: fn(&Remark) -> bool| {
            let remarks =
                actions.iter().filter(|action| matches!(action, Action::Log(one) if is_answer(one)));
            remarks.count()
        };
        let exec = actions.iter().filter(|action| **action == Action::Exec).count();
        let reloads =
            count(|remark| matches!(remark, Remark::Reloading { .. } | Remark::ReloadingCanary { .. }));
        let upgrades = count(|remark| matches!(remark, Remark::Upgrading { .. }));
        let Some(Event::Request(request)) = event.filter(|_| matches!(self.mode, Mode::Running)) else {
            assert!(reloads <= exec && upgrades == 0, "a change begins by itself: {actions:?}");
            return self.check_stop_again(count(|one| *one == Remark::StoppingAtOnce), now, event);
        };
        let answers = match request {
            Request::Reload | Request::ReloadWith(_) => reloads,
            Request::Upgrade => upgrades,
            Request::Promote => {
                count(|one| matches!(one, Remark::Promoted { .. } | Remark::NothingHeld(Request::Promote, _)))
            }
            Request::Rollback => count(|one| {
                matches!(one, Remark::RollingBack { .. } | Remark::NothingHeld(Request::Rollback, _))
            }),
            Request::Grow | Request::Shrink | Request::Resize(_) => {
                count(|one| matches!(one, Remark::Resized { .. } | Remark::NotResized(_)))
            }
            Request::Stop => count(|one| matches!(one, Remark::Stopping | Remark::StoppingIn(_))),
            Request::Quit => count(|one| *one == Remark::StoppingAtOnce),
        };
        assert_eq!(answers, 1, "{request:?} has {answers} answers: {actions:?}");
    }

    fn stops_at_once(&self) -> bool {
        matches!(self.mode, Mode::Stopping { at_once: true, .. })
    }

    /// A fleet that was asked to stop ends at once when it is asked again, but not if that is the same request.
    fn check_stop_again(&self, at_once: usize, now: Instant, event: Option<Event>) {
        let has_to = match (event, self.stop_requested_at) {
            (Some(Event::Request(Request::Quit)), _) => true,
            (Some(Event::Request(Request::Stop)), Some(first)) => now - first >= SAME_STOP,
            // It stops at once already.
            (Some(Event::Request(Request::Stop)), None) if self.stops_at_once() => return,
            _ => false,
        };
        assert_eq!(at_once, usize::from(has_to), "a stop at once: {self:?}");
    }
}

/// A reload that is complete has replaced every child.
fn check_reloaded(fleet: &Fleet, generation: u32) {
    let status = fleet.supervisor.status(fleet.now);
    let pids: Vec<u32> =
        serving(fleet).keys().map(|id| fleet.supervisor.children[*id].pid.unwrap()).collect();
    let is_new = |pid: &u32| {
        let of_pid = status.children.iter().find(|child| child.pid == *pid);
        of_pid.is_some_and(|child| child.generation == generation)
    };
    assert!(pids.len() == status.slots && pids.iter().all(is_new), "a child is old: {fleet:?}");
}

/// A start that is not needed any more is withdrawn.
fn check_starts(world: &World) {
    let Fleet { supervisor, ordered, .. } = &world.fleet;
    for (id, slot) in ordered {
        let is_needed = supervisor.is_active() && supervisor.role_in_slot(*id, *slot) != SlotRole::Leftover;
        assert!(is_needed || world.deeds(*id).withdrawn, "{id:?} is not withdrawn: {world:?}");
    }
}

/// Whatever waits for time has a deadline.
fn check_waits(world: &World) {
    let fleet = &world.fleet;
    let next = fleet.supervisor.next_deadline();
    let is_stopped = |id: &ChildId| fleet.processes[id].killed || world.is_doomed(*id);
    for (id, process) in fleet.processes.iter().filter(|(id, _)| !is_stopped(id)) {
        let waits = process.terminated || world.is_awaited(*id);
        assert!(next.is_some() || !waits, "no time ends the wait for {id:?}: {fleet:?}");
    }
    let starts = fleet.supervisor.status(fleet.now).waiting.into_iter().filter_map(|slot| slot.starts_at);
    let first = starts.min();
    assert!(first.is_none() || next <= first && next.is_some(), "a slot waits for ever: {fleet:?}");
}

/// Observers are told of each process, and of no other.
fn check_status(fleet: &Fleet) {
    let status = fleet.supervisor.status(fleet.now);
    assert_eq!(status.children.len(), fleet.processes.len(), "{fleet:?}");
    assert_eq!(status.ready, serving(fleet).len(), "{fleet:?}");
    assert!(status.children.iter().filter(|child| child.leader).count() <= 1, "{fleet:?}");
    let RecoverPolicy { counted, threshold, .. } = fleet.settings.recover;
    let too_many = counted == Counted::All && status.failures > threshold;
    assert!(!too_many || !fleet.supervisor.is_active(), "more failures than are recovered: {fleet:?}");
    let at_once = matches!(fleet.supervisor.mode, Mode::Stopping { at_once: true, .. });
    let is_killed = fleet.processes.values().all(|process| process.killed);
    assert!(!at_once || is_killed, "a child outlives a stop at once: {fleet:?}");
}

/// The children that serve in a slot.
fn serving(fleet: &Fleet) -> BTreeMap<ChildId, usize> {
    let occupants = fleet.occupants().into_iter().enumerate();
    let live: Vec<bool> = fleet.supervisor.live_slots().collect();
    occupants.filter(|(slot, _)| live[*slot]).filter_map(|(slot, id)| Some((ChildId(id?), slot))).collect()
}

/// The children that were asked to stop, or killed.
fn asked(fleet: &Fleet) -> BTreeSet<ChildId> {
    let asked = fleet.processes.iter().filter(|(_, process)| process.terminated || process.killed);
    asked.map(|(id, _)| *id).collect()
}
