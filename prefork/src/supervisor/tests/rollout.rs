//! New before old: reload and recycling.

use super::*;

fn reloading(workers: usize) -> Fleet {
    let mut fleet = Fleet::serving(settings(workers));
    fleet.request(Request::Reload);
    fleet
}

/// Every slot has a serving child at every moment.
fn run_without_a_gap(fleet: &mut Fleet, time: Duration) {
    for _ in 0..time.as_millis() / 10 {
        fleet.run(ms(10));
        assert!(fleet.is_complete(), "a slot was empty: {fleet:?}");
    }
}

#[test]
fn a_reload_replaces_one_slot_after_the_other_new_before_old() {
    let mut fleet = reloading(2);
    assert_eq!(fleet.story(), "Reloading { generation: 1 } start#2@0^1 started#2");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "stop#0 start#3@1^1 started#3");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "stop#1 Reloaded { generation: 1 }");
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(2), Some(3)]);
}

#[test]
fn no_slot_is_ever_empty_during_a_reload() {
    let mut fleet = reloading(3);
    run_without_a_gap(&mut fleet, secs(2));
    assert_eq!(fleet.occupants(), [Some(3), Some(4), Some(5)]);
}

#[test]
fn two_slots_can_be_reloaded_at_a_time() {
    let mut fleet = Fleet::serving(Settings { reload_parallel: 2, ..settings(3) });
    fleet.request(Request::Reload);
    assert_eq!(fleet.story(), "Reloading { generation: 1 } start#3@0^1 start#4@1^1 started#3 started#4");
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(fleet.occupants(), [Some(3), Some(4), Some(5)]);
}

#[test]
fn a_new_child_that_dies_ends_the_reload_and_no_old_one_notices() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(2, STILLBORN);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.story();
    run_without_a_gap(&mut fleet, secs(5));
    assert_eq!(fleet.story(), "ReloadAborted { slot: 0, replaced: 0, of: 2 }");
    assert_eq!(fleet.occupants(), [Some(0), Some(1)]);
}

#[test]
fn a_new_child_that_is_not_ready_in_time_ends_the_reload() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(3, NEVER_READY);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    run_without_a_gap(&mut fleet, secs(20));
    assert!(fleet.story().ends_with("kill#3 ReloadAborted { slot: 1, replaced: 1, of: 2 }"));
    assert_eq!(fleet.occupants(), [Some(2), Some(1)], "who has a new child keeps it");
}

#[test]
fn a_new_child_that_cannot_be_started_ends_the_reload() {
    for start in [Start::FailsForNow, Start::FailsForGood] {
        let mut fleet = Fleet::new(settings(2));
        fleet.cast(2, Nature { start, ..WELL });
        fleet.run(secs(1));
        fleet.request(Request::Reload);
        run_without_a_gap(&mut fleet, secs(2));
        assert!(fleet.story().ends_with("start#2@0^1 ReloadAborted { slot: 0, replaced: 0, of: 2 }"));
    }
}

#[test]
fn a_new_process_that_is_no_child_ends_the_reload() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(2, Nature { ready: None, refuses: Some(ms(20)), ..WELL });
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.story();
    run_without_a_gap(&mut fleet, secs(2));
    assert_eq!(fleet.story(), "kill#2 ReloadAborted { slot: 0, replaced: 0, of: 2 }");
}

#[test]
fn a_new_child_that_fails_takes_the_others_along_that_are_not_ready() {
    let mut fleet = Fleet::new(Settings { reload_parallel: 2, ..settings(2) });
    fleet.cast(2, STILLBORN);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.story();
    fleet.run(secs(1));
    assert_eq!(fleet.story(), "stop#3 ReloadAborted { slot: 0, replaced: 0, of: 2 }");
    assert_eq!(fleet.processes.len(), 2);
}

#[test]
fn new_children_that_fail_never_count() {
    let recover = RecoverPolicy::new(Some(1), None, Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { recover, ..settings(1) });
    fleet.nature = STILLBORN;
    for _ in 0..5 {
        fleet.request(Request::Reload);
        fleet.run(secs(1));
    }
    fleet.nature = WELL;
    fleet.exit(0, false);
    assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![Some(6)]), "the first failure");
}

#[test]
fn old_children_that_go_never_count() {
    let recover = RecoverPolicy::new(Some(1), None, Duration::ZERO);
    let mut fleet = Fleet::new(Settings { recover, ..settings(2) });
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.run(secs(20));
    assert_eq!(fleet.times("kill#").len(), 2);
    fleet.exit(2, false);
    assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![Some(4), Some(3)]), "the first failure");
}

#[test]
fn a_second_reload_starts_over_with_the_newest_generation() {
    let mut fleet = reloading(2);
    fleet.run(ms(150));
    fleet.story();
    fleet.request(Request::Reload);
    fleet.run(ms(50));
    let story = fleet.story();
    assert_eq!(story, "stop#3 Reloading { generation: 2 } start#4@0^2 started#4", "once 0 is gone");
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
    assert_eq!(fleet.times("Reloaded").len(), 1);
}

#[test]
fn reloads_in_the_same_moment_start_one_child() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::Request(Request::Reload); 3]);
    let story = fleet.story();
    assert!(story.ends_with("Reloading { generation: 3 } start#3@0^3 started#3"), "{story}");
    assert_eq!(fleet.times("start#").len(), 2);
}

#[test]
fn reloads_in_quick_succession_do_not_pile_up_old_children() {
    let mut fleet = Fleet::new(Settings { grace: secs(60), ..settings(2) });
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    for _ in 0..20 {
        fleet.request(Request::Reload);
        run_without_a_gap(&mut fleet, ms(500));
        assert!(fleet.leaving() <= 2, "{fleet:?}");
    }
    fleet.run(secs(300));
    assert!(fleet.story().contains("Reloaded { generation: 20 }"), "the last one comes to its end");
    assert_eq!(fleet.processes.len(), 2);
}

#[test]
fn a_child_that_crashes_during_the_reload_is_recovered_with_what_it_ran() {
    let mut fleet = reloading(2);
    fleet.story();
    fleet.exit(1, false);
    assert_eq!(fleet.story(), "start#3@1 started#3 recovered#1#3");
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(2), Some(4)], "and reloaded in its turn");
}

#[test]
fn a_child_that_crashes_while_its_own_successor_boots_does_not_end_the_reload() {
    let mut fleet = reloading(1);
    fleet.run(ms(50));
    fleet.exit(0, false);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(1)]);
    assert_eq!(fleet.processes.len(), 1, "the one that was to recover it is not needed");
}

#[test]
fn a_slot_whose_children_crash_is_healed_by_a_reload() {
    let recover = RecoverPolicy::new(Some(99), None, Duration::ZERO);
    let mut fleet = Fleet::new(Settings { recover, ..settings(1) });
    fleet.nature = STILLBORN;
    fleet.run(secs(60));
    assert!(fleet.supervisor.slots[0].respawn_at.is_some(), "the test wants a slot that waits");
    fleet.nature = WELL;
    fleet.request(Request::Reload);
    fleet.run(ms(100));
    assert!(fleet.is_complete());
    fleet.story();
    fleet.run(ms(500));
    assert_eq!(fleet.story(), "", "nothing is left of the old attempts");
    let healed = fleet.occupants()[0].unwrap();
    fleet.exit(healed, false);
    assert!(fleet.story().starts_with("start#"), "nor of the delay that they had come to");
}

#[test]
fn a_slot_whose_child_was_ready_for_a_moment_only_is_healed_by_a_reload() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(0, Nature { exit: Some((ms(200), false)), ..WELL });
    fleet.run(secs(2));
    fleet.request(Request::Reload);
    fleet.run(ms(200));
    fleet.story();
    fleet.exit(2, false);
    assert_eq!(fleet.story(), "start#3@0^1 started#3 recovered#2#3", "at once");
}

#[test]
fn a_reload_that_was_aborted_can_be_tried_again() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(2, STILLBORN);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("Reloaded { generation: 2 }"));
}

#[test]
fn a_child_that_is_tired_is_replaced_new_before_old_by_its_own_kind() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(1))]);
    assert_eq!(fleet.story(), "Recycling { slot: 1 } start#2@1 started#2");
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(fleet.story(), "stop#1");
}

#[test]
fn a_child_that_says_twice_that_it_is_tired_is_replaced_once() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(1)), Event::RecycleRequested(ChildId(1))]);
    fleet.run(ms(50));
    fleet.happen(&[Event::RecycleRequested(ChildId(1))]);
    fleet.run(secs(5));
    assert_eq!(fleet.occupants(), [Some(0), Some(2)]);
}

#[test]
fn children_grow_old_one_at_a_time() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(100)), ..settings(4) });
    run_without_a_gap(&mut fleet, secs(101));
    let mut all: Vec<u64> = fleet.occupants().into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, [4, 5, 6, 7], "in the order of age, not of slots");
    let times = &fleet.times("start#")[4..];
    assert!(times.iter().all(|at| (90_000..=100_100).contains(at)), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 500), "spread over a tenth: {times:?}");
}

#[test]
fn a_child_that_was_replaced_after_a_crash_is_as_young_as_it_looks() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(100)), ..settings(1) });
    fleet.run(secs(80));
    fleet.exit(0, false);
    fleet.run(secs(80));
    assert_eq!(fleet.occupants(), [Some(1)]);
}

#[test]
fn a_child_that_boots_after_a_crash_is_not_as_old_as_the_one_before_it() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(10)), ..settings(1) });
    fleet.run(secs(7));
    fleet.cast(1, Nature { ready: Some(secs(5)), ..WELL });
    fleet.exit(0, false);
    fleet.run(secs(6));
    assert_eq!(fleet.times("Recycling"), []);
}

#[test]
fn recycling_stays_with_the_program_that_the_slot_runs() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    fleet.story();
    fleet.happen(&[Event::RecycleRequested(ChildId(0))]);
    assert_eq!(fleet.story(), "Recycling { slot: 0 } start#2@0 started#2", "generation 1 does not work");
}

#[test]
fn recycling_that_fails_is_tried_again_after_a_while() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, STILLBORN);
    fleet.happen(&[Event::RecycleRequested(ChildId(0))]);
    run_without_a_gap(&mut fleet, secs(90));
    assert_eq!(fleet.occupants(), [Some(2)]);
    assert_eq!(fleet.times("start#")[1..], [1000, 61_050]);
}

#[test]
fn recycling_that_a_failed_reload_interrupted_is_not_forgotten() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(0)), Event::RecycleRequested(ChildId(1))]);
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
}

#[test]
fn a_child_that_came_for_a_tired_one_is_not_tired() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::RecycleRequested(ChildId(0))]);
    fleet.run(secs(1));
    fleet.cast(2, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(1)]);
}

#[test]
fn old_age_during_a_failed_reload_is_not_forgotten() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(10)), ..settings(1) });
    fleet.run(secs(5));
    fleet.cast(1, NEVER_READY);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert!(fleet.occupants() > vec![Some(1)], "{fleet:?}");
}

#[test]
fn a_child_that_crashed_in_the_queue_is_not_recycled() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(0)), Event::RecycleRequested(ChildId(1))]);
    fleet.exit(1, false);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(2), Some(3)], "3 is new");
}

#[test]
fn recycling_that_failed_is_nothing_to_a_child_that_came_since() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, Nature { exit: Some((ms(500), false)), ..STILLBORN });
    fleet.happen(&[Event::RecycleRequested(ChildId(0))]);
    fleet.exit(0, false);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(2)], "2 was ready before 1 failed");
}

#[test]
fn a_tired_child_that_stops_is_left_alone() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::Request(Request::Stop)]);
    fleet.story();
    fleet.happen(&[Event::RecycleRequested(ChildId(0))]);
    assert_eq!(fleet.story(), "");
}

#[test]
fn a_program_is_given_up_once_no_child_can_need_it() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert!(fleet.programs.iter().eq(&[0, 1]), "one slot each");
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert!(fleet.programs.iter().eq(&[2]));
}
