//! What is counted: starts, failures, and the results of reloads and upgrades.

use super::super::{ChangeResult, FailureCause, StartReason};
use super::*;

/// What was counted, by name, without zeroes: `start_start=2 failure_signal_ready=1`.
fn counted(fleet: &Fleet) -> String {
    let totals = fleet.supervisor.status(fleet.now).totals;
    let counted = totals.named().filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn first_children_and_those_of_new_slots_have_their_reasons() {
    let mut fleet = Fleet::serving(settings(2));
    assert_eq!(counted(&fleet), "start_start=2");
    fleet.request(Request::Resize(4));
    fleet.run(secs(1));
    assert_eq!(counted(&fleet), "start_start=2 start_scale=2");
    fleet.request(Request::Shrink);
    fleet.run(secs(1));
    assert_eq!(counted(&fleet), "start_start=2 start_scale=2");
}

#[test]
fn exits_are_counted_by_kind_and_by_readiness() {
    for (exit, kind) in [
        (Exit::Failed, "failure_status_ready"),
        (Exit::Signalled, "failure_signal_ready"),
        (Exit::Clean, "failure_early_exit_ready"),
    ] {
        let mut fleet = Fleet::serving(settings(1));
        fleet.happen(&[Event::Exited { child: ChildId(0), exit }]);
        fleet.run(ms(10));
        assert_eq!(counted(&fleet), format!("start_start=1 start_recover=1 {kind}=1"));
    }
    let mut fleet = Fleet::serving(settings(1));
    fleet.run(secs(1));
    fleet.exit(0, true);
    fleet.run(secs(1));
    assert_eq!(counted(&fleet), "start_start=1 start_recover=1", "a clean exit later on is no failure");
}

#[test]
fn children_that_fail_before_ready_have_their_kinds() {
    let failing = |nature| {
        let mut fleet = Fleet::new(Settings { start_timeout: secs(2), ..settings(2) });
        fleet.cast(0, nature);
        fleet.run(secs(5));
        counted(&fleet)
    };
    let rest = "start_start=2 start_recover=1";
    assert_eq!(failing(STILLBORN), format!("{rest} failure_status_starting=1"));
    assert_eq!(failing(NEVER_READY), format!("{rest} failure_start_timeout=1"));
    let unlinked = Nature { ready: None, unlinks: Some(ms(10)), ..WELL };
    assert_eq!(failing(unlinked), format!("{rest} failure_link_starting=1"));
    assert_eq!(failing(UNSTARTABLE), "start_start=1 start_recover=1 failure_spawn=1");
}

#[test]
fn child_that_hangs_is_told_from_one_that_crashes() {
    let mut fleet = Fleet::serving(settings(1));
    let exit = Event::Exited { child: ChildId(0), exit: Exit::Signalled };
    fleet.happen(&[Event::Hangs(ChildId(0)), exit]);
    assert_eq!(counted(&fleet), "start_start=1 start_recover=1 failure_hang_ready=1");
}

#[test]
fn child_that_is_killed_after_its_grace_is_no_failure() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(0, STUBBORN);
    let mut fleet = Fleet { nature: STUBBORN, ..fleet };
    for process in fleet.processes.values_mut() {
        process.nature = STUBBORN;
    }
    fleet.request(Request::Reload);
    fleet.run(secs(10));
    assert_eq!(counted(&fleet), "start_start=1 start_reload=1 stop_timeout=1 reload_done=1");
}

#[test]
fn reload_has_one_result() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Reload);
    fleet.run(ms(10));
    fleet.request(Request::Reload);
    fleet.run(secs(2));
    assert_eq!(counted(&fleet), "start_start=2 start_reload=3 reload_done=1 reload_superseded=1");
    let mut fleet = Fleet::serving(settings(2));
    fleet.cast(2, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(secs(2));
    let expected = "start_start=2 start_reload=1 failure_status_starting=1 reload_aborted=1";
    assert_eq!(counted(&fleet), expected);
    fleet.happen(&[Event::Refused(Request::Reload), Event::Refused(Request::Upgrade)]);
    assert_eq!(counted(&fleet), format!("{expected} reload_refused=1 upgrade_refused=1"));
    fleet.request(Request::Reload);
    fleet.run(ms(10));
    fleet.request(Request::Stop);
    fleet.run(secs(2));
    assert_eq!(fleet.supervisor.totals.get(Tally::Reload(ChangeResult::Cancelled)), 1);
}

#[test]
fn recycling_is_counted_by_reason() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::RecycleRequested(ChildId(0), RecycleReason::Size)]);
    fleet.run(secs(2));
    assert_eq!(counted(&fleet), "start_start=1 start_recycle=1 recycle_size=1");
}

#[test]
fn upgrade_keeps_the_numbers_and_counts_itself() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::Exited { child: ChildId(0), exit: Exit::Signalled }]);
    fleet.run(secs(1));
    // The exec fails.
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    fleet.run(secs(5));
    let totals = fleet.supervisor.totals;
    assert_eq!(totals.get(Tally::Upgrade(ChangeResult::Aborted)), 1);
    assert_eq!(totals.get(Tally::Upgrade(ChangeResult::Done)), 1);
    assert_eq!(totals.get(Tally::Reload(ChangeResult::Done)), 1, "that of the other slots");
    assert_eq!(totals.get(Tally::Failure { kind: FailureCause::Signal, ready: true }), 1);
    let starts = [StartReason::Start, StartReason::Recover, StartReason::Upgrade, StartReason::Reload];
    assert_eq!(starts.map(|reason| totals.get(Tally::Start(reason))), [2, 1, 4, 1]);
}
