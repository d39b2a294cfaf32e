//! Children that cannot be started, for now or for good.

use super::recovery::recovering;
use super::*;

#[test]
fn transient_start_failure_is_retried_with_growing_delay() {
    let mut fleet = Fleet::new(recovering(9));
    fleet.nature = UNSTARTABLE;
    fleet.run(ms(1000));
    fleet.nature = WELL;
    fleet.run(secs(10));
    assert_eq!(fleet.times("start#"), [0, 100, 250, 475, 812, 1318]);
    assert!(fleet.is_complete());
}

#[test]
fn transient_start_failures_count() {
    let mut fleet = Fleet::new(recovering(2));
    fleet.nature = UNSTARTABLE;
    fleet.run(secs(10));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 3 }));
}

#[test]
fn by_default_transient_start_failures_do_not_count_while_another_child_serves() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = UNSTARTABLE;
    fleet.cast(0, WELL);
    fleet.run(secs(600));
    assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![Some(0), None]));
    fleet.nature = WELL;
    fleet.run(secs(31));
    assert!(fleet.is_complete());
}

/// A complete fleet, from whose slots on no child can be started any more.
fn without_program(settings: Settings, start: Start) -> Fleet {
    let mut fleet = Fleet::serving(settings);
    fleet.nature = Nature { start, ..WELL };
    fleet
}

#[test]
fn slot_without_program_backs_off_for_ever_while_another_child_serves() {
    for start in [Start::FailsForNow, Start::FailsForGood] {
        let mut fleet = without_program(Settings { workers: 2, ..recovering(1) }, start);
        fleet.exit(0, false);
        fleet.run(secs(86_400));
        assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![None, Some(1)]));
        let starts = &fleet.times("start#")[2..];
        assert_eq!(starts[..5], [1000, 1100, 1250, 1475, 1812]);
        assert_eq!(starts[starts.len() - 1] - starts[starts.len() - 2], 30_000);
        assert_eq!(fleet.story().matches("StartRetried { slot: 0 }").count(), 1);
        fleet.nature = WELL;
        fleet.run(secs(31));
        assert!(fleet.is_complete());
    }
}

#[test]
fn fleet_without_ready_child_gives_up_after_a_minute_without_program() {
    for start in [Start::FailsForNow, Start::FailsForGood] {
        let mut fleet = without_program(settings(2), start);
        fleet.exit(1, false);
        fleet.run(secs(600));
        fleet.exit(0, false);
        fleet.run(ms(59_999));
        assert_eq!(fleet.verdict, None);
        fleet.run(ms(1));
        assert_eq!(fleet.verdict, Some(Verdict::SpawnFailed));
    }
}

#[test]
fn slot_that_becomes_ready_within_the_minute_keeps_fleet() {
    let mut fleet = without_program(settings(2), Start::FailsForGood);
    fleet.happen(&[0, 1].map(|id| Event::Exited { child: ChildId(id), exit: Exit::Failed }));
    fleet.run(ms(59_900));
    fleet.nature = WELL;
    fleet.run(secs(60));
    assert_eq!((fleet.verdict, fleet.is_complete()), (None, true));
}

#[test]
fn booting_child_is_waited_for_after_the_minute() {
    let mut fleet = without_program(Settings { start_timeout: secs(90), ..settings(2) }, Start::FailsForNow);
    fleet.cast(2, Nature { ready: Some(secs(80)), ..WELL });
    fleet.happen(&[0, 1].map(|id| Event::Exited { child: ChildId(id), exit: Exit::Failed }));
    fleet.run(secs(100));
    assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![Some(2), None]));
}

#[test]
fn recover_window_is_the_time_after_which_fleet_gives_up() {
    let recover = RecoverPolicy::new(Some(1), Some(secs(10)), Duration::ZERO);
    let mut fleet = without_program(Settings { recover, ..settings(1) }, Start::FailsForGood);
    fleet.exit(0, false);
    fleet.run(ms(9_999));
    assert_eq!(fleet.verdict, None);
    fleet.run(ms(1));
    assert_eq!(fleet.verdict, Some(Verdict::SpawnFailed));
}

#[test]
fn permanent_start_failure_stops_fleet() {
    let mut fleet = Fleet::new(settings(3));
    fleet.cast(1, Nature { start: Start::FailsForGood, ..WELL });
    fleet.run(secs(1));
    assert_eq!(
        fleet.story(),
        "start#0@0 started#0 start#1@1 close stop#0 end:SpawnFailed",
        "no further child is started"
    );
}
