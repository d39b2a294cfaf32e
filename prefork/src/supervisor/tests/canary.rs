//! Reloads with a canary: the hold, its ends, and the rollback.

use super::super::FleetState;
use super::*;

fn with_canary(workers: usize, canary: usize) -> Fleet {
    Fleet::serving(Settings { canary, ..settings(workers) })
}

/// A fleet whose reload holds. Its story so far is consumed.
fn holding(workers: usize, canary: usize) -> Fleet {
    let mut fleet = with_canary(workers, canary);
    fleet.request(Request::Reload);
    fleet.run(secs(2));
    assert_eq!(state(&fleet), FleetState::Holding, "{fleet:?}");
    fleet.story();
    fleet
}

fn state(fleet: &Fleet) -> FleetState {
    fleet.supervisor.status(fleet.now).state
}

/// The generation of each slot's child.
fn generations(fleet: &Fleet) -> Vec<Option<u32>> {
    let children = &fleet.supervisor.children;
    let slots = fleet.supervisor.slots.iter();
    slots.map(|slot| slot.occupant.and_then(|id| children.get(id)).map(|child| child.generation)).collect()
}

/// Runs for `time`; checks that every slot has a serving child at every moment.
fn run_without_a_gap(fleet: &mut Fleet, time: Duration) {
    for _ in 0..time.as_millis() / 10 {
        fleet.run(ms(10));
        assert!(fleet.is_complete(), "a slot was empty: {fleet:?}");
    }
}

#[test]
fn reload_stops_after_the_canary_and_holds() {
    let mut fleet = with_canary(3, 1);
    fleet.request(Request::Reload);
    assert_eq!(fleet.story(), "ReloadingCanary { generation: 1, children: 1 } start#3@0^1 started#3");
    run_without_a_gap(&mut fleet, ms(100));
    assert_eq!(fleet.story(), "stop#0 Holding { generation: 1, children: 1, of: 3, hold: None }");
    run_without_a_gap(&mut fleet, secs(100));
    assert_eq!((fleet.story(), generations(&fleet)), (String::new(), vec![Some(1), Some(0), Some(0)]));
    let status = fleet.supervisor.status(fleet.now);
    let hold = status.hold.unwrap();
    assert_eq!((status.generation, status.is_ready()), (1, true));
    assert_eq!((hold.generation, hold.children, hold.until), (1, 1, None));
    assert_eq!(fleet.supervisor.next_deadline(), None, "a fleet that holds is idle");
}

#[test]
fn promote_replaces_the_other_slots() {
    let mut fleet = holding(3, 2);
    fleet.request(Request::Promote);
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(
        fleet.story(),
        "Promoted { generation: 1 } start#5@2^1 started#5 stop#2 Reloaded { generation: 1 }"
    );
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(1); 3]));
    assert!(!fleet.supervisor.needs_generation(0));
}

#[test]
fn end_of_hold_promotes() {
    let mut fleet = Fleet::serving(Settings { canary: 1, hold: Some(secs(60)), ..settings(2) });
    fleet.request(Request::Reload);
    fleet.run(secs(60));
    assert_eq!(state(&fleet), FleetState::Holding);
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(1); 2]));
}

#[test]
fn rollback_restores_the_old_generation_new_before_old() {
    let mut fleet = holding(3, 2);
    fleet.request(Request::Rollback);
    assert_eq!(
        fleet.story(),
        "RollingBack { generation: 1, children: 2, reason: Requested } start#5@0 started#5"
    );
    assert_eq!(state(&fleet), FleetState::Reloading);
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(fleet.story(), "stop#3 start#6@1 started#6 stop#4 RolledBack { generation: 0 }");
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
    assert!(!fleet.supervisor.needs_generation(1));
    let totals = fleet.supervisor.totals.named().filter(|(_, count)| *count > 0);
    let totals: Vec<_> = totals.collect();
    assert_eq!(
        totals,
        [("start_start", 3), ("start_reload", 2), ("start_rollback", 2), ("reload_rolled_back", 1)]
    );
}

#[test]
fn canary_child_that_fails_rolls_back_and_does_not_count() {
    let recover = RecoverPolicy::new(Some(0), None, Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { canary: 2, recover, ..settings(3) });
    fleet.request(Request::Reload);
    fleet.run(secs(2));
    fleet.story();
    fleet.exit(3, false);
    assert_eq!(
        fleet.story(),
        "RollingBack { generation: 1, children: 2, reason: Failed { slot: 0 } } start#5@0 started#5 \
         recovered#3#5 start#6@1 started#6"
    );
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
    assert_eq!(fleet.verdict, None);
}

#[test]
fn canary_child_that_hangs_or_closes_its_link_rolls_back() {
    let exit = Event::Exited { child: ChildId(2), exit: Exit::Signalled };
    for events in [&[Event::Hangs(ChildId(2)), exit][..], &[Event::LinkClosed(ChildId(2))]] {
        let mut fleet = holding(2, 1);
        fleet.happen(events);
        fleet.run(secs(3));
        assert!(fleet.story().contains("RollingBack"), "{fleet:?}");
        assert_eq!(generations(&fleet), [Some(0); 2]);
    }
}

#[test]
fn clean_exit_and_recycling_of_a_canary_child_keep_its_generation() {
    let mut fleet = holding(2, 1);
    fleet.exit(2, true);
    fleet.run(secs(2));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Holding, vec![Some(1), Some(0)]));
    for (child, reason) in [(3, RecycleReason::Signalled), (1, RecycleReason::Size)] {
        fleet.happen(&[Event::RecycleRequested(ChildId(child), reason)]);
        run_without_a_gap(&mut fleet, secs(1));
    }
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Holding, vec![Some(1), Some(0)]));
    fleet.request(Request::Rollback);
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!(generations(&fleet), [Some(0); 2]);
}

#[test]
fn recycled_canary_child_that_does_not_start_rolls_back() {
    let mut fleet = holding(2, 1);
    fleet.cast(3, STILLBORN);
    fleet.happen(&[Event::RecycleRequested(ChildId(2), RecycleReason::Retired)]);
    run_without_a_gap(&mut fleet, secs(2));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 2]));
}

#[test]
fn first_canary_child_that_does_not_start_aborts_and_a_later_one_rolls_back() {
    for (failing, ending) in [
        (2, "ReloadAborted { slot: 0, replaced: 0, of: 2 }"),
        (3, "start#4@0 started#4 stop#2 RolledBack { generation: 0 }"),
    ] {
        let mut fleet = with_canary(2, 2);
        fleet.cast(failing, STILLBORN);
        fleet.request(Request::Reload);
        run_without_a_gap(&mut fleet, secs(2));
        assert!(fleet.story().ends_with(ending), "{fleet:?}");
        assert_eq!(generations(&fleet), [Some(0); 2]);
    }
}

#[test]
fn failure_of_an_old_child_keeps_the_hold() {
    let mut fleet = holding(2, 1);
    fleet.exit(1, false);
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Holding, vec![Some(1), Some(0)]));
}

#[test]
fn canary_of_every_slot_holds_and_can_be_rolled_back() {
    for canary in [2, 3, 8192] {
        let mut fleet = holding(2, canary);
        assert_eq!(generations(&fleet), [Some(1); 2]);
        fleet.request(Request::Rollback);
        run_without_a_gap(&mut fleet, secs(1));
        assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 2]));
    }
    let mut fleet = holding(2, 2);
    fleet.request(Request::Promote);
    assert_eq!(fleet.story(), "Promoted { generation: 1 } Reloaded { generation: 1 }");
}

#[test]
fn reload_in_a_hold_replaces_the_canary_and_keeps_the_generation_before() {
    let mut fleet = holding(3, 2);
    let choice = CanaryChoice { children: Some(1), hold: None };
    fleet.request(Request::ReloadWith(choice));
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Holding, vec![Some(2), Some(2), Some(0)]));
    assert!(!fleet.supervisor.needs_generation(1));
    fleet.request(Request::Rollback);
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
}

#[test]
fn reload_without_canary_in_a_hold_replaces_every_child() {
    let mut fleet = holding(3, 1);
    fleet.request(Request::ReloadWith(CanaryChoice { children: Some(0), hold: None }));
    run_without_a_gap(&mut fleet, secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(2); 3]));
    assert!(fleet.supervisor.slots.iter().all(|slot| slot.before.is_none()));
}

#[test]
fn reload_without_canary_in_a_hold_that_fails_restores_the_generation_before_the_hold() {
    let plain = Request::ReloadWith(CanaryChoice { children: Some(0), hold: None });
    for failing in [5, 6, 7] {
        let mut fleet = holding(3, 2);
        fleet.cast(failing, STILLBORN);
        fleet.request(plain);
        run_without_a_gap(&mut fleet, secs(2));
        assert!(fleet.story().ends_with("RolledBack { generation: 0 }"), "{fleet:?}");
        assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
    }
    // Or a child that fails after it was ready, or on request.
    for event in [Event::Exited { child: ChildId(5), exit: Exit::Failed }, Event::Request(Request::Rollback)]
    {
        let mut fleet = holding(3, 2);
        fleet.request(plain);
        fleet.run(ms(150));
        fleet.happen(&[event]);
        fleet.run(secs(2));
        assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
    }
}

#[test]
fn progress_of_a_rollback_counts_what_it_restores() {
    let mut fleet = holding(3, 2);
    fleet.request(Request::Rollback);
    let mut seen = Vec::new();
    while let Some(change) = fleet.supervisor.status(fleet.now).change {
        assert_eq!(change.kind, super::super::ChangeKind::Rollback);
        seen.push((change.replaced, change.of));
        fleet.run(ms(10));
    }
    seen.dedup();
    assert_eq!(seen, [(0, 2), (1, 2)]);
}

#[test]
fn promotion_waits_for_the_end_of_an_upgrade() {
    let mut fleet = holding(3, 1);
    fleet.cast(5, NEVER_READY);
    fleet.upgrade();
    assert_eq!(fleet.supervisor.why_not_rolled_back(), None);
    fleet.request(Request::Promote);
    assert!(fleet.story().ends_with("NothingHeld(Promote, Upgrade)"), "{fleet:?}");
}

#[test]
fn promotion_during_a_reload_in_place_of_a_hold_is_refused_as_such() {
    let mut fleet = holding(3, 1);
    fleet.request(Request::ReloadWith(CanaryChoice { children: Some(0), hold: None }));
    fleet.request(Request::Promote);
    assert!(fleet.story().ends_with("NothingHeld(Promote, PlainReload)"), "{fleet:?}");
}

#[test]
fn old_program_that_does_not_start_is_tried_again_while_the_canary_serves() {
    let mut fleet = holding(2, 1);
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Rollback);
    run_without_a_gap(&mut fleet, secs(4));
    assert_eq!(generations(&fleet), [Some(1), Some(0)]);
    assert!(fleet.story().ends_with("RestoringFailed { slot: 0, again_in: 5s }"), "{fleet:?}");
    run_without_a_gap(&mut fleet, secs(3));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 2]));
}

#[test]
fn resizing_in_a_hold_adds_old_children_and_takes_them_away() {
    let mut fleet = holding(2, 1);
    fleet.request(Request::Resize(4));
    fleet.run(secs(1));
    assert_eq!(generations(&fleet), [Some(1), Some(0), Some(0), Some(0)]);
    fleet.request(Request::Resize(1));
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Holding, vec![Some(1)]));
    fleet.request(Request::Resize(2));
    fleet.run(secs(1));
    fleet.request(Request::Promote);
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(1); 2]));
}

#[test]
fn slot_of_the_canary_that_is_removed_needs_no_rollback() {
    let mut fleet = holding(3, 3);
    fleet.request(Request::Resize(1));
    fleet.run(secs(1));
    fleet.request(Request::Rollback);
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0)]));
}

#[test]
fn upgrade_that_fails_resumes_the_hold() {
    let mut fleet = holding(3, 1);
    // The exec fails.
    fleet.upgrade();
    assert_eq!(state(&fleet), FleetState::Reloading);
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.contains("ReloadResumed { generation: 1 }") && story.contains("Holding"), "{story}");
    assert_eq!(generations(&fleet), [Some(1), Some(0), Some(0)]);
    fleet.request(Request::Rollback);
    fleet.run(secs(1));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
}

#[test]
fn upgrade_in_a_hold_replaces_every_child_without_a_hold() {
    let mut fleet = holding(3, 1);
    fleet.exec_works = true;
    fleet.upgrade();
    fleet.run(secs(2));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(2); 3]));
    assert!(!fleet.story().contains("Holding"));
}

#[test]
fn failure_of_the_canary_and_rollback_end_an_upgrade_under_way() {
    for event in [Event::Exited { child: ChildId(3), exit: Exit::Failed }, Event::Request(Request::Rollback)]
    {
        let mut fleet = holding(3, 1);
        fleet.cast(5, NEVER_READY);
        fleet.upgrade();
        fleet.happen(&[event]);
        fleet.run(secs(2));
        let story = fleet.story();
        assert!(story.contains("UpgradeAborted") && story.contains("RolledBack"), "{story}");
        assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
    }
}

#[test]
fn upgrade_during_a_rollback_that_fails_resumes_the_rollback() {
    let mut fleet = holding(3, 2);
    fleet.request(Request::Rollback);
    fleet.run(ms(50));
    fleet.upgrade();
    fleet.run(secs(3));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(0); 3]));
}

#[test]
fn stop_ends_a_hold() {
    for stop_delay in [Duration::ZERO, secs(10)] {
        let hold = Some(secs(3));
        let mut fleet = Fleet::serving(Settings { canary: 1, hold, stop_delay, ..settings(2) });
        fleet.request(Request::Reload);
        fleet.run(secs(1));
        fleet.request(Request::Stop);
        fleet.run(secs(20));
        assert_eq!(fleet.verdict, Some(Verdict::Stopped));
        assert!(!fleet.story().contains("Promoted"), "{fleet:?}");
        let totals = fleet.supervisor.totals;
        assert_eq!(totals.get(Tally::Reload(super::super::ChangeResult::Cancelled)), 1);
    }
}

#[test]
fn program_is_asked_each_second_and_its_answer_is_followed() {
    for (answer, generation) in [
        (None, None),
        (Some(Event::CanaryRefused), Some(0)),
        (Some(Event::Request(Request::Promote)), Some(1)),
    ] {
        let mut fleet = Fleet::serving(Settings { canary: 1, asks_canary: true, ..settings(2) });
        fleet.answer = answer;
        fleet.request(Request::Reload);
        fleet.run(ms(5500));
        let asked = fleet.times("ask-canary").len();
        assert_eq!(asked, if answer.is_some() { 1 } else { 5 });
        assert_eq!(fleet.times("watch-canary").len(), 1);
        match generation {
            None => assert_eq!(state(&fleet), FleetState::Holding),
            Some(_) => assert_eq!(generations(&fleet), [generation; 2]),
        }
    }
}

#[test]
fn groups_are_the_children_that_serve() {
    let mut fleet = holding(3, 1);
    fleet.cast(4, NEVER_READY);
    fleet.exit(2, false);
    let groups = fleet.supervisor.canary_groups(fleet.now + secs(7)).unwrap();
    assert_eq!((groups.generation, groups.new, groups.old), (1, vec![ChildId(3)], vec![ChildId(1)]));
    assert!(groups.held >= secs(7));
    fleet.request(Request::Rollback);
    assert_eq!(fleet.supervisor.canary_groups(fleet.now), None);
}

#[test]
fn request_without_a_hold_is_logged() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Promote);
    fleet.request(Request::Rollback);
    assert_eq!(fleet.story(), "NothingHeld(Promote, NoCanary) NothingHeld(Rollback, NoCanary)");
    fleet.request(Request::Reload);
    fleet.request(Request::Rollback);
    assert!(
        fleet.story().ends_with("NothingHeld(Rollback, NoCanary)"),
        "a reload without canary cannot be taken back"
    );
}

#[test]
fn canary_is_promoted_before_it_holds() {
    let mut fleet = with_canary(3, 2);
    fleet.request(Request::Reload);
    fleet.run(ms(150));
    fleet.request(Request::Promote);
    run_without_a_gap(&mut fleet, secs(1));
    assert!(!fleet.story().contains("Holding"));
    assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(1); 3]));
}

#[test]
fn promotion_replaces_an_old_child_whose_recycling_is_under_way() {
    for reload_parallel in [1, 2] {
        let mut fleet = Fleet::serving(Settings { canary: 1, reload_parallel, ..settings(2) });
        fleet.request(Request::Reload);
        fleet.run(secs(2));
        fleet.happen(&[Event::RecycleRequested(ChildId(1), RecycleReason::Size)]);
        fleet.run(ms(50));
        fleet.request(Request::Promote);
        run_without_a_gap(&mut fleet, secs(1));
        assert_eq!((state(&fleet), generations(&fleet)), (FleetState::Serving, vec![Some(1); 2]));
        assert_eq!(fleet.processes.len(), 2);
    }
}

#[test]
fn fleet_that_reloads_before_it_is_complete_is_ready_when_it_holds() {
    let mut fleet = Fleet::new(Settings { canary: 1, ..settings(2) });
    fleet.run(ms(50));
    fleet.request(Request::Reload);
    fleet.run(secs(1));
    assert_eq!(fleet.times("master-ready").len(), 1, "{fleet:?}");
}
