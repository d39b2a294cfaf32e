//! Upgrades of a fleet whose children are forked by a template.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::collections::BTreeSet;
use std::fs;

use prefork_tests::fleet::RunningFleet;
use prefork_tests::signal::{Signal, send};
use prefork_tests::upgradable::Upgradable;
use prefork_tests::{client, proc, wait};

const PRELOAD_SERVER: &str = env!("CARGO_BIN_EXE_preload_server");
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const OPTIONS: &str = "addr=127.0.0.1:0 loads=DIR/loads";

/// The pids of the processes that have loaded.
fn loads(fleet: &Upgradable) -> Vec<u32> {
    let text = fs::read_to_string(fleet.path("loads")).unwrap();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn templates(fleet: &RunningFleet) -> Vec<u32> {
    let processes = proc::children(fleet.master()).into_iter();
    processes.filter(|pid| proc::is_alive(*pid) && proc::is_template(*pid)).collect()
}

/// Who has loaded what the children answer with. Each child is asked.
fn loaders(fleet: &RunningFleet) -> BTreeSet<u32> {
    let (mut left, mut loaders) = (fleet.children(), BTreeSet::new());
    wait::until("an answer of each child", || {
        let answer = client::begin(fleet.addr(), "/loaded-by");
        left.retain(|child| *child != answer.pid());
        loaders.insert(answer.finish().unwrap().parse().unwrap());
        left.is_empty()
    });
    loaders
}

#[test]
fn upgrades_under_load_lose_no_request_and_end_with_one_template() {
    const UPGRADES: usize = 5;
    let upgradable = Upgradable::start(PRELOAD_SERVER, OPTIONS);
    let fleet = &upgradable.fleet;
    let first = fleet.first_children();
    let tally = client::under_load(fleet.addr(), "/value", 4, || {
        for number in 1..=UPGRADES {
            upgradable.upgrade(OPTIONS);
            // The trial child and the new template: the process that checks the program does not load.
            assert_eq!(loads(&upgradable).len(), 1 + 2 * number, "{:#?}", fleet.console.lines());
        }
    });
    tally.assert_all_answered();
    let children = fleet.wait_for_children(2, &first);
    let templates = templates(fleet);
    assert_eq!(templates, [*loads(&upgradable).last().unwrap()]);
    assert_eq!(loaders(fleet), [templates[0]].into());
    for child in children {
        assert_eq!(proc::parent(child), Some(fleet.master()));
        assert!(!loads(&upgradable).contains(&child));
    }
    wait::until("no zombie", || proc::zombies(fleet.master()).is_empty());
    upgradable.stop();
}

#[test]
fn load_of_a_new_program_that_fails_keeps_the_old_program_and_its_template() {
    let upgradable = Upgradable::start(PRELOAD_SERVER, OPTIONS);
    let fleet = &upgradable.fleet;
    let (before, old) = (fleet.first_children(), templates(fleet));
    for (number, (load, reason)) in [
        ("fail", ") cannot start: load failed: no such index"),
        ("panic", ") panicked at"),
        ("exit", ") exited before it was ready: status 3"),
    ]
    .into_iter()
    .enumerate()
    {
        upgradable.refuse(&format!("{OPTIONS} load={load}"), reason);
        let line = &fleet.console.lines_with("upgrade aborted: ")[number];
        assert!(line.contains("upgrade aborted: the trial child (pid "), "{line}");
        assert_eq!(loads(&upgradable).len(), 2 + number, "{load}");
        wait::until("end of the trial child", || fleet.children() == before);
        assert_eq!((templates(fleet), fleet.console.lines_with("executing").len()), (old.clone(), 0));
    }
    // The old template still forks.
    send(before[0], Signal::SIGKILL);
    fleet.wait_for_children(2, &before[..1]);
    assert_eq!((loaders(fleet), loads(&upgradable).len()), ([old[0]].into(), 4));
    upgradable.upgrade(OPTIONS);
    fleet.wait_for_children(2, &before);
    assert!(!proc::is_alive(old[0]));
    assert_eq!(loaders(fleet), [templates(fleet)[0]].into());
    upgradable.stop();
}

#[test]
fn new_program_begins_to_preload_and_the_next_one_does_not() {
    let upgradable = Upgradable::start(SERVER, "addr=127.0.0.1:0 preload=");
    let fleet = &upgradable.fleet;
    let tally = client::under_load(fleet.addr(), "/", 4, || {
        for (preload, expected) in [("1", 1), ("", 0), ("1", 1)] {
            let before = fleet.children();
            upgradable.upgrade(&format!("addr=127.0.0.1:0 preload={preload}"));
            fleet.wait_for_children(2, &before);
            assert_eq!(templates(fleet).len(), expected, "{:#?}", fleet.console.lines());
        }
    });
    tally.assert_all_answered();
    wait::until("no zombie", || proc::zombies(fleet.master()).is_empty());
    upgradable.stop();
}

#[test]
fn upgrade_while_the_template_is_started_again_succeeds() {
    let upgradable = Upgradable::start(PRELOAD_SERVER, OPTIONS);
    let fleet = &upgradable.fleet;
    let before = fleet.first_children();
    // The next template of the old program loads as long as it lives.
    upgradable.set_next(&format!("{OPTIONS} load=hang"));
    send(templates(fleet)[0], Signal::SIGKILL);
    wait::until("another load", || loads(&upgradable).len() == 2);
    let hanging = loads(&upgradable)[1];
    upgradable.upgrade(OPTIONS);
    fleet.wait_for_children(2, &before);
    assert!(!proc::is_alive(hanging));
    assert_eq!(loaders(fleet), [templates(fleet)[0]].into());
    upgradable.stop();
}
