//! Another program in the master's place.

use super::*;

fn upgrading(workers: usize) -> Fleet {
    let mut fleet = Fleet::serving(settings(workers));
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    fleet
}

#[test]
fn a_trial_child_comes_first_then_the_exec_then_the_rest_of_the_fleet() {
    let mut fleet = upgrading(2);
    assert_eq!(fleet.story(), "Upgrading { generation: 1 } start#2@0^1 started#2");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "exec stop#0 Reloading { generation: 1 } start#3@1^1 started#3");
    fleet.run(secs(1));
    assert!(fleet.story().starts_with("stop#1"));
    assert_eq!(fleet.occupants(), [Some(2), Some(3)]);
    assert!(fleet.is_complete());
}

#[test]
fn the_new_program_calls_its_own_hook_when_the_fleet_is_whole() {
    let mut fleet = upgrading(2);
    fleet.run(secs(1));
    assert_eq!(fleet.times("whole").len(), 2);
}

#[test]
fn a_trial_child_that_fails_changes_nothing() {
    for nature in [STILLBORN, NEVER_READY, UNSTARTABLE, Nature { start: Start::FailsForGood, ..WELL }] {
        let mut fleet = Fleet::serving(settings(2));
        fleet.exec_works = true;
        fleet.cast(2, nature);
        fleet.request(Request::Upgrade);
        fleet.run(secs(20));
        assert!(fleet.story().ends_with("UpgradeAborted"));
        assert_eq!((fleet.times("exec"), fleet.occupants()), (vec![], vec![Some(0), Some(1)]));
    }
}

#[test]
fn an_exec_that_fails_changes_nothing() {
    let mut fleet = upgrading(2);
    fleet.exec_works = false;
    fleet.story();
    fleet.run(secs(1));
    assert_eq!(fleet.story(), "exec stop#2 UpgradeAborted");
    assert_eq!(fleet.occupants(), [Some(0), Some(1)]);
}

#[test]
fn a_trial_child_that_was_ready_and_died_in_the_same_moment_is_no_proof() {
    let mut fleet = upgrading(1);
    fleet.story();
    fleet.happen(&[Event::Ready(ChildId(1)), Event::Exited { child: ChildId(1), clean: false }]);
    assert_eq!(fleet.story(), "UpgradeAborted");
}

#[test]
fn a_stop_or_a_reload_in_the_moment_of_the_exec_prevents_it() {
    for stop_delay in [Duration::ZERO, secs(1)] {
        for request in [Request::Stop, Request::Quit, Request::Reload] {
            let mut fleet = Fleet::serving(Settings { stop_delay, ..settings(1) });
            fleet.exec_works = true;
            fleet.request(Request::Upgrade);
            fleet.happen(&[Event::Ready(ChildId(1)), Event::Request(request)]);
            fleet.run(secs(5));
            assert_eq!(fleet.times("exec"), [], "{request:?} with a delay of {stop_delay:?}");
            assert_eq!(fleet.verdict.is_some(), request != Request::Reload);
        }
    }
}

#[test]
fn a_fleet_that_is_about_to_leave_is_not_upgraded() {
    let mut fleet = Fleet::serving(Settings { stop_delay: secs(10), ..settings(1) });
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "stop#1 UpgradeAborted StoppingIn(10s) warn#0");
    fleet.run(secs(20));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn everything_that_was_decided_is_done_before_the_exec() {
    let mut fleet = upgrading(2);
    fleet.story();
    fleet.happen(&[Event::Ready(ChildId(2)), Event::Request(Request::Shrink)]);
    assert!(fleet.story().starts_with("Resized { from: 2, to: 1 } retire#1 close-slot exec stop#0"));
}

#[test]
fn a_second_upgrade_starts_over() {
    let mut fleet = upgrading(1);
    fleet.run(ms(50));
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    assert_eq!(fleet.times("exec"), [1150]);
    assert_eq!(fleet.occupants(), [Some(2)]);
}

#[test]
fn nobody_is_recycled_while_a_trial_is_under_way() {
    let mut fleet = Fleet::serving(Settings { reload_parallel: 2, ..settings(2) });
    fleet.exec_works = true;
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Upgrade);
    fleet.happen(&[Event::RecycleRequested(ChildId(1))]);
    fleet.run(ms(100));
    assert_eq!(fleet.times("exec").len(), 1, "no other child's failure is the trial's");
}

#[test]
fn recycling_that_a_failed_upgrade_interrupted_is_not_forgotten() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::RecycleRequested(ChildId(1))]);
    fleet.cast(3, STILLBORN);
    fleet.request(Request::Upgrade);
    fleet.run(secs(90));
    assert_eq!(fleet.occupants(), [Some(0), Some(4)]);
}

#[test]
fn failures_before_the_exec_still_count_after_it() {
    let recover = RecoverPolicy::new(Some(1), None, Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { recover, ..settings(1) });
    fleet.exec_works = true;
    fleet.exit(0, false);
    fleet.run(secs(1));
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    fleet.exit(2, false);
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 2 }));
}

#[test]
fn a_reload_after_the_exec_that_fails_says_how_far_it_came() {
    let mut fleet = upgrading(2);
    fleet.cast(3, STILLBORN);
    fleet.run(secs(1));
    assert!(fleet.story().contains("ReloadAborted { slot: 1, replaced: 1, of: 2 }"));
}

#[test]
fn the_trial_child_grows_old_like_any_other() {
    let mut fleet = Fleet::serving(Settings { max_lifetime: Some(secs(100)), ..settings(1) });
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    fleet.run(secs(101));
    assert_eq!(fleet.occupants(), [Some(2)]);
}

#[test]
fn the_new_program_has_its_own_idea_of_the_fleets_size() {
    for workers in [1, 2, 4] {
        let mut fleet = upgrading(2);
        fleet.settings.workers = workers;
        fleet.run(secs(2));
        assert_eq!(fleet.supervisor.fleet_size(), workers);
        assert!(fleet.is_complete());
    }
}

#[test]
fn a_new_program_that_listens_elsewhere_replaces_the_trial_child_too() {
    let mut fleet = upgrading(2);
    fleet.moved = true;
    fleet.run(secs(2));
    assert_eq!(fleet.occupants(), [Some(3), Some(4)]);
}

#[test]
fn the_announcement_does_not_wait_for_a_reload_that_an_upgrade_ended() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(1, NEVER_READY);
    fleet.cast(2, STILLBORN);
    fleet.run(ms(50));
    fleet.request(Request::Reload);
    fleet.run(ms(100));
    assert_eq!(fleet.times("whole"), [], "not before the reload is over");
    fleet.request(Request::Upgrade);
    fleet.run(secs(1));
    assert_eq!(fleet.times("whole"), [200]);
}

#[test]
fn old_children_that_drain_are_watched_by_the_new_program() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.exec_works = true;
    fleet.request(Request::Shrink);
    fleet.request(Request::Upgrade);
    fleet.run(secs(20));
    assert_eq!(fleet.times("kill#"), [6100, 6100], "the grace starts anew with the new program");
    assert_eq!(fleet.occupants(), [Some(2)]);
    assert!(fleet.is_complete());
}
