//! Every sequence of a few events, in a fleet of two slots.

use std::collections::BTreeMap;

use super::super::super::{Phase, SlotRole};
use super::super::*;

/// One event after the start of a fleet whose two children serve and have asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ready(ChildId),
    Ask(ChildId),
    Resign(ChildId),
    Exit(ChildId),
    Reload,
    Shrink,
    Grow,
    /// Another program takes over, with the leader that the snapshot names.
    Exec,
    Stop,
}

#[derive(Debug, Default)]
struct ChildModel {
    ready: bool,
    stops: bool,
    waits: bool,
    leads: bool,
    /// An order that it has not answered.
    ordered: bool,
}

#[derive(Debug)]
struct Model {
    supervisor: Supervisor,
    children: BTreeMap<ChildId, ChildModel>,
    now: Instant,
    upgraded: bool,
    ended: bool,
}

/// Nothing ends by time.
fn patient() -> Settings {
    Settings { grace: secs(100_000), start_timeout: secs(100_000), most_workers: 2, ..settings(2) }
}

impl Model {
    fn start() -> Self {
        let supervisor = Supervisor::new(patient());
        let now = Instant::now();
        let mut model = Self { supervisor, children: BTreeMap::new(), now, upgraded: false, ended: false };
        model.act();
        for child in [ChildId(0), ChildId(1)] {
            model.step(Step::Ready(child));
            model.step(Step::Ask(child));
        }
        model
    }

    fn replay(path: &[Step]) -> Self {
        let mut model = Self::start();
        path.iter().for_each(|step| model.step(*step));
        model
    }

    fn step(&mut self, step: Step) {
        // A child that is older than a second ends without being a failure of the reload.
        self.now += secs(2);
        match step {
            Step::Ready(id) => {
                self.child(id).ready = true;
                self.handle(Event::Ready(id));
            }
            Step::Ask(id) => {
                self.child(id).waits = true;
                self.handle(Event::Candidate(id));
            }
            Step::Resign(id) => {
                let child = self.child(id);
                (child.leads, child.ordered) = (false, false);
                self.handle(Event::Resigned(id));
            }
            Step::Exit(id) => {
                self.children.remove(&id);
                self.handle(Event::Exited { child: id, exit: Exit::Clean });
            }
            Step::Reload => self.handle(Event::Request(Request::Reload)),
            Step::Shrink => self.handle(Event::Request(Request::Shrink)),
            Step::Grow => self.handle(Event::Request(Request::Grow)),
            Step::Stop => self.handle(Event::Request(Request::Stop)),
            Step::Exec => {
                self.upgraded = true;
                let mut snapshot = self.supervisor.snapshot(self.now);
                snapshot.generation += 1;
                for child in &mut snapshot.children {
                    if child.role == SlotRole::Successor {
                        // An upgrade withdraws the successors.
                        child.role = SlotRole::Leftover;
                        self.children.get_mut(&child.id).unwrap().stops = true;
                    }
                }
                self.supervisor = Supervisor::resume(patient(), &snapshot, false, self.now);
            }
        }
        self.handle(Event::DeadlinePassed);
        self.act();
        self.check();
    }

    fn child(&mut self, id: ChildId) -> &mut ChildModel {
        self.children.get_mut(&id).unwrap()
    }

    fn handle(&mut self, event: Event) {
        self.supervisor.handle(self.now, event);
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Spawn { child, .. } => {
                    self.children.insert(child, ChildModel::default());
                    let pid = 1000 + u32::try_from(child.0).unwrap();
                    self.supervisor.handle(self.now, Event::Spawned { child, pid });
                }
                Action::Terminate(id) | Action::StopAfterQueue(id) => {
                    let child = self.child(id);
                    assert!(!child.leads || child.ordered, "{id:?} stops before it is asked to resign");
                    child.stops = true;
                }
                Action::Lead(id) => {
                    assert!(!self.children.values().any(|child| child.leads), "{id:?} is a second leader");
                    let child = self.child(id);
                    assert!(child.ready && child.waits && !child.stops, "{id:?} cannot lead");
                    (child.waits, child.leads) = (false, true);
                }
                Action::Resign(id) => {
                    let child = self.child(id);
                    assert!(child.leads && !child.ordered, "{id:?} is asked to resign in vain");
                    child.ordered = true;
                }
                Action::CheckQueues => self.supervisor.handle(self.now, Event::QueuesEmpty),
                Action::Finish(_) => self.ended = true,
                Action::Log(Remark::Unexpected(event)) => panic!("unexpected: {event:?}"),
                _ => {}
            }
        }
    }

    /// There is a leader whenever a candidate serves, and it is the supervisor's.
    fn check(&self) {
        let leader = self.children.iter().find(|(_, child)| child.leads).map(|(id, _)| *id);
        assert_eq!(leader, self.supervisor.leader_id(), "{self:#?}");
        let able = |id: &ChildId, child: &ChildModel| {
            let known = &self.supervisor.children[*id];
            let occupies = |slot: &super::super::super::Slot| slot.occupant == Some(*id);
            child.waits
                && matches!(known.phase, Phase::Serving { .. })
                && self.supervisor.slots.get(known.slot).is_some_and(occupies)
        };
        let waiting = self.children.iter().any(|(id, child)| able(id, child));
        assert!(leader.is_some() || !waiting || !self.supervisor.is_active(), "no leader: {self:#?}");
    }

    /// What can happen next.
    fn next_steps(&self) -> Vec<Step> {
        if self.ended {
            return Vec::new();
        }
        let mut steps = Vec::new();
        for (id, child) in &self.children {
            steps.extend((!child.ready && !child.stops).then_some(Step::Ready(*id)));
            steps.extend((!child.waits && !child.leads && !child.stops).then_some(Step::Ask(*id)));
            steps.extend(child.leads.then_some(Step::Resign(*id)));
            // The failure of a child that is not ready has tests of its own.
            steps.extend((child.ready || child.stops).then_some(Step::Exit(*id)));
        }
        if self.supervisor.takes_changes() {
            steps.extend([Step::Reload, Step::Stop]);
            let size = self.supervisor.fleet_size();
            steps.push(if size > 1 { Step::Shrink } else { Step::Grow });
            steps.extend((!self.upgraded).then_some(Step::Exec));
        }
        steps
    }
}

/// Replays every sequence that begins with `path`; returns how many there are.
fn explore(path: &mut Vec<Step>, depth: usize) -> usize {
    let steps = Model::replay(path).next_steps();
    if depth == 0 {
        return 1;
    }
    let mut sequences = 1;
    for step in steps {
        path.push(step);
        sequences += explore(path, depth - 1);
        path.pop();
    }
    sequences
}

#[test]
fn no_sequence_of_events_makes_two_leaders_or_leaves_a_candidate_without_one() {
    assert!(explore(&mut Vec::new(), 5) > 10_000);
}

#[test]
fn no_sequence_of_events_in_a_reload_makes_two_leaders_or_leaves_a_candidate_without_one() {
    let mut path = vec![Step::Reload, Step::Ready(ChildId(2))];
    assert!(explore(&mut path, 5) > 10_000);
}
