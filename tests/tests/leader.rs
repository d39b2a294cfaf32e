//! The leader of a fleet: one child at a time, over failures, reloads, upgrades and the end of its master.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use prefork_tests::client::Tally;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::Signal;
use prefork_tests::{client, load, proc, wait};
use tempfile::TempDir;

const LEADER_SERVER: &str = env!("CARGO_BIN_EXE_leader_server");

/// What the leaders have written.
struct Journal {
    directory: TempDir,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Begin(u32),
    End(u32),
    /// The child is told that it does not become the leader any more.
    None(u32),
}

impl Journal {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn server(&self, program: &str) -> Server {
        Server::new(program).set("journal", self.path().display())
    }

    /// The entries so far. Panics if two leaders have worked at the same time.
    fn entries(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let entry = |line: &str| {
            let (what, pid) = line.split_once(' ').unwrap();
            let pid = pid.parse().unwrap();
            match what {
                "begin" => Entry::Begin(pid),
                "end" => Entry::End(pid),
                "none" => Entry::None(pid),
                _ => panic!("two leaders: {text}"),
            }
        };
        text.lines().map(entry).collect()
    }

    /// The leaders so far, in order.
    fn leaders(&self) -> Vec<u32> {
        let leader = |entry| if let Entry::Begin(pid) = entry { Some(pid) } else { None };
        self.entries().into_iter().filter_map(leader).collect()
    }

    /// Waits for the `n`th leader.
    fn wait_for_nth(&self, n: usize) -> u32 {
        wait::for_value_or(
            || format!("leader {n}: {:?}", self.entries()),
            || self.leaders().get(n - 1).copied(),
        )
    }

    /// Waits until the work of this leader has ended.
    fn wait_for_end_of(&self, leader: u32) {
        wait::until("end of the leader's work", || self.entries().contains(&Entry::End(leader)));
    }

    /// Checks that each leader has ended its work before the next one began.
    fn assert_orderly(&self) {
        let entries = self.entries();
        let work: Vec<_> = entries.iter().filter(|entry| !matches!(entry, Entry::None(_))).collect();
        for pair in work.chunks(2) {
            let is_orderly = match pair {
                [Entry::Begin(begins), Entry::End(ends)] => begins == ends,
                [Entry::Begin(_)] => true,
                _ => false,
            };
            assert!(is_orderly, "{entries:?}");
        }
    }
}

/// The children that `/status` names as leaders, with their slots.
fn leaders_in_status(fleet: &RunningFleet) -> Vec<(usize, u32)> {
    let status = client::try_get(fleet.health_addr(), "/status").unwrap();
    let leaders = status.split('{').filter(|child| child.contains("\"leader\":true"));
    let number = |child: &str, name: &str| -> String {
        let (_, rest) = child.split_once(&format!("\"{name}\":")).unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect()
    };
    leaders
        .map(|child| (number(child, "slot").parse().unwrap(), number(child, "pid").parse().unwrap()))
        .collect()
}

#[test]
fn one_child_of_four_is_the_leader() {
    let journal = Journal::new();
    let server = journal.server(LEADER_SERVER).set("workers", 4).set("health", "127.0.0.1:0");
    let fleet = server.start();
    let leader = journal.wait_for_nth(1);
    let [(slot, pid)] = leaders_in_status(&fleet)[..] else { panic!("not one leader") };
    assert_eq!(pid, leader);
    let metrics = client::try_get(fleet.health_addr(), "/metrics").unwrap();
    for of in 0..4 {
        let sample = format!("prefork_leader{{slot=\"{of}\"}} {}", u8::from(of == slot));
        assert!(metrics.contains(&sample), "{metrics}");
    }
    fleet.console.wait_for(&format!("child {slot} (pid {leader}) is the leader"));
    let lines = fleet.stop();
    assert_eq!(lines.iter().filter(|line| line.contains("is the leader")).count(), 1, "{lines:?}");
    journal.assert_orderly();
    assert_eq!(journal.leaders(), [leader]);
    // Those that waited in vain, and the leader when it waited again.
    let waited = journal.entries().iter().filter(|entry| matches!(entry, Entry::None(_))).count();
    assert!(waited >= 1, "{:?}", journal.entries());
}

#[test]
fn killed_leader_is_followed_by_another_child() {
    for how in ["thread", "task"] {
        let journal = Journal::new();
        let fleet = journal.server(LEADER_SERVER).set("workers", 3).set("leads_in", how).start();
        let mut leaders = Vec::new();
        for n in 1..=5 {
            let leader = journal.wait_for_nth(n);
            assert!(!leaders.contains(&leader), "{leaders:?}");
            leaders.push(leader);
            fleet.replace(&[leader]);
        }
        journal.wait_for_nth(6);
        fleet.stop();
        assert_eq!(journal.leaders().len(), 6);
    }
}

#[test]
fn reload_under_load_moves_the_leadership_once_to_a_new_child() {
    let journal = Journal::new();
    let fleet = journal.server(LEADER_SERVER).set("workers", 3).set("shutdown_grace", "30s").start();
    journal.wait_for_nth(1);
    let tally = under_load(fleet.addr(), || {
        for time in 1..=8 {
            let old = fleet.children();
            fleet.operate(Signal::SIGHUP, time, "reloaded:");
            let leader = journal.wait_for_nth(time + 1);
            assert!(!old.contains(&leader), "{:?}", journal.entries());
        }
    });
    tally.assert_all_answered();
    let leader = *journal.leaders().last().unwrap();
    fleet.stop();
    journal.assert_orderly();
    assert_eq!(journal.leaders().len(), 9, "{:?}", journal.entries());
    assert!(journal.entries().contains(&Entry::End(leader)));
}

#[test]
fn child_that_drains_finishes_its_work_as_the_leader() {
    for how in ["thread", "task"] {
        let journal = Journal::new();
        let server = journal.server(LEADER_SERVER).set("workers", 1).set("work", "300ms");
        let fleet = server.set("shutdown_grace", "30s").set("leads_in", how).start();
        let first = journal.wait_for_nth(1);
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        let second = journal.wait_for_nth(2);
        fleet.stop();
        let entries = journal.entries();
        let work: Vec<_> = entries.into_iter().filter(|entry| !matches!(entry, Entry::None(_))).collect();
        let expected = [Entry::Begin(first), Entry::End(first), Entry::Begin(second), Entry::End(second)];
        assert_eq!(work, expected);
    }
}

#[test]
fn leader_of_a_removed_slot_hands_over() {
    let journal = Journal::new();
    let fleet = journal.server(LEADER_SERVER).set("health", "127.0.0.1:0").start();
    let mut leader = journal.wait_for_nth(1);
    if fleet.first_children()[0] == leader {
        fleet.replace(&[leader]);
        leader = journal.wait_for_nth(2);
    }
    let before = journal.leaders().len();
    fleet.operate(Signal::SIGTTOU, 1, "resized from 2 to 1 child");
    let next = journal.wait_for_nth(before + 1);
    assert_ne!(next, leader);
    journal.wait_for_end_of(leader);
    assert_eq!(leaders_in_status(&fleet), [(0, next)]);
    fleet.stop();
}

#[test]
fn leader_that_never_resigns_is_followed_after_its_grace() {
    let journal = Journal::new();
    let server = journal.server(LEADER_SERVER).set("workers", 2).set("stubborn", "yes");
    let mut fleet = server.set("shutdown_grace", "1s").start();
    let leader = journal.wait_for_nth(1);
    fleet.signal(Signal::SIGHUP);
    let next = journal.wait_for_nth(2);
    assert!(!proc::is_alive(leader), "{next} is the leader while {leader} lives");
    fleet.console.wait_for(&format!("(pid {leader}) did not stop within 1s; killing it"));
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
}

#[test]
fn leader_that_gives_up_is_followed_by_another_child() {
    let journal = Journal::new();
    let fleet = journal.server(LEADER_SERVER).set("quits", "0s").start();
    let leaders: Vec<u32> = (1..=6).map(|n| journal.wait_for_nth(n)).collect();
    assert!(leaders[..2].iter().all(|leader| leaders[2..].contains(leader)), "{leaders:?}");
    // The messages of a child that gives up at once are not a flood.
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("messages within")), "{lines:?}");
    journal.assert_orderly();
}

#[test]
fn term_is_over_when_the_master_is_killed() {
    let journal = Journal::new();
    let mut fleet = journal.server(LEADER_SERVER).set("workers", 3).start();
    let leader = journal.wait_for_nth(1);
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    journal.wait_for_end_of(leader);
    wait::until("end of every orphan", || fleet.processes().is_empty());
    assert_eq!(journal.leaders(), [leader]);
    journal.assert_orderly();
}

#[test]
fn process_without_children_is_the_leader() {
    let journal = Journal::new();
    let fleet = journal.server(LEADER_SERVER).set("workers", 0).launch();
    fleet.console.wait_for("this process is the leader");
    assert_eq!(journal.wait_for_nth(1), fleet.master());
    assert_eq!(client::get(fleet.addr(), "/leader"), "true");
    fleet.stop();
    assert!(journal.entries().contains(&Entry::End(journal.leaders()[0])));
}

#[cfg(target_os = "linux")]
#[test]
fn upgrade_under_load_moves_the_leadership_to_a_new_child() {
    use prefork_tests::program::ProgramCopy;
    let journal = Journal::new();
    let program = ProgramCopy::new(LEADER_SERVER);
    let server = journal.server(program.path().to_str().unwrap()).set("workers", 3);
    let fleet = server.set("shutdown_grace", "30s").start();
    journal.wait_for_nth(1);
    let tally = under_load(fleet.addr(), || {
        for time in 1..=6 {
            program.replace_with(LEADER_SERVER);
            let old = fleet.children();
            fleet.operate(Signal::SIGUSR2, time, "reloaded:");
            let last = || journal.leaders().last().copied();
            wait::until("new leader", || last().is_some_and(|leader| !old.contains(&leader)));
        }
    });
    tally.assert_all_answered();
    journal.assert_orderly();
    // A leader that dies after an upgrade is followed as well.
    let leader = *journal.leaders().last().unwrap();
    wait::until("end of the old children", || fleet.children().len() == 3);
    fleet.replace(&[leader]);
    let followed = || journal.leaders().last() != Some(&leader);
    wait::until("another leader", followed);
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn stopped_leader_stays_the_leader_until_it_is_killed() {
    use prefork_tests::signal::send;
    let journal = Journal::new();
    let fleet = journal.server(LEADER_SERVER).set("workers", 2).set("shutdown_grace", "1s").start();
    let leader = journal.wait_for_nth(1);
    send(leader, Signal::SIGSTOP);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let next = journal.wait_for_nth(2);
    assert!(!proc::is_alive(leader), "{next} is the leader while {leader} lives");
    fleet.console.wait_for(&format!("(pid {leader}) did not stop within 1s; killing it"));
    fleet.signal(Signal::SIGQUIT);
}

/// Three clients, while `meanwhile` runs.
fn under_load(addr: SocketAddr, meanwhile: impl FnOnce()) -> Tally {
    let client = |_| load::with_retry(Box::new(move || client::try_get(addr, "/")));
    load::run((0..3).map(client).collect(), meanwhile)
}
