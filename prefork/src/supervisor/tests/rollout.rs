//! Reload and recycling: the new child is ready before the old one stops.

use super::*;

fn reloading(workers: usize) -> Fleet {
    let mut fleet = Fleet::serving(settings(workers));
    fleet.request(Request::Reload);
    fleet
}

/// Runs for `time`; checks that every slot has a serving child at every moment.
fn run_without_a_gap(fleet: &mut Fleet, time: Duration) {
    for _ in 0..time.as_millis() / 10 {
        fleet.run(ms(10));
        assert!(fleet.is_complete(), "a slot was empty: {fleet:?}");
    }
}

#[test]
fn reload_replaces_slots_in_turn_new_before_old() {
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
fn reload_empties_no_slot() {
    let mut fleet = reloading(3);
    run_without_a_gap(&mut fleet, secs(2));
    assert_eq!(fleet.occupants(), [Some(3), Some(4), Some(5)]);
}

#[test]
fn reload_parallel_2_replaces_two_slots_at_a_time() {
    let mut fleet = Fleet::serving(Settings { reload_parallel: 2, ..settings(3) });
    fleet.request(Request::Reload);
    assert_eq!(fleet.story(), "Reloading { generation: 1 } start#3@0^1 started#3 start#4@1^1 started#4");
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(fleet.occupants(), [Some(3), Some(4), Some(5)]);
}

#[test]
fn new_child_that_exits_aborts_reload_and_keeps_old() {
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
fn new_child_over_start_timeout_aborts_reload() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(3, NEVER_READY);
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    run_without_a_gap(&mut fleet, secs(20));
    assert!(fleet.story().ends_with("kill#3 ReloadAborted { slot: 1, replaced: 1, of: 2 }"));
    assert_eq!(fleet.occupants(), [Some(2), Some(1)], "a replaced slot keeps its new child");
}

#[test]
fn new_child_that_cannot_start_aborts_reload() {
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
fn slot_of_a_new_child_that_fails_after_it_was_ready_gets_the_generation_that_works() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(2, Nature { exit: Some((ms(150), false)), ..WELL });
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.story();
    fleet.run(secs(5));
    let story = "stop#0 start#3@1^1 started#3 stop#3 ReloadAborted { slot: 0, replaced: 0, of: 2 } start#4@0 started#4 \
                 recovered#2#4";
    assert_eq!(fleet.story(), story);
}

#[test]
fn refused_handshake_of_new_child_aborts_reload() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(2, Nature { ready: None, refuses: Some(ms(20)), ..WELL });
    fleet.run(secs(1));
    fleet.request(Request::Reload);
    fleet.story();
    run_without_a_gap(&mut fleet, secs(2));
    assert_eq!(fleet.story(), "kill#2 ReloadAborted { slot: 0, replaced: 0, of: 2 }");
}

#[test]
fn new_child_that_fails_stops_other_booting_children() {
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
fn failures_of_new_children_do_not_count() {
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
fn kills_of_old_children_do_not_count() {
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
fn second_reload_restarts_with_newest_generation() {
    let mut fleet = reloading(2);
    fleet.run(ms(150));
    fleet.story();
    fleet.request(Request::Reload);
    fleet.run(ms(50));
    let story = fleet.story();
    assert_eq!(
        story, "ReloadReplaced { generation: 1 } stop#3 Reloading { generation: 2 } start#4@0^2 started#4",
        "after the exit of child 0"
    );
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
    assert_eq!(fleet.times("Reloaded").len(), 1);
}

#[test]
fn reloads_in_one_batch_start_one_child() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::Request(Request::Reload); 3]);
    let story = fleet.story();
    assert!(story.ends_with("Reloading { generation: 3 } start#3@0^3 started#3"), "{story}");
    assert_eq!(fleet.times("start#").len(), 2);
}

#[test]
fn frequent_reloads_keep_few_old_children() {
    let mut fleet = Fleet::new(Settings { grace: secs(60), ..settings(2) });
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    for _ in 0..20 {
        fleet.request(Request::Reload);
        run_without_a_gap(&mut fleet, ms(500));
        assert!(fleet.leaving() <= 2, "{fleet:?}");
    }
    fleet.run(secs(300));
    assert!(fleet.story().contains("Reloaded { generation: 20 }"), "the last reload is complete");
    assert_eq!(fleet.processes.len(), 2);
}

#[test]
fn crash_during_reload_is_recovered_with_old_generation() {
    let mut fleet = reloading(2);
    fleet.story();
    fleet.exit(1, false);
    assert_eq!(fleet.story(), "start#3@1 started#3 recovered#1#3");
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(2), Some(4)], "the slot is reloaded in its turn");
}

#[test]
fn crash_of_child_whose_replacement_boots_keeps_reload() {
    let mut fleet = reloading(1);
    fleet.run(ms(50));
    fleet.exit(0, false);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(1)]);
    assert_eq!(fleet.processes.len(), 1, "no second successor is started");
}

#[test]
fn reload_fills_slot_that_waits_for_respawn() {
    let recover = RecoverPolicy::new(Some(99), None, Duration::ZERO);
    let mut fleet = Fleet::new(Settings { recover, ..settings(1) });
    fleet.nature = STILLBORN;
    fleet.run(secs(60));
    assert!(fleet.supervisor.slots[0].respawn_at.is_some(), "precondition: the slot waits for a respawn");
    fleet.nature = WELL;
    fleet.request(Request::Reload);
    fleet.run(ms(100));
    assert!(fleet.is_complete());
    fleet.story();
    fleet.run(ms(500));
    assert_eq!(fleet.story(), "", "no old attempt is pending");
    let healed = fleet.occupants()[0].unwrap();
    fleet.exit(healed, false);
    assert!(fleet.story().starts_with("start#"), "the delay is reset");
}

#[test]
fn reload_resets_delay_of_briefly_ready_child() {
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
fn reload_after_aborted_reload_succeeds() {
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
fn recycle_request_replaces_child_with_same_generation() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(1), RecycleReason::Size)]);
    assert_eq!(fleet.story(), "Recycling { child: ChildId(1), reason: Size } start#2@1 started#2");
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(fleet.story(), "stop#1");
}

#[test]
fn child_that_asks_right_after_its_start_is_replaced_a_moment_later() {
    let mut fleet = Fleet::serving(settings(1));
    for next in 1..4 {
        fleet.cast(next, Nature { recycle_requested: Some(ms(101)), ..WELL });
    }
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Retired)]);
    fleet.run(secs(4));
    let times = &fleet.times("start#")[1..];
    assert!(times.len() == 4 && times.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{times:?}");
}

#[test]
fn signalled_child_and_one_that_an_operator_replaces_are_replaced_at_once() {
    for reason in [RecycleReason::Signalled, RecycleReason::Operator] {
        let mut fleet = Fleet::new(settings(1));
        fleet.run(ms(101));
        fleet.story();
        fleet.happen(&[Event::RecycleRequested(ChildId(0), reason)]);
        let expected = format!("Recycling {{ child: ChildId(0), reason: {reason:?} }} start#1@0 started#1");
        assert_eq!(fleet.story(), expected);
    }
}

#[test]
fn repeated_recycle_request_replaces_child_once() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[
        Event::RecycleRequested(ChildId(1), RecycleReason::Size),
        Event::RecycleRequested(ChildId(1), RecycleReason::Size),
    ]);
    fleet.run(ms(50));
    fleet.happen(&[Event::RecycleRequested(ChildId(1), RecycleReason::Size)]);
    fleet.run(secs(5));
    assert_eq!(fleet.occupants(), [Some(0), Some(2)]);
}

#[test]
fn max_lifetime_recycles_children_one_at_a_time() {
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
fn successor_after_crash_has_full_lifetime() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(100)), ..settings(1) });
    fleet.run(secs(80));
    fleet.exit(0, false);
    fleet.run(secs(80));
    assert_eq!(fleet.occupants(), [Some(1)]);
}

#[test]
fn booting_successor_does_not_inherit_age() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(10)), ..settings(1) });
    fleet.run(secs(7));
    fleet.cast(1, Nature { ready: Some(secs(5)), ..WELL });
    fleet.exit(0, false);
    fleet.run(secs(6));
    assert_eq!(fleet.times("Recycling"), []);
}

#[test]
fn recycling_after_aborted_reload_uses_generation_of_slot() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    fleet.story();
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    assert_eq!(
        fleet.story(),
        "Recycling { child: ChildId(0), reason: Size } start#2@0 started#2",
        "generation 1 does not work"
    );
}

#[test]
fn failed_recycling_is_retried() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, STILLBORN);
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    run_without_a_gap(&mut fleet, secs(90));
    assert_eq!(fleet.occupants(), [Some(2)]);
    assert_eq!(fleet.times("start#")[1..], [1000, 61_050]);
}

#[test]
fn recycling_interrupted_by_aborted_reload_resumes() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[
        Event::RecycleRequested(ChildId(0), RecycleReason::Size),
        Event::RecycleRequested(ChildId(1), RecycleReason::Size),
    ]);
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
}

#[test]
fn recycled_slot_has_no_pending_recycle_request() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    fleet.run(secs(1));
    fleet.cast(2, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(1)]);
}

#[test]
fn max_lifetime_over_during_aborted_reload_recycles_child() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(10)), ..settings(1) });
    fleet.run(secs(5));
    fleet.cast(1, NEVER_READY);
    fleet.request(Request::Reload);
    fleet.run(secs(90));
    assert!(fleet.occupants() > vec![Some(1)], "{fleet:?}");
}

#[test]
fn child_that_crashed_before_its_recycling_is_not_recycled() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[
        Event::RecycleRequested(ChildId(0), RecycleReason::Size),
        Event::RecycleRequested(ChildId(1), RecycleReason::Size),
    ]);
    fleet.exit(1, false);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(2), Some(3)], "child 3 is new");
}

#[test]
fn failed_recycling_does_not_affect_successor_after_crash() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, Nature { exit: Some((ms(500), false)), ..STILLBORN });
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    fleet.exit(0, false);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(2)], "2 was ready before 1 failed");
}

#[test]
fn recycle_request_of_stopping_child_is_ignored() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::Request(Request::Stop)]);
    fleet.story();
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    assert_eq!(fleet.story(), "");
}

#[test]
fn program_of_unused_generation_is_dropped() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert!(fleet.programs.iter().eq(&[0, 1]), "one slot each");
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert!(fleet.programs.iter().eq(&[2]));
}
