//! Scale-up and scale-down.

use super::*;

#[test]
fn grow_adds_one_slot_up_to_limit() {
    let mut fleet = Fleet::serving(Settings { most_workers: 3, ..settings(2) });
    fleet.request(Request::Grow);
    assert_eq!(fleet.story(), "Resized { from: 2, to: 3 } start#2@2 started#2");
    fleet.request(Request::Grow);
    assert_eq!(fleet.story(), "NotResized(3)");
    fleet.run(secs(1));
    assert!(fleet.is_complete());
    assert_eq!(fleet.story(), "", "on_master_ready runs once");
}

#[test]
fn shrink_removes_last_slot_and_keeps_first() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Shrink);
    assert_eq!(fleet.story(), "Resized { from: 2, to: 1 } stop-after-queue#1 close-slot");
    fleet.request(Request::Shrink);
    assert_eq!(fleet.story(), "NotResized(1)");
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "", "the exit was requested");
    assert_eq!(fleet.occupants(), [Some(0)]);
}

#[test]
fn resize_adds_and_removes_several_slots_in_one_go() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Resize(4));
    assert_eq!(fleet.story(), "Resized { from: 2, to: 4 } start#2@2 started#2 start#3@3 started#3");
    fleet.run(secs(1));
    fleet.story();
    fleet.request(Request::Resize(4));
    assert_eq!(fleet.story(), "", "the fleet has that size");
    fleet.request(Request::Resize(1));
    assert!(fleet.story().starts_with("Resized { from: 4, to: 1 } stop-after-queue#3"));
    fleet.run(secs(10));
    assert_eq!(fleet.occupants(), [Some(0)]);
}

#[test]
fn resize_to_impossible_size_changes_nothing() {
    let mut fleet = Fleet::serving(Settings { most_workers: 3, ..settings(2) });
    for size in [0, 4, usize::MAX] {
        fleet.request(Request::Resize(size));
        assert_eq!(fleet.story(), "NotResized(2)");
    }
    assert!(fleet.is_complete());
}

#[test]
fn resize_of_stopping_fleet_does_nothing() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Stop);
    fleet.story();
    fleet.request(Request::Resize(4));
    assert!(!fleet.story().contains("Resized"));
    fleet.run(secs(10));
    assert!(fleet.processes.is_empty());
}

#[test]
fn resize_during_reload_gives_new_slots_the_new_generation() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Reload);
    fleet.request(Request::Resize(4));
    fleet.run(secs(5));
    assert_eq!(generations(&fleet), [1, 1, 1, 1]);
}

#[test]
fn grow_after_shrink_fills_slot_while_old_child_drains() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, STUBBORN);
    fleet.run(secs(1));
    fleet.request(Request::Shrink);
    fleet.request(Request::Grow);
    assert_eq!(fleet.occupants(), [Some(0), Some(2)]);
    fleet.run(secs(10));
    assert_eq!(fleet.times("kill#1"), [6000]);
    assert_eq!(
        fleet.occupants(),
        [Some(0), Some(2)],
        "the exit of the old child does not affect the new one"
    );
}

#[test]
fn shrink_in_same_batch_as_grow_leaves_no_child() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::Request(Request::Grow), Event::Request(Request::Shrink)]);
    fleet.run(secs(1));
    assert_eq!(fleet.processes.len(), 1);
    fleet.happen(&[
        Event::Request(Request::Grow),
        Event::Request(Request::Shrink),
        Event::Request(Request::Grow),
    ]);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(0), Some(3)]);
}

#[test]
fn shrink_removes_slot_that_waits_for_respawn() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, STILLBORN);
    fleet.run(ms(120));
    fleet.request(Request::Shrink);
    fleet.run(secs(1));
    assert_eq!(fleet.times("start#"), [0, 0]);
    assert!(fleet.story().ends_with("close-slot master-ready#0"), "the remaining slots are the whole fleet");
}

#[test]
fn slot_added_during_reload_is_reloaded() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Reload);
    fleet.request(Request::Grow);
    fleet.run(secs(5));
    assert_eq!(generations(&fleet), [1, 1, 1]);
}

#[test]
fn shrink_removes_slot_during_its_reload() {
    let mut fleet = Fleet::serving(Settings { reload_parallel: 2, ..settings(2) });
    fleet.request(Request::Reload);
    fleet.story();
    fleet.request(Request::Shrink);
    assert_eq!(fleet.story(), "Resized { from: 2, to: 1 } stop-after-queue#1 stop-after-queue#3 close-slot");
    fleet.run(secs(5));
    assert!(fleet.story().contains("Reloaded { generation: 1 }"));
    assert_eq!(generations(&fleet), [1]);
}

#[test]
fn grow_after_failed_reload_uses_last_complete_generation() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    fleet.cast(2, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    fleet.request(Request::Grow);
    assert!(fleet.story().contains("start#3@1^1"), "generation 2 does not work");
}

#[test]
fn grow_whose_child_cannot_start_is_undone() {
    for start in [Start::FailsForNow, Start::FailsForGood] {
        let mut fleet = Fleet::serving(Settings {
            recover: RecoverPolicy::new(Some(0), None, Duration::ZERO),
            ..settings(2)
        });
        fleet.cast(2, Nature { start, ..WELL });
        fleet.request(Request::Grow);
        assert_eq!(
            fleet.story(),
            "Resized { from: 2, to: 3 } start#2@2 GrowUndone { slot: 2, from: 3, to: 2 } close-slot"
        );
        fleet.run(secs(600));
        assert_eq!((fleet.story().as_str(), fleet.occupants()), ("", vec![Some(0), Some(1)]));
        fleet.request(Request::Grow);
        fleet.run(secs(1));
        assert_eq!(fleet.occupants(), [Some(0), Some(1), Some(3)]);
    }
}

#[test]
fn resize_of_which_one_child_cannot_start_is_undone_as_a_whole() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(2, UNSTARTABLE);
    fleet.request(Request::Resize(4));
    fleet.run(secs(1));
    assert_eq!(
        fleet.story(),
        "Resized { from: 1, to: 4 } start#1@1 started#1 start#2@2 GrowUndone { slot: 2, from: 4, to: 1 } \
         close-slot close-slot stop-after-queue#1 close-slot"
    );
    assert_eq!(fleet.occupants(), [Some(0)]);
}

#[test]
fn second_of_two_grows_that_cannot_start_leaves_the_first() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(2, UNSTARTABLE);
    fleet.happen(&[Event::Request(Request::Grow), Event::Request(Request::Grow)]);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(0), Some(1)]);
    fleet.cast(3, UNSTARTABLE);
    fleet.happen(&[Event::Request(Request::Grow), Event::Request(Request::Grow)]);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(0), Some(1)], "slots have no gaps");
}

#[test]
fn grow_whose_child_started_once_is_not_undone() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, STILLBORN);
    fleet.cast(2, UNSTARTABLE);
    fleet.request(Request::Grow);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(0), Some(3)]);
}

#[test]
fn undone_grow_during_reload_leaves_the_reload() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Reload);
    fleet.cast(3, UNSTARTABLE);
    fleet.request(Request::Grow);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("Reloaded { generation: 1 }"));
    assert_eq!(generations(&fleet), [1, 1]);
}

fn generations(fleet: &Fleet) -> Vec<u32> {
    fleet.supervisor.slots.iter().map(|slot| slot.generation).collect()
}
