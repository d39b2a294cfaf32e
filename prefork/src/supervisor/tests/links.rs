//! Links that a child refuses, closes or abuses.

use super::*;

#[test]
fn refused_handshake_stops_fleet() {
    let mut fleet = Fleet::new(settings(2));
    fleet.cast(1, Nature { ready: None, refuses: Some(ms(20)), ..WELL });
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::SpawnFailed));
}

#[test]
fn refused_handshake_after_full_start_ends_only_that_child() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.cast(2, Nature { ready: None, refuses: Some(ms(20)), ..WELL });
    fleet.exit(0, false);
    fleet.run(secs(1));
    assert_eq!((fleet.verdict, fleet.occupants()), (None, vec![Some(3), Some(1)]));
}

#[test]
fn refused_handshake_after_start_timeout_stops_fleet() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(0, Nature { ready: None, refuses: Some(ms(10_005)), ..WELL });
    fleet.run(secs(11));
    assert_eq!(fleet.verdict, Some(Verdict::SpawnFailed));
}

#[test]
fn refused_handshake_of_stopping_child_is_ignored() {
    let mut fleet = Fleet::new(settings(1));
    fleet.run(ms(50));
    // The last messages of a child are read when it is reaped, after the signals of the same moment.
    fleet.supervisor.handle(fleet.now, Event::Request(Request::Stop));
    fleet.happen(&[Event::HandshakeRefused(ChildId(0))]);
    fleet.run(secs(1));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}

#[test]
fn child_that_closes_its_link_and_lives_on_is_killed_and_has_failed() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.happen(&[Event::LinkClosed(ChildId(0))]);
    fleet.run(ms(999));
    assert_eq!(fleet.story(), "");
    fleet.run(ms(1));
    let killed = "LinkClosed(ChildId(0)) kill-failed#0";
    assert_eq!(fleet.story(), format!("{killed} start#2@0 started#2 recovered#0#2"));
    assert_eq!(fleet.supervisor.status(fleet.now).failures, 1);
}

#[test]
fn child_that_closes_its_link_and_exits_is_not_killed() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::LinkClosed(ChildId(0))]);
    fleet.run(ms(100));
    fleet.exit(0, true);
    fleet.run(secs(5));
    assert_eq!(fleet.story(), "start#1@0 started#1 recovered#0#1");
}

#[test]
fn stopping_child_that_closes_its_link_has_its_grace() {
    let mut fleet = Fleet::new(settings(1));
    fleet.cast(0, STUBBORN);
    fleet.run(secs(1));
    fleet.request(Request::Stop);
    fleet.story();
    fleet.happen(&[Event::LinkClosed(ChildId(0))]);
    fleet.run(secs(3));
    assert_eq!(fleet.story(), "");
    fleet.run(secs(3));
    assert_eq!(fleet.story(), "GraceOver(ChildId(0)) kill#0 end:Stopped");
}

#[test]
fn child_that_abuses_its_link_is_killed_at_once() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::LinkAbused(ChildId(0))]);
    fleet.run(ms(1));
    assert_eq!(fleet.story(), "kill-failed#0 start#1@0 started#1 recovered#0#1");
    // The reload ends when a new child does it.
    fleet.cast(2, Nature { unlinks: Some(ms(50)), ready: None, ..WELL });
    fleet.request(Request::Reload);
    fleet.run(secs(3));
    let story = fleet.story();
    assert!(story.contains("kill-failed#2") && story.contains("ReloadAborted"), "{story}");
}
