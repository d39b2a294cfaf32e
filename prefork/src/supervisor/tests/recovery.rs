//! Failures of children, delays, and successors.

use super::*;

pub(super) fn recovering(threshold: u32) -> Settings {
    Settings { recover: RecoverPolicy::new(Some(threshold), None, Duration::ZERO), ..settings(1) }
}

#[test]
fn start_fills_every_slot() {
    let mut fleet = Fleet::new(settings(3));
    fleet.run(Duration::ZERO);
    assert_eq!(fleet.story(), "start#0@0 started#0 start#1@1 started#1 start#2@2 started#2");
    assert_eq!(fleet.occupants(), [Some(0), Some(1), Some(2)]);
}

#[test]
fn master_ready_runs_once_with_pids_in_slot_order() {
    let mut fleet = Fleet::new(settings(3));
    fleet.cast(0, Nature { ready: Some(secs(2)), ..WELL });
    fleet.run(ms(1999));
    assert!(!fleet.story().contains("master-ready"), "slot 0 is not ready");
    fleet.run(ms(1));
    assert_eq!(fleet.story(), "master-ready#0#1#2");
    fleet.exit(1, false);
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "start#3@1 started#3 recovered#1#3");
}

#[test]
fn child_that_fails_before_master_ready_is_not_in_its_pids() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, STILLBORN);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("start#2@1 started#2 recovered#1#2 master-ready#0#2"));
}

#[test]
fn crash_of_serving_child_is_recovered_at_once() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exit(0, false);
    assert_eq!(
        fleet.story(),
        "start#2@0 started#2 recovered#0#2",
        "on_child_spawn runs before on_child_recover"
    );
    assert_eq!(fleet.occupants(), [Some(2), Some(1)]);
}

#[test]
fn failures_over_threshold_stop_fleet() {
    let mut fleet = Fleet::serving(Settings { workers: 2, ..recovering(2) });
    fleet.exit(0, false);
    fleet.run(secs(3600));
    fleet.exit(1, false);
    fleet.run(secs(3600));
    fleet.story();
    fleet.exit(2, false);
    assert_eq!(fleet.story(), "close stop#3");
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 3 }));
}

#[test]
fn threshold_zero_stops_at_first_failure() {
    let mut fleet = Fleet::serving(recovering(0));
    fleet.exit(0, false);
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 1 }));
}

#[test]
fn failures_older_than_window_do_not_count() {
    let recover = RecoverPolicy::new(Some(1), Some(secs(10)), Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { recover, ..settings(1) });
    for child in 0..5 {
        fleet.exit(child, false);
        fleet.run(secs(11));
    }
    assert_eq!(fleet.verdict, None);
    fleet.exit(5, false);
    fleet.run(secs(5));
    fleet.exit(6, false);
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 2 }));
}

#[test]
fn by_default_children_that_were_ready_may_fail_for_ever() {
    let mut fleet = Fleet::serving(settings(1));
    for child in 0..1000 {
        fleet.exit(child, false);
        fleet.run(secs(2));
        assert!(fleet.is_complete(), "{fleet:?}");
    }
}

#[test]
fn by_default_fifth_failure_in_a_row_before_ready_stops_fleet() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = STILLBORN;
    fleet.run(secs(60));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 5 }));
    assert_eq!(fleet.times("start#"), [0, 150, 350, 625, 1012]);
}

#[test]
fn by_default_failures_before_ready_do_not_count_while_another_child_serves() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STILLBORN;
    fleet.cast(0, WELL);
    fleet.run(secs(3600));
    assert_eq!((fleet.verdict, fleet.occupants()[0]), (None, Some(0)));
    // The other child fails as well: from here on they count.
    fleet.exit(0, false);
    fleet.run(secs(60));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 5 }));
}

#[test]
fn by_default_ready_child_resets_the_count() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = STILLBORN;
    for child in [4, 9] {
        fleet.cast(child, Nature { exit: Some((ms(200), false)), ..WELL });
    }
    fleet.run(secs(60));
    assert_eq!(fleet.times("start#").len(), 15, "four failures, twice, and then five");
}

#[test]
fn by_default_child_that_keeps_exiting_early_is_replaced_ever_more_slowly() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = Nature { exit: Some((ms(200), false)), ..WELL };
    fleet.run(secs(3600));
    assert_eq!(fleet.verdict, None);
    let starts = fleet.times("start#");
    assert_eq!(starts[..6], [0, 200, 500, 850, 1275, 1812], "delays of 0, 100, 150, 225, 337 ms");
    assert_eq!(starts[starts.len() - 1] - starts[starts.len() - 2], 30_200);
}

#[test]
fn clean_exit_after_a_second_is_replaced_and_not_counted() {
    let mut fleet = Fleet::new(recovering(0));
    fleet.nature = Nature { exit: Some((ms(1100), true)), ..WELL };
    fleet.run(secs(60));
    assert_eq!(fleet.verdict, None);
    assert_eq!(fleet.times("start#")[..3], [0, 1100, 2200]);
}

#[test]
fn clean_exit_within_a_second_is_a_failure() {
    let mut fleet = Fleet::new(recovering(0));
    fleet.nature = Nature { exit: Some((ms(1099), true)), ..WELL };
    fleet.run(secs(2));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 1 }));
}

#[test]
fn clean_exit_before_ready_is_a_failure() {
    let mut fleet = Fleet::new(recovering(0));
    fleet.cast(0, Nature { ready: None, exit: Some((secs(5), true)), ..WELL });
    fleet.run(secs(6));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 1 }));
}

#[test]
fn failures_before_ready_grow_the_delay() {
    let mut fleet = Fleet::new(recovering(9));
    fleet.nature = STILLBORN;
    fleet.run(secs(2));
    // Each child lives 50 ms; the delays are 100, 150, 225, 337.5, ... ms.
    assert_eq!(fleet.times("start#")[..5], [0, 150, 350, 625, 1012]);
}

#[test]
fn ready_child_resets_the_delay() {
    let mut fleet = Fleet::new(recovering(99));
    for child in [0, 1, 2, 4] {
        fleet.cast(child, STILLBORN);
    }
    fleet.cast(3, Nature { exit: Some((ms(200), false)), ..WELL });
    fleet.run(secs(3));
    assert_eq!(fleet.times("start#"), [0, 150, 350, 625, 825, 975], "3 is replaced at once, 4 after 100 ms");
}

#[test]
fn briefly_ready_child_is_replaced_at_once_the_first_time() {
    let mut fleet = Fleet::new(recovering(4));
    fleet.nature = Nature { exit: Some((ms(200), false)), ..WELL };
    fleet.run(secs(2));
    assert_eq!(fleet.times("start#"), [0, 200, 500, 800, 1100]);
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 5 }));
}

#[test]
fn child_ready_for_a_second_is_replaced_at_once_every_time() {
    let mut fleet = Fleet::new(recovering(3));
    fleet.nature = Nature { exit: Some((ms(1200), false)), ..WELL };
    fleet.cast(0, Nature { exit: Some((ms(200), false)), ..WELL });
    fleet.run(secs(5));
    assert_eq!(fleet.times("start#"), [0, 200, 1400, 2600], "independent of earlier failures");
}

#[test]
fn interval_delays_every_respawn_of_its_slot() {
    let recover = RecoverPolicy::new(None, None, secs(2));
    let mut fleet = Fleet::serving(Settings { recover, ..settings(2) });
    fleet.exit(0, false);
    fleet.run(secs(1));
    fleet.exit(1, true);
    fleet.run(secs(5));
    assert_eq!(fleet.times("start#")[2..], [3000, 4000]);
}

#[test]
fn stop_during_interval_ends_at_once() {
    let recover = RecoverPolicy::new(None, None, secs(3600));
    let mut fleet = Fleet::serving(Settings { recover, ..settings(2) });
    fleet.exit(0, false);
    fleet.request(Request::Stop);
    fleet.run(ms(100));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn child_over_start_timeout_is_killed_and_counts_as_failure() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(0, NEVER_READY);
    fleet.run(secs(11));
    assert!(fleet.story().contains("BootTimeout(ChildId(0)) kill#0 RespawnIn"));
    assert_eq!(fleet.times("kill#0"), [10_000]);
    assert_eq!(fleet.times("start#1"), [10_110]);
}

#[test]
fn ready_after_kill_is_ignored() {
    let mut fleet = Fleet::new(recovering(1));
    fleet.cast(0, Nature { ready: Some(ms(10_005)), ..WELL });
    fleet.run(secs(12));
    assert_eq!(fleet.occupants(), [Some(1)]);
}

#[test]
fn child_recover_names_last_process_of_slot() {
    let mut fleet = Fleet::serving(recovering(9));
    fleet.cast(1, UNSTARTABLE);
    fleet.exit(0, false);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("start#2@0 started#2 recovered#0#2"));
}

#[test]
fn child_whose_template_had_failed_is_started_when_the_next_one_is_ready() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.nature = UNSTARTABLE;
    fleet.happen(&[Event::Exited { child: ChildId(1), exit: Exit::Failed }]);
    fleet.run(secs(20));
    fleet.nature = WELL;
    let started = fleet.spawned;
    fleet.happen(&[Event::TemplateReady { generation: 1 }, Event::DeadlinePassed]);
    assert_eq!(fleet.spawned, started, "of another generation");
    fleet.happen(&[Event::TemplateReady { generation: 0 }, Event::DeadlinePassed]);
    assert_eq!(fleet.spawned, started + 1);
}
