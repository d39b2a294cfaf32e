//! Upgrades: the check, the trial child, the exec, and the new program.

use super::*;

fn upgrading(workers: usize) -> Fleet {
    let mut fleet = Fleet::serving(settings(workers));
    fleet.exec_works = true;
    fleet.upgrade();
    fleet
}

#[test]
fn upgrade_starts_trial_child_then_execs_then_replaces_the_rest() {
    let mut fleet = upgrading(2);
    assert_eq!(fleet.story(), "Upgrading { generation: 1 } start#2@0^1 stop#2 start#3@0^1 started#3");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "exec stop#0 Reloading { generation: 1 } start#4@1^1 started#4");
    fleet.run(secs(1));
    assert!(fleet.story().starts_with("stop#1"));
    assert_eq!(fleet.occupants(), [Some(3), Some(4)]);
    assert!(fleet.is_complete());
}

/// A child that waits for its template, which may never load again.
const WAITING: Nature = Nature { told_after: secs(1000), ..WELL };

#[test]
fn upgrade_does_not_wait_for_a_child_that_waits_for_its_template() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = true;
    fleet.cast(2, WAITING);
    fleet.happen(&[Event::Exited { child: ChildId(1), exit: Exit::Failed }]);
    fleet.run(secs(1));
    fleet.upgrade();
    fleet.run(secs(2));
    assert_eq!(fleet.times("exec").len(), 1);
    assert!(fleet.is_complete());
}

#[test]
fn child_that_an_upgrade_did_not_wait_for_is_ordered_again_if_the_exec_fails() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = false;
    fleet.cast(2, WAITING);
    fleet.happen(&[Event::Exited { child: ChildId(1), exit: Exit::Failed }]);
    fleet.run(secs(1));
    fleet.upgrade();
    fleet.run(secs(5));
    assert!(fleet.is_complete(), "{fleet:?}");
}

#[test]
fn new_program_calls_master_ready() {
    let mut fleet = upgrading(2);
    fleet.run(secs(1));
    assert_eq!(fleet.times("master-ready").len(), 2);
}

#[test]
fn failed_check_or_trial_child_aborts_upgrade_and_keeps_old() {
    for nature in [STILLBORN, NEVER_READY, UNSTARTABLE, Nature { start: Start::FailsForGood, ..WELL }] {
        for (child, remark) in [(2, "CheckFailed"), (3, "TrialFailed")] {
            let mut fleet = Fleet::serving(settings(2));
            fleet.exec_works = true;
            fleet.cast(child, nature);
            fleet.request(Request::Upgrade);
            fleet.run(secs(20));
            assert!(fleet.story().ends_with(remark));
            assert_eq!((fleet.times("exec"), fleet.occupants()), (vec![], vec![Some(0), Some(1)]));
        }
    }
}

#[test]
fn program_whose_needs_cannot_be_met_is_not_tried() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = true;
    fleet.cast(2, NEVER_READY);
    fleet.request(Request::Upgrade);
    fleet.happen(&[Event::UpgradeRefused]);
    assert_eq!(fleet.story(), "Upgrading { generation: 1 } start#2@0^1 stop#2");
    fleet.run(secs(20));
    assert_eq!((fleet.times("exec"), fleet.occupants()), (vec![], vec![Some(0), Some(1)]));
}

#[test]
fn child_that_checks_and_claims_to_be_ready_replaces_nothing() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.exec_works = true;
    fleet.cast(1, NEVER_READY);
    fleet.request(Request::Upgrade);
    fleet.happen(&[Event::Ready(ChildId(1))]);
    fleet.run(secs(20));
    assert!(fleet.story().ends_with("CheckFailed"));
    assert_eq!(fleet.occupants(), [Some(0)]);
}

#[test]
fn answer_of_a_child_that_does_not_check_has_no_effect() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = true;
    fleet.happen(&[Event::Checked(ChildId(0))]);
    fleet.upgrade();
    fleet.story();
    fleet.happen(&[Event::Checked(ChildId(1)), Event::Checked(ChildId(2)), Event::Checked(ChildId(3))]);
    assert_eq!(fleet.story(), "");
}

#[test]
fn failed_exec_aborts_upgrade_and_keeps_old() {
    let mut fleet = upgrading(2);
    fleet.exec_works = false;
    fleet.story();
    fleet.run(secs(1));
    assert_eq!(fleet.story(), "exec stop#3 UpgradeAborted");
    assert_eq!(fleet.occupants(), [Some(0), Some(1)]);
}

#[test]
fn later_request_takes_the_place_of_an_upgrade() {
    for request in [Request::Reload, Request::Upgrade] {
        let mut fleet = upgrading(2);
        fleet.story();
        fleet.request(request);
        assert!(fleet.story().contains("UpgradeReplaced"));
        fleet.exec_works = true;
        fleet.run(secs(10));
        assert!(!fleet.story().contains("UpgradeReplaced"));
    }
}

#[test]
fn reload_interrupted_by_failed_upgrade_is_resumed_to_its_end() {
    for (works, nature) in [(true, STILLBORN), (true, NEVER_READY), (true, UNSTARTABLE), (false, WELL)] {
        let mut fleet = Fleet::serving(settings(3));
        fleet.exec_works = works;
        fleet.cast(6, nature);
        fleet.request(Request::Reload);
        fleet.run(ms(150));
        fleet.story();
        fleet.request(Request::Upgrade);
        fleet.run(secs(20));
        let story = fleet.story();
        let resumed = story.find("ReloadResumed { generation: 1 } start#7@1^1").expect(&story);
        let over = story.find("Reloaded { generation: 1 }").expect(&story);
        assert!(story.find("Failed").or(story.find("Aborted")) < Some(resumed) && resumed < over, "{story}");
        assert_eq!(fleet.occupants(), [Some(3), Some(7), Some(8)]);
    }
}

#[test]
fn second_upgrade_that_fails_resumes_the_reload_before_the_first() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.cast(7, STILLBORN);
    fleet.request(Request::Reload);
    fleet.run(ms(150));
    fleet.upgrade();
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    assert_eq!(fleet.occupants(), [Some(2), Some(8)]);
    assert!(fleet.story().ends_with("Reloaded { generation: 1 }"));
}

#[test]
fn stop_after_an_interrupted_reload_resumes_nothing() {
    for stop_delay in [Duration::ZERO, secs(1)] {
        let mut fleet = Fleet::serving(Settings { stop_delay, ..settings(2) });
        fleet.request(Request::Reload);
        fleet.run(ms(50));
        fleet.request(Request::Upgrade);
        fleet.story();
        fleet.happen(&[Event::Request(Request::Stop)]);
        fleet.run(secs(20));
        assert!(!fleet.story().contains("ReloadResumed"));
        assert_eq!(fleet.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn trial_child_ready_and_exited_in_same_moment_aborts_upgrade() {
    let mut fleet = upgrading(1);
    fleet.story();
    fleet.happen(&[Event::Ready(ChildId(2)), Event::Exited { child: ChildId(2), exit: Exit::Failed }]);
    assert_eq!(fleet.story(), "TrialFailed");
}

#[test]
fn stop_or_reload_at_moment_of_exec_prevents_it() {
    for stop_delay in [Duration::ZERO, secs(1)] {
        for request in [Request::Stop, Request::Quit, Request::Reload] {
            let mut fleet = Fleet::serving(Settings { stop_delay, ..settings(1) });
            fleet.exec_works = true;
            fleet.upgrade();
            fleet.happen(&[Event::Ready(ChildId(2)), Event::Request(request)]);
            fleet.run(secs(5));
            assert_eq!(fleet.times("exec"), [], "{request:?} with a delay of {stop_delay:?}");
            assert_eq!(fleet.verdict.is_some(), request != Request::Reload);
        }
    }
}

#[test]
fn stop_delay_aborts_upgrade() {
    let mut fleet = Fleet::serving(Settings { stop_delay: secs(10), ..settings(1) });
    fleet.exec_works = true;
    fleet.upgrade();
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "stop#2 UpgradeAborted StoppingIn(10s) announce-stop#0");
    fleet.run(secs(20));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn pending_actions_are_performed_before_exec() {
    let mut fleet = upgrading(2);
    fleet.story();
    fleet.happen(&[Event::Ready(ChildId(3)), Event::Request(Request::Shrink)]);
    assert!(
        fleet.story().starts_with("Resized { from: 2, to: 1 } stop-after-queue#1 close-slot exec stop#0")
    );
}

#[test]
fn second_upgrade_restarts_with_new_trial_child() {
    let mut fleet = upgrading(1);
    fleet.run(ms(50));
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    assert_eq!(fleet.times("exec"), [1150]);
    assert_eq!(fleet.occupants(), [Some(4)]);
}

#[test]
fn upgrade_delays_recycling() {
    let mut fleet = Fleet::serving(Settings { reload_parallel: 2, ..settings(2) });
    fleet.exec_works = true;
    fleet.cast(4, STILLBORN);
    fleet.request(Request::Upgrade);
    fleet.happen(&[Event::RecycleRequested(ChildId(1), RecycleReason::Size)]);
    fleet.run(ms(100));
    assert_eq!(fleet.times("exec").len(), 1, "the failure of another child does not abort the trial");
}

#[test]
fn recycling_interrupted_by_aborted_upgrade_resumes() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(1), RecycleReason::Size)]);
    fleet.cast(4, STILLBORN);
    fleet.request(Request::Upgrade);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(0), Some(5)]);
}

#[test]
fn failures_before_exec_count_after_it() {
    let recover = RecoverPolicy::new(Some(1), None, Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { recover, ..settings(1) });
    fleet.exec_works = true;
    fleet.exit(0, false);
    fleet.run(secs(1));
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    fleet.exit(3, false);
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 2 }));
}

/// A fleet whose old children all wait for their next start, with an upgrade whose trial child is the only one.
#[test]
fn upgrade_is_not_complete_before_every_slot_has_a_ready_child() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = true;
    fleet.nature = STILLBORN;
    fleet.exit(0, false);
    fleet.exit(1, false);
    fleet.run(ms(200));
    fleet.nature = Nature { exit: Some((ms(102), false)), ..WELL };
    fleet.story();
    fleet.upgrade();
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.contains("ReloadAborted") && !story.contains("Reloaded"), "{story}");
}

#[test]
fn aborted_reload_after_exec_reports_progress() {
    let mut fleet = upgrading(2);
    fleet.cast(4, STILLBORN);
    fleet.run(secs(1));
    assert!(fleet.story().contains("ReloadAborted { slot: 1, replaced: 1, of: 2 }"));
}

#[test]
fn trial_child_is_recycled_after_max_lifetime() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(100)), ..settings(1) });
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    fleet.run(secs(101));
    assert_eq!(fleet.occupants(), [Some(3)]);
}

#[test]
fn new_program_applies_its_own_fleet_size() {
    for workers in [1, 2, 4] {
        let mut fleet = upgrading(2);
        fleet.settings.workers = workers;
        fleet.run(secs(2));
        assert_eq!(fleet.supervisor.fleet_size(), workers);
        assert!(fleet.is_complete());
    }
}

#[test]
fn new_program_with_other_privileges_replaces_trial_child() {
    let mut fleet = upgrading(2);
    fleet.moved = true;
    fleet.run(secs(2));
    assert_eq!(fleet.occupants(), [Some(4), Some(5)]);
}

#[test]
fn master_ready_does_not_wait_for_reload_ended_by_upgrade() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(1, NEVER_READY);
    fleet.cast(2, STILLBORN);
    fleet.run(ms(50));
    fleet.request(Request::Reload);
    fleet.run(ms(100));
    assert_eq!(fleet.times("master-ready"), [], "not before the reload is over");
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    assert_eq!(fleet.times("master-ready"), [350], "the reload is resumed");
}

#[test]
fn new_program_kills_old_children_after_grace() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.exec_works = true;
    fleet.cast(2, WELL);
    fleet.request(Request::Shrink);
    fleet.request(Request::Upgrade);
    fleet.run(secs(20));
    assert_eq!(fleet.times("kill#"), [6100, 6100], "the grace period restarts in the new program");
    assert_eq!(fleet.occupants(), [Some(3)]);
    assert!(fleet.is_complete());
}

#[test]
fn child_that_is_twice_in_the_snapshot_counts_once() {
    let fleet = Fleet::serving(settings(2));
    let mut snapshot = fleet.supervisor.snapshot(fleet.now);
    snapshot.children.extend_from_within(..);
    let supervisor = Supervisor::resume(settings(2), &snapshot, false, fleet.now);
    supervisor.children.check();
}
