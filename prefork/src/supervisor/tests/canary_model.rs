//! Reloads with a canary against a model: the generation of each slot after each operation.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::FleetState;
use super::*;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Reload {
        children: usize,
    },
    Promote,
    Rollback,
    /// A child that is new, or old, fails.
    FailNew,
    FailOld,
    /// The child of a slot is replaced.
    Recycle(usize),
    Resize(usize),
    /// An upgrade whose exec fails.
    Upgrade,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..5_usize).prop_map(|children| Operation::Reload { children }),
        1 => Just(Operation::Promote),
        1 => Just(Operation::Rollback),
        1 => Just(Operation::FailNew),
        1 => Just(Operation::FailOld),
        1 => (0..4_usize).prop_map(Operation::Recycle),
        1 => (1..5_usize).prop_map(Operation::Resize),
        1 => Just(Operation::Upgrade),
    ]
}

/// What a fleet that has come to rest is expected to be.
#[derive(Debug, Clone, Copy)]
struct Model {
    slots: usize,
    newest: u32,
    settled: u32,
    /// The generation of the new children, and their number: they are in the first slots.
    canary: Option<(u32, usize)>,
}

impl Model {
    fn apply(&mut self, operation: Operation) {
        let Model { slots, canary, .. } = *self;
        match operation {
            Operation::Reload { children } => {
                self.newest += 1;
                let before = canary.map_or(0, |(_, count)| count);
                self.canary = (children > 0).then_some((self.newest, children.max(before).min(slots)));
                if children == 0 {
                    self.settled = self.newest;
                }
            }
            Operation::Promote => {
                self.settled = canary.map_or(self.settled, |(generation, _)| generation);
                self.canary = None;
            }
            Operation::Rollback | Operation::FailNew => self.canary = None,
            Operation::FailOld | Operation::Recycle(_) => {}
            Operation::Resize(to) => {
                self.slots = to;
                self.canary = canary.map(|(generation, count)| (generation, count.min(to)));
            }
            Operation::Upgrade => self.newest += 1,
        }
    }

    fn generation(&self, slot: usize) -> u32 {
        self.canary.filter(|(_, count)| slot < *count).map_or(self.settled, |(generation, _)| generation)
    }
}

impl Fleet {
    fn carry_out(&mut self, operation: Operation, model: &Model) {
        let new = model.canary.map_or(0, |(_, count)| count);
        match operation {
            Operation::Reload { children } => {
                let choice = CanaryChoice { children: Some(children), hold: None };
                self.request(Request::ReloadWith(choice));
            }
            Operation::Promote => self.request(Request::Promote),
            Operation::Rollback => self.request(Request::Rollback),
            Operation::FailNew if new > 0 => self.fail_in(new - 1),
            Operation::FailOld if new < model.slots => self.fail_in(new),
            Operation::Recycle(slot) if slot < model.slots => {
                let child = ChildId(self.occupants()[slot].unwrap());
                self.happen(&[Event::RecycleRequested(child, RecycleReason::Signalled)]);
            }
            Operation::Resize(to) => self.request(Request::Resize(to)),
            Operation::Upgrade => self.upgrade(),
            Operation::FailNew | Operation::FailOld | Operation::Recycle(_) => {}
        }
    }

    fn fail_in(&mut self, slot: usize) {
        let child = self.occupants()[slot].unwrap();
        self.exit(child, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn slots_have_the_generations_of_the_model(
        slots in 1..5_usize,
        parallel in 1..3_usize,
        operations in vec(operation(), 1..12),
    ) {
        let mut fleet = Fleet::serving(Settings { reload_parallel: parallel, ..settings(slots) });
        let mut model = Model { slots, newest: 0, settled: 0, canary: None };
        for operation in operations {
            fleet.carry_out(operation, &model);
            model.apply(operation);
            fleet.run(secs(30));
            let slots = fleet.supervisor.slots.iter();
            let generations: Vec<u32> =
                slots.map(|slot| fleet.supervisor.children[slot.occupant.unwrap()].generation).collect();
            let expected: Vec<u32> = (0..model.slots).map(|slot| model.generation(slot)).collect();
            prop_assert_eq!(generations, expected, "after {:?}: {:?}", operation, fleet);
            let expected = if model.canary.is_some() { FleetState::Holding } else { FleetState::Serving };
            prop_assert_eq!(fleet.supervisor.state(), expected, "after {:?}: {:?}", operation, fleet);
            prop_assert_eq!(fleet.processes.len(), model.slots);
        }
    }
}

/// A fleet of three, whose leader is child 0, with a canary beside it.
fn beside_the_leader() -> Fleet {
    let mut fleet = Fleet::serving(settings(3));
    fleet.happen(&[Event::Candidate(ChildId(0))]);
    fleet.carry_out(
        Operation::Reload { children: 1 },
        &Model { slots: 3, newest: 0, settled: 0, canary: None },
    );
    fleet.run(secs(2));
    assert_eq!(fleet.occupants(), [Some(0), Some(3), Some(2)], "the slot of the leader comes last");
    fleet
}

#[test]
fn canary_whose_slots_are_removed_is_rolled_back() {
    let mut fleet = beside_the_leader();
    fleet.story();
    fleet.request(Request::Resize(1));
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.contains("reason: Removed } RolledBack { generation: 0 }"), "{story}");
    assert_eq!(fleet.supervisor.state(), FleetState::Serving);
}

#[test]
fn canary_that_leads_is_replaced_by_the_next_canary() {
    let mut fleet = beside_the_leader();
    fleet.happen(&[Event::Candidate(ChildId(3)), Event::Resigned(ChildId(0))]);
    fleet.request(Request::ReloadWith(CanaryChoice { children: Some(1), hold: None }));
    fleet.run(secs(2));
    assert_eq!(fleet.occupants(), [Some(0), Some(4), Some(2)]);
    assert_eq!(fleet.supervisor.state(), FleetState::Holding);
}
