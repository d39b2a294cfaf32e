//! The leader: in fleets on a virtual clock, and in every short sequence of events (`sequences.rs`).

mod sequences;

use std::collections::BTreeSet;

use super::super::Phase;
use super::*;

/// How the children of a simulated fleet take part in the leadership. Times are multiples of 50 ms, as in
/// `random.rs`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ambition {
    /// When a child asks, counted from its start; `None`: it never does.
    pub(super) asks: Option<Duration>,
    /// The time from the order to resign to the answer; `None`: it never answers.
    pub(super) resigns: Option<Duration>,
    /// When it gives the leadership up by itself.
    pub(super) gives_up: Option<Duration>,
}

/// Which children wait for the leadership, and which one has it, as they know it.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaders {
    pub(super) ambition: Ambition,
    pub(super) waiting: BTreeSet<ChildId>,
    pub(super) holder: Option<ChildId>,
}

impl Fleet {
    pub(super) fn plan_candidacy(&mut self, child: ChildId) {
        // The child that checks a program serves nothing.
        if let Some(after) = self.leaders.ambition.asks.filter(|_| !self.supervisor.is_upgrade_check(child)) {
            self.plan(self.now + after, Event::Candidate(child));
        }
    }

    pub(super) fn note_leadership(&mut self, event: Event) {
        match event {
            Event::Candidate(child) => {
                self.leaders.waiting.insert(child);
            }
            // Otherwise it has given up before, and answers an order.
            Event::Resigned(child) if self.leaders.holder == Some(child) => {
                self.leaders.holder = None;
                self.plan(self.now + ms(1000), Event::Candidate(child));
            }
            Event::Exited { child, .. } => {
                self.leaders.waiting.remove(&child);
                self.leaders.holder = self.leaders.holder.filter(|holder| *holder != child);
            }
            _ => {}
        }
    }

    pub(super) fn lead(&mut self, child: ChildId) {
        self.assert_known(child);
        assert_eq!(self.leaders.holder, None, "{child:?} is a second leader: {self:?}");
        assert!(self.leaders.waiting.remove(&child), "{child:?} has not asked: {self:?}");
        if self.processes.contains_key(&child) {
            self.leaders.holder = Some(child);
        }
        if let Some(after) = self.leaders.ambition.gives_up {
            self.plan(self.now + after, Event::Resigned(child));
        }
    }

    pub(super) fn resign(&mut self, child: ChildId) {
        self.assert_known(child);
        let terminated = self.processes.get(&child).is_some_and(|process| process.terminated);
        assert!(!terminated, "{child:?} is asked to stop before it is asked to resign: {self:?}");
        if let Some(after) = self.leaders.ambition.resigns {
            self.plan(self.now + after, Event::Resigned(child));
        }
    }

    /// The supervisor knows the leader, and a candidate that serves never waits for a vacancy to be filled.
    pub(super) fn check_leader(&self) {
        assert_eq!(self.leaders.holder, self.supervisor.leader_id(), "{self:?}");
        if self.leaders.holder.is_some() || !self.supervisor.is_active() {
            return;
        }
        let able = |id: &ChildId| {
            let child = &self.supervisor.children[*id];
            let serves = matches!(child.phase, Phase::Serving { .. }) && child.link_until.is_none();
            serves && child.failing.is_none() && self.supervisor.slots[child.slot].occupant == Some(*id)
        };
        let able = self.leaders.waiting.iter().find(|id| able(id));
        assert_eq!(able, None, "there is no leader: {self:?}");
    }
}

const EAGER: Ambition = Ambition { asks: Some(ms(150)), resigns: Some(ms(50)), gives_up: None };

/// A fleet with a leader. Its story so far is consumed.
fn led(settings: Settings, ambition: Ambition) -> Fleet {
    let mut fleet = Fleet::new(settings);
    fleet.leaders.ambition = ambition;
    fleet.run(secs(1));
    assert_eq!(fleet.leaders.holder, Some(ChildId(0)));
    fleet.story();
    fleet
}

/// The children that were told of the leadership since the last call, in order: `lead#0 resign#0 lead#5`.
fn moves(fleet: &mut Fleet) -> String {
    let story = fleet.story();
    let moves = story.split(' ').filter(|word| word.starts_with("lead#") || word.starts_with("resign#"));
    moves.collect::<Vec<_>>().join(" ")
}

#[test]
fn fleet_whose_children_never_ask_has_no_leader() {
    let mut fleet = Fleet::serving(settings(3));
    fleet.exit(0, false);
    fleet.request(Request::Reload);
    fleet.run(secs(5));
    assert_eq!(moves(&mut fleet), "");
    assert!(!fleet.supervisor.status(fleet.now).elects);
}

#[test]
fn status_names_the_leader_until_it_has_resigned() {
    let mut fleet = led(settings(2), Ambition { resigns: None, ..EAGER });
    let leader = |fleet: &Fleet| {
        let status = fleet.supervisor.status(fleet.now);
        status.children.iter().filter(|child| child.leader).map(|child| child.pid).collect::<Vec<_>>()
    };
    assert_eq!(leader(&fleet), [1000]);
    fleet.request(Request::Reload);
    fleet.run(ms(250));
    assert_eq!(moves(&mut fleet), "resign#0");
    assert_eq!(leader(&fleet), [1000]);
    fleet.run(secs(5));
    assert_eq!(moves(&mut fleet), "lead#2");
    assert_eq!(leader(&fleet), [1002]);
}

#[test]
fn next_leader_is_told_before_the_dead_one_is_replaced() {
    let mut fleet = led(settings(3), EAGER);
    fleet.exit(0, false);
    let story = fleet.story();
    assert!(story.starts_with("lead#1 start#3@0"), "{story}");
}

#[test]
fn reload_moves_the_leadership_once_before_the_old_leader_stops() {
    let mut fleet = led(settings(3), EAGER);
    fleet.request(Request::Reload);
    fleet.run(secs(5));
    let story = fleet.story();
    let moved = story.find("resign#0").unwrap();
    let told = story.find("lead#3").unwrap();
    let stopped = story.find("stop#0").unwrap();
    assert!(moved < told && told < stopped, "{story}");
    assert_eq!(story.matches("lead#").count(), 1, "{story}");
    assert_eq!(fleet.occupants(), [Some(5), Some(3), Some(4)]);
}

#[test]
fn reload_of_one_slot_asks_to_resign_before_it_asks_to_stop() {
    let mut fleet = led(settings(1), EAGER);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.contains("resign#0 stop#0") && story.ends_with("lead#1"), "{story}");
}

#[test]
fn aborted_reload_leaves_a_leader() {
    let mut fleet = led(settings(3), EAGER);
    for child in 3..6 {
        fleet.cast(child, if child == 3 { WELL } else { STILLBORN });
    }
    fleet.request(Request::Reload);
    fleet.run(secs(3));
    assert_eq!(moves(&mut fleet), "");
    assert_eq!(fleet.leaders.holder, Some(ChildId(0)));
}

#[test]
fn leader_of_a_removed_slot_hands_over() {
    let mut fleet = led(settings(1), EAGER);
    fleet.request(Request::Grow);
    fleet.run(secs(1));
    fleet.exit(0, false);
    fleet.run(secs(1));
    assert_eq!(moves(&mut fleet), "lead#1");
    fleet.request(Request::Shrink);
    fleet.run(secs(1));
    assert_eq!(moves(&mut fleet), "resign#1 lead#2");
}

#[test]
fn leader_that_never_resigns_is_followed_when_it_is_killed() {
    let mut fleet = led(settings(2), Ambition { resigns: None, ..EAGER });
    fleet.cast(0, STUBBORN);
    fleet.processes.get_mut(&ChildId(0)).unwrap().nature = STUBBORN;
    fleet.request(Request::Reload);
    fleet.run(secs(20));
    let story = fleet.story();
    assert!(story.contains("kill#0 lead#2"), "{story}");
}

#[test]
fn leader_that_gives_up_is_followed_by_the_child_that_asked_first() {
    let mut fleet = led(settings(3), Ambition { gives_up: Some(ms(2000)), ..EAGER });
    fleet.run(secs(8));
    assert_eq!(moves(&mut fleet), "lead#1 lead#2 lead#0 lead#1");
}

#[test]
fn upgrade_keeps_leader_and_candidates() {
    let mut fleet = led(settings(3), EAGER);
    fleet.exec_works = true;
    fleet.upgrade();
    fleet.run(secs(5));
    // Child 3 checks the new program, child 4 is its trial child.
    assert_eq!(moves(&mut fleet), "resign#0 lead#4");
}

#[test]
fn stopping_fleet_asks_its_leader_to_resign_and_tells_no_other_child() {
    let mut fleet = led(settings(3), EAGER);
    fleet.request(Request::Stop);
    fleet.run(secs(10));
    assert_eq!(moves(&mut fleet), "resign#0");
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn child_that_is_about_to_end_does_not_become_leader() {
    let mut fleet = led(settings(3), EAGER);
    fleet.happen(&[Event::Hangs(ChildId(1)), Event::Exited { child: ChildId(0), exit: Exit::Failed }]);
    assert_eq!(fleet.leaders.holder, Some(ChildId(2)));
    fleet.happen(&[Event::LinkClosed(ChildId(1)), Event::Exited { child: ChildId(2), exit: Exit::Failed }]);
    assert_eq!(fleet.leaders.holder, None);
    fleet.run(secs(1));
    assert!(fleet.leaders.holder.is_some());
}
