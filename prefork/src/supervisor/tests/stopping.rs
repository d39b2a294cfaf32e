//! Stop requests, the queue, the grace period, hooks that fail, and the stop delay.

use super::*;

#[test]
fn stop_terminates_every_child_and_ends_with_the_last() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping refuse-connections close stop#0 stop#1");
    fleet.exit(0, false);
    assert_eq!(fleet.story(), "", "the exit was requested, so its status does not matter");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

/// A stopping fleet of two whose children need the time `queue` to accept the queue.
fn crowded(queue: Duration) -> Fleet {
    let mut fleet = Fleet::serving(settings(2));
    fleet.queue = queue;
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping refuse-connections");
    fleet
}

#[test]
fn stop_waits_for_queue_before_it_terminates_children() {
    let mut fleet = crowded(ms(300));
    fleet.run(ms(299));
    assert_eq!(fleet.story(), "");
    fleet.run(ms(1));
    assert_eq!(fleet.story(), "close stop#0 stop#1");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

#[test]
fn queue_that_is_never_accepted_does_not_extend_grace() {
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
fn suspend_while_queue_is_accepted_leaves_full_grace() {
    let mut fleet = crowded(ms(300));
    fleet.now += secs(60);
    fleet.happen(&[]);
    assert_eq!(fleet.story(), "NotEmptied close stop#0 stop#1");
    fleet.run(ms(100));
    assert_eq!(fleet.story(), "end:Stopped");
}

#[test]
fn queues_have_their_whole_time_however_late_connections_are_refused() {
    let mut fleet = Fleet::new(settings(1));
    fleet.queue = ms(300);
    fleet.run(secs(1));
    fleet.story();
    fleet.supervisor.handle(fleet.now, Event::Request(Request::Stop));
    fleet.now += secs(60);
    while fleet.act_once() {}
    fleet.happen(&[]);
    assert_eq!(fleet.story(), "Stopping refuse-connections");
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "close stop#0 end:Stopped");
}

#[test]
fn late_order_to_stop_leaves_four_fifths_of_the_grace() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.story();
    fleet.supervisor.handle(fleet.now, Event::Request(Request::Stop));
    fleet.supervisor.handle(fleet.now, Event::QueuesEmpty);
    // The master is stopped, or runs a hook, before it gives the orders.
    fleet.now += secs(60);
    fleet.act();
    fleet.happen(&[]);
    assert_eq!(fleet.story(), "Stopping refuse-connections close stop#0 stop#1");
    fleet.run(secs(10));
    assert_eq!(fleet.times("kill#"), [65_000, 65_000]);
}

#[test]
fn child_that_exits_while_queue_is_accepted_is_not_replaced() {
    let mut fleet = crowded(ms(300));
    fleet.exit(0, false);
    assert_eq!(fleet.story(), "", "the other child goes on");
    fleet.exit(1, true);
    assert_eq!(fleet.story(), "close end:Stopped", "no child accepts");
}

#[test]
fn second_stop_and_quit_do_not_wait_for_queue() {
    for request in [Request::Stop, Request::Quit] {
        let mut fleet = crowded(ms(300));
        fleet.run(ms(250));
        fleet.request(request);
        assert_eq!(fleet.story(), "StoppingAtOnce close stop#0 stop#1 kill#0 kill#1");
        fleet.run(secs(1));
        assert_eq!(fleet.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn booting_child_is_terminated_before_queue_is_accepted() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, NEVER_READY);
    fleet.run(secs(1));
    fleet.queue = ms(300);
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping refuse-connections stop#1");
    fleet.request(Request::Reload);
    fleet.request(Request::Grow);
    fleet.run(ms(300));
    assert_eq!(fleet.story(), "close stop#0");
}

#[test]
fn stop_without_serving_child_does_not_wait_for_queue() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = NEVER_READY;
    fleet.queue = ms(300);
    fleet.run(ms(50));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping close stop#0");
}

#[test]
fn failed_hook_does_not_wait_for_queue() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.queue = ms(300);
    fleet.happen(&[Event::HookFailed]);
    assert_eq!(fleet.story(), "close stop#0");
}

#[test]
fn stop_waits_for_queue_after_stop_delay() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.queue = ms(300);
    fleet.request(Request::Stop);
    fleet.story();
    fleet.run(secs(10) + ms(300));
    assert_eq!(fleet.story(), "Stopping refuse-connections close stop#0 stop#1");
    assert_eq!(fleet.times("close"), [11_300]);
}

#[test]
fn child_over_grace_is_killed() {
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
fn zero_grace_kills_at_once() {
    let mut fleet = Fleet::new(Settings { grace: Duration::ZERO, ..settings(1) });
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn second_stop_kills_at_once() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.run(ms(250));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingAtOnce kill#0 kill#1");
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingAtOnce", "no child is killed twice");
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn stop_sent_twice_within_a_quarter_second_is_one_stop() {
    for stop_delay in [Duration::ZERO, secs(10)] {
        let mut fleet = Fleet::new(Settings { stop_delay, ..settings(2) });
        fleet.nature = STUBBORN;
        fleet.run(secs(1));
        fleet.happen(&[Event::Request(Request::Stop), Event::Request(Request::Stop)]);
        fleet.story();
        fleet.run(ms(200));
        fleet.request(Request::Stop);
        fleet.run(ms(49));
        fleet.request(Request::Stop);
        assert_eq!(fleet.story(), "", "the same request, whatever came in between");
        fleet.run(ms(1));
        fleet.request(Request::Stop);
        assert!(fleet.story().starts_with("StoppingAtOnce"));
    }
}

#[test]
fn quit_right_after_stop_kills_at_once() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.happen(&[Event::Request(Request::Stop), Event::Request(Request::Quit)]);
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn stop_sent_twice_to_fleet_that_ends_by_itself_kills_nothing() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.happen(&[Event::HookFailed]);
    fleet.story();
    fleet.happen(&[Event::Request(Request::Stop), Event::Request(Request::Stop)]);
    assert_eq!(fleet.story(), "Stopping");
    fleet.run(ms(250));
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingAtOnce kill#0 kill#1");
}

#[test]
fn quit_kills_children_at_once() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = STUBBORN;
    fleet.run(secs(1));
    fleet.request(Request::Quit);
    fleet.run(DEATH);
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn stop_terminates_booting_children() {
    let mut fleet = Fleet::new(settings(2));
    fleet.nature = NEVER_READY;
    fleet.run(ms(50));
    fleet.request(Request::Stop);
    fleet.run(ms(100));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
    assert_eq!(fleet.times("master-ready"), []);
}

#[test]
fn stop_between_two_actions_cancels_starts_and_hooks() {
    let cases = [
        // Between the first start and the second.
        (1, "start#0@0 Stopping close stop#0"),
        // Between the first hook and the second start.
        (2, "start#0@0 started#0 Stopping close stop#0"),
        // Between the second start and its hook.
        (3, "start#0@0 started#0 start#1@1 Stopping close stop#0 stop#1"),
    ];
    for (after, story) in cases {
        let mut fleet = Fleet::new(settings(3));
        fleet.interruptions.insert(after, Request::Stop);
        fleet.run(Duration::ZERO);
        assert_eq!(fleet.story(), story);
    }
}

#[test]
fn stop_cancels_respawn_of_same_moment() {
    let mut fleet = Fleet::serving(settings(2));
    let crash = Event::Exited { child: ChildId(0), exit: Exit::Failed };
    fleet.supervisor.handle(fleet.now, crash);
    fleet.processes.remove(&ChildId(0));
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping refuse-connections close stop#1", "child 0 has no successor");
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn stop_while_slot_waits_for_respawn_ends_at_once() {
    let mut fleet = Fleet::new(settings(1));
    fleet.nature = STILLBORN;
    fleet.run(ms(60));
    fleet.story();
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "Stopping close end:Stopped");
}

#[test]
fn first_stop_reason_is_the_verdict() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.request(Request::Stop);
    fleet.happen(&[Event::HookFailed]);
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn failed_hook_stops_fleet_before_next_start() {
    let mut fleet = Fleet::new(settings(3));
    fleet.failing_hook = Some(2);
    fleet.run(secs(1));
    let story = fleet.story();
    assert!(story.ends_with("started#0 start#1@1 started#1 close stop#0 stop#1 end:HookFailed"), "{story}");
}

#[test]
fn failed_master_ready_hook_stops_fleet() {
    let mut fleet = Fleet::new(settings(2));
    fleet.failing_hook = Some(3);
    fleet.run(secs(1));
    assert!(fleet.story().ends_with("master-ready#0#1 close stop#0 stop#1 end:HookFailed"));
}

#[test]
fn crash_while_stopping_is_not_recovered() {
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
fn reload_upgrade_and_resize_while_stopping_are_ignored() {
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
fn stop_delay_announces_stop_before_it_begins() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    assert_eq!(fleet.story(), "StoppingIn(10s) announce-stop#0 announce-stop#1");
    fleet.run(secs(10));
    assert_eq!(fleet.story(), "Stopping refuse-connections close stop#0 stop#1");
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn crash_during_stop_delay_is_recovered() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.run(secs(1));
    fleet.story();
    fleet.exit(0, false);
    assert_eq!(
        fleet.story(),
        "start#2@0 started#2 recovered#0#2 announce-stop#2",
        "the new child is warned too"
    );
    fleet.run(secs(1));
    assert!(fleet.is_complete());
}

#[test]
fn second_stop_during_stop_delay_kills_at_once() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.run(secs(1));
    fleet.story();
    fleet.request(Request::Stop);
    fleet.run(DEATH);
    assert_eq!(fleet.story(), "StoppingAtOnce close stop#0 stop#1 kill#0 kill#1 end:Stopped");
}

#[test]
fn failed_hook_during_stop_delay_ends_at_once() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.happen(&[Event::HookFailed]);
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::HookFailed));
}

#[test]
fn reload_upgrade_and_resize_during_stop_delay_are_ignored() {
    let mut fleet = Fleet::serving(leaving_late());
    fleet.request(Request::Stop);
    fleet.story();
    for request in [Request::Reload, Request::Upgrade, Request::Grow, Request::Shrink] {
        fleet.request(request);
    }
    assert_eq!(fleet.story(), "");
}
