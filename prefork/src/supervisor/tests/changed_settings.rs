//! Settings that change while the fleet runs.

use super::*;

impl Fleet {
    /// The settings change, and a reload follows, as after a configuration file was read again.
    fn reload_with(&mut self, settings: Settings) {
        self.happen(&[Event::SettingsChanged(settings), Event::Request(Request::Reload)]);
    }
}

#[test]
fn other_workers_resize_the_fleet() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.reload_with(settings(3));
    assert!(fleet.story().starts_with("Resized { from: 2, to: 3 } Reloading { generation: 1 } start#2@2"));
    fleet.run(secs(10));
    assert!(fleet.is_complete());
    assert_eq!(fleet.supervisor.fleet_size(), 3);
    fleet.reload_with(settings(1));
    fleet.run(secs(10));
    assert_eq!(fleet.supervisor.fleet_size(), 1);
}

#[test]
fn size_that_was_requested_stays_while_workers_are_the_same() {
    let mut fleet = Fleet::serving(settings(2));
    fleet.request(Request::Grow);
    fleet.run(secs(1));
    fleet.reload_with(Settings { stop_delay: secs(1), ..settings(2) });
    fleet.run(secs(10));
    assert_eq!(fleet.supervisor.fleet_size(), 3);
    fleet.story();
    fleet.reload_with(settings(3));
    assert!(fleet.story().starts_with("Reloading"), "it has that size");
}

#[test]
fn reload_repeats_a_resize_that_was_undone() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.cast(1, UNSTARTABLE);
    fleet.reload_with(settings(3));
    fleet.run(secs(10));
    assert_eq!(fleet.supervisor.fleet_size(), 1);
    fleet.reload_with(settings(3));
    fleet.run(secs(10));
    assert_eq!(fleet.supervisor.fleet_size(), 3);
    fleet.story();
    fleet.reload_with(settings(3));
    assert!(fleet.story().starts_with("Reloading"), "it has that size");
}

#[test]
fn stop_uses_the_new_grace_and_stop_delay() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.happen(&[Event::SettingsChanged(Settings { grace: ms(500), stop_delay: secs(2), ..settings(1) })]);
    fleet.nature = STUBBORN;
    for process in fleet.processes.values_mut() {
        process.nature = STUBBORN;
    }
    fleet.request(Request::Stop);
    fleet.run(ms(1900));
    assert!(!fleet.story().contains("refuse"), "the stop delay is not over");
    fleet.run(ms(700));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped), "killed after 500 ms");
}

#[test]
fn failures_count_by_the_new_policy() {
    let recover = |threshold| RecoverPolicy::new(Some(threshold), None, Duration::ZERO);
    let mut fleet = Fleet::serving(Settings { recover: recover(9), ..settings(2) });
    for _ in 0..2 {
        let child = fleet.occupants()[0].expect("a child");
        fleet.exit(child, false);
        fleet.run(secs(2));
    }
    fleet.happen(&[Event::SettingsChanged(Settings { recover: recover(2), ..settings(2) })]);
    fleet.run(secs(2));
    assert_eq!(fleet.verdict, None, "a change is no failure");
    fleet.exit(fleet.occupants()[0].expect("a child"), false);
    fleet.run(secs(20));
    assert_eq!(fleet.verdict, Some(Verdict::OverRecovery { failures: 3 }));
}

#[test]
fn age_of_serving_children_counts_for_a_new_lifetime() {
    let mut fleet = Fleet::serving(settings(1));
    fleet.run(secs(60));
    fleet.story();
    fleet.happen(&[Event::SettingsChanged(Settings { max_lifetime: Some(secs(30)), ..settings(1) })]);
    fleet.run(secs(1));
    assert!(fleet.story().contains("Lifetime"), "the child is older than that");
    fleet.happen(&[Event::SettingsChanged(settings(1))]);
    fleet.story();
    fleet.run(secs(100));
    assert_eq!(fleet.story(), "");
}

#[test]
fn stopping_fleet_keeps_its_settings() {
    let mut fleet = Fleet::serving(Settings { stop_delay: secs(5), ..settings(1) });
    fleet.request(Request::Stop);
    fleet.happen(&[Event::SettingsChanged(Settings { grace: secs(90), ..settings(4) })]);
    assert_eq!(fleet.supervisor.fleet_size(), 1);
    assert_eq!(fleet.supervisor.settings.grace, secs(5));
    fleet.run(secs(10));
    assert_eq!(fleet.verdict, Some(Verdict::Stopped));
}
