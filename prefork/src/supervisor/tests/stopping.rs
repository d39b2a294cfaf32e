//! Fleets that end.

use super::*;

#[test]
fn a_stop_asks_every_child_and_ends_when_the_last_is_gone() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping turn-away close stop#0 stop#1");
    fleet.exit(0, false);
    assert_eq!(fleet.story(), "", "whatever its status, it was asked to go");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

/// A fleet of two, for whose children more has queued than they can accept for a while.
fn crowded(queue: Duration) -> Fleet {
    let mut fleet = Fleet::serving(settings(2));
    fleet.queue = queue;
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping turn-away");
    fleet
}

#[test]
fn what_has_queued_is_accepted_before_the_children_are_asked_to_stop() {
    let mut fleet = crowded(ms(300));
    fleet.run(ms(299));
    assert_eq!(fleet.story(), "");
    fleet.run(ms(1));
    assert_eq!(fleet.story(), "close stop#0 stop#1");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

#[test]
fn a_queue_that_nobody_empties_is_not_waited_for_long_and_the_grace_is_no_longer_for_it() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = STUBBORN;
    fleet.queue = secs(60);
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.story();
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "NotEmptied close stop#0 GraceOver(ChildId(0)) kill#0 end:Stopped");
    assert_eq!(fleet.times("close"), [2000]);
    assert_eq!(fleet.times("kill#"), [6000]);
}

#[test]
fn a_machine_that_was_asleep_meanwhile_takes_nothing_of_the_grace() {
    let mut fleet = crowded(ms(300));
    fleet.now += secs(60);
    fleet.happen(&[]);
    assert_eq!(fleet.story(), "NotEmptied close stop#0 stop#1");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

#[test]
fn a_child_that_dies_while_the_queue_is_emptied_is_not_replaced() {
    let mut fleet = crowded(ms(300));
    fleet.exit(0, false);
    assert_eq!(fleet.story(), "", "the other one goes on");
    fleet.exit(1, true);
    assert_eq!(fleet.story(), "close end:Stopped", "nobody accepts any more");
}

#[test]
fn a_second_stop_and_a_quit_wait_for_no_queue() {
    for request in [Request::Stop, Request::Quit] {
        let mut fleet = crowded(ms(300));
        fleet.request(request);
        assert_eq!(fleet.story(), "StoppingAtOnce close stop#0 stop#1 kill#0 kill#1");
        fleet.run(secs(1));
        assert_eq!(fleet.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn whoever_does_not_serve_is_asked_to_stop_before_the_queue_is_empty() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, NEVER_READY);
    fleet.run(secs(1));
    fleet.queue = ms(300);
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping turn-away stop#1");
    fleet.request(Request::Reload);
    fleet.request(Request::Grow);
    fleet.run(ms(300));
    assert_eq!(fleet.story(), "close stop#0");
}

#[test]
fn a_fleet_in_which_nobody_serves_waits_for_no_queue() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = NEVER_READY;
    fleet.queue = ms(300);
    fleet.run(ms(50));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping close stop#0");
}

#[test]
fn a_fleet_that_fails_waits_for_no_queue() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.queue = ms(300);
    fleet.happen(&[Event::HookFailed]);
    assert_eq!(fleet.story(), "close stop#0");
}

#[test]
fn a_queue_is_emptied_after_the_delay_too() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.queue = ms(300);
    fleet.request(Request::Stop);
    fleet.story();
    fleet.run(secs(10) + ms(300));
    assert_eq!(fleet.story(), "Stopping turn-away close stop#0 stop#1");
    assert_eq!(fleet.times("close"), [11_300]);
}

#[test]
fn whoever_outlives_the_grace_is_killed() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, STUBBORN);
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.story();
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "GraceOver(ChildId(1)) kill#1 end:Stopped");
    assert_eq!(fleet.times("kill#"), [6000]);
}

#[test]
fn no_grace_means_no_wait() {
    let mut fleet = Fleet::new(Settings { grace: Duration::ZERO, ..settings(1) });
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_second_stop_kills_at_once() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.run(ms(200));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingAtOnce kill#0 kill#1");
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingAtOnce", "nobody is killed twice");
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn quit_kills_at_once() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Quit);
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn children_that_are_not_ready_are_asked_to_stop_as_well() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = NEVER_READY;
    fleet.run(ms(50));
    fleet.request(Request::Stop);
    fleet.run(ms(100));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
    assert_eq!(fleet.times("whole"), []);
}

#[test]
fn a_stop_takes_back_what_was_decided_in_the_same_moment() {
    let mut fleet = Fleet::serving(settings(2));
    let crash = Event::Exited { child: ChildId(0), clean: false };
    fleet.supervisor.handle(fleet.now, crash);
    fleet.processes.remove(&ChildId(0));
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping turn-away close stop#1", "nobody is started in place of 0");
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_fleet_that_waits_for_its_next_attempt_stops_at_once() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = STILLBORN;
    fleet.run(ms(60));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping close end:Stopped");
}

#[test]
fn the_first_reason_to_stop_is_the_one_that_counts() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.request(Request::Stop);
    fleet.happen(&[Event::HookFailed]);
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_hook_that_fails_stops_the_fleet_before_the_next_hook_is_called() {
    let mut fleet = Fleet::new(settings(3));
    fleet.failing_hook = Some(2);
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.ends_with("started#0 started#1 close stop#0 stop#1 stop#2 end:HookFailed"), "{story}");
}

#[test]
fn the_announcement_can_fail_too() {
    let mut fleet = Fleet::new(settings(2));
    fleet.failing_hook = Some(3);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("whole#0#1 close stop#0 stop#1 end:HookFailed"));
}

#[test]
fn no_child_is_recovered_while_the_fleet_stops() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.story();
    fleet.exit(0, false);
    fleet.run(secs(4));
    assert_eq!(fleet.story(), "");
}

#[test]
fn requests_for_more_mean_nothing_to_a_fleet_that_stops() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.story();
    for request in [Request::Reload, Request::Upgrade, Request::Grow, Request::Shrink] {
        fleet.request(request);
    }
    assert_eq!(fleet.story(), "");
}

fn leaving_late() -> Settings {
    Settings { stop_delay: secs(10), ..settings(2) }
}

#[test]
fn a_stop_can_be_announced_before_it_begins() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingIn(10s) warn#0 warn#1");
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "Stopping turn-away close stop#0 stop#1");
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_fleet_that_is_about_to_leave_still_recovers() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.run(secs(1));
    fleet.story();
    fleet.exit(0, false);
    assert_eq!(fleet.story(), "start#2@0 started#2 recovered#0#2 warn#2", "the new one knows it, too");
    fleet.run(secs(1));
    assert!(fleet.is_complete());
}

#[test]
fn a_second_stop_cuts_the_delay_short() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.run(secs(1));
    fleet.story();
    fleet.request(Request::Stop);
    fleet.run(DEATH);
    assert_eq!(fleet.story(), "StoppingAtOnce close stop#0 stop#1 kill#0 kill#1 end:Stopped");
}

#[test]
fn a_failing_fleet_does_not_wait_for_the_delay() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.happen(&[Event::HookFailed]);
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::HookFailed));
}

#[test]
fn a_fleet_that_is_about_to_leave_stays_as_it_is() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.story();
    for request in [Request::Reload, Request::Upgrade, Request::Grow, Request::Shrink] {
        fleet.request(request);
    }
    assert_eq!(fleet.story(), "");
}
