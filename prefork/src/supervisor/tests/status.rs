//! The status of a fleet: state, readiness, generation and failures.

use super::super::FleetState;
use super::*;

fn state(fleet: &Fleet) -> FleetState {
    fleet.supervisor.status(fleet.now).state
}

fn is_ready(fleet: &Fleet) -> bool {
    fleet.supervisor.status(fleet.now).is_ready()
}

#[test]
fn start_serve_and_stop_have_their_states() {
    let mut fleet = Fleet::new(settings(2));
    fleet.run(ms(10));
    assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Starting, false));
    fleet.run(secs(1));
    assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Serving, true));
    fleet.request(Request::Stop);
    assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Stopping, false));
}

#[test]
fn stop_delay_is_not_ready() {
    let mut fleet = Fleet::serving(Settings { stop_delay: secs(10), ..settings(2) });
    fleet.request(Request::Stop);
    assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::StopDelay, false));
}

#[test]
fn reload_state_lasts_until_success_or_abort() {
    for (nature, generation) in [(WELL, 1), (STILLBORN, 0)] {
        let mut fleet = Fleet::serving(settings(2));
        fleet.cast(2, nature);
        fleet.request(Request::Reload);
        assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Reloading, true));
        assert_eq!(fleet.supervisor.status(fleet.now).generation, 1, "what it is about to run");
        fleet.run(secs(5));
        assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Serving, true));
        assert_eq!(fleet.supervisor.status(fleet.now).generation, generation, "what it runs");
    }
}

#[test]
fn upgrade_has_state_reloading_in_both_programs() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.exec_works = true;
    fleet.request(Request::Upgrade);
    assert_eq!(state(&fleet), FleetState::Reloading);
    fleet.run(ms(100));
    assert_eq!(fleet.times("exec").len(), 1);
    assert_eq!((state(&fleet), is_ready(&fleet)), (FleetState::Reloading, true));
    fleet.run(secs(5));
    assert_eq!(state(&fleet), FleetState::Serving);
}

#[test]
fn fleet_without_live_child_is_not_ready() {
    let recover = RecoverPolicy::new(Some(5), Some(secs(60)), secs(1));
    let mut fleet = Fleet::new(Settings { recover, ..settings(1) });
    fleet.cast(0, Nature { exit: Some((ms(500), false)), ..WELL });
    fleet.run(ms(1200));
    let overview = fleet.supervisor.status(fleet.now);
    assert_eq!((overview.state, overview.ready, overview.failures), (FleetState::Serving, 0, 1));
    assert!(!overview.is_ready());
    fleet.run(secs(2));
    assert!(is_ready(&fleet));
    // After this time the failure does not count.
    let failure_expires_at = fleet.supervisor.status(fleet.now).failure_expires_at;
    assert_eq!(fleet.supervisor.status(failure_expires_at.unwrap()).failures, 0);
}

fn waiting(fleet: &Fleet) -> Vec<(usize, u32, Option<Duration>)> {
    let waiting = fleet.supervisor.status(fleet.now).waiting.into_iter();
    waiting.map(|slot| (slot.slot, slot.generation, slot.starts_at.map(|at| at - fleet.now))).collect()
}

#[test]
fn slot_whose_child_has_failed_waits_until_the_next_one_is_started() {
    let recover = RecoverPolicy::new(Some(5), Some(secs(60)), secs(10));
    let mut fleet = Fleet::serving(Settings { recover, ..settings(3) });
    assert_eq!(waiting(&fleet), []);
    fleet.request(Request::Reload);
    fleet.run(secs(5));
    let children = fleet.supervisor.status(fleet.now).children;
    fleet.exit(fleet.occupants()[1].unwrap(), false);
    assert_eq!(waiting(&fleet), [(1, 1, Some(secs(10)))]);
    assert_eq!(fleet.supervisor.status(fleet.now).children, [children[0], children[2]]);
    fleet.run(secs(9));
    assert_eq!(waiting(&fleet), [(1, 1, Some(secs(1)))]);
    fleet.run(secs(1));
    assert_eq!(waiting(&fleet), [], "its child starts");
    fleet.run(secs(1));
    assert!(fleet.is_complete());
}

#[test]
fn slot_that_gets_its_child_of_a_reload_does_not_wait() {
    let recover = RecoverPolicy::new(Some(5), Some(secs(60)), secs(10));
    let mut fleet = Fleet::serving(Settings { recover, ..settings(1) });
    fleet.exit(0, false);
    assert_eq!(waiting(&fleet).len(), 1);
    fleet.cast(1, NEVER_READY);
    fleet.request(Request::Reload);
    assert_eq!(waiting(&fleet), []);
    assert_eq!(fleet.supervisor.status(fleet.now).children.len(), 1);
}

#[test]
fn fleet_that_stops_starts_no_child_and_none_of_its_slots_waits() {
    let recover = RecoverPolicy::new(Some(5), Some(secs(60)), secs(10));
    let mut fleet = Fleet::serving(Settings { recover, ..settings(2) });
    fleet.exit(0, false);
    assert_eq!(waiting(&fleet).len(), 1);
    fleet.request(Request::Stop);
    assert_eq!((state(&fleet), waiting(&fleet)), (FleetState::Stopping, Vec::new()));
}
