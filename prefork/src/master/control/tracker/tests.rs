//! The end of each operation, from what the supervisor says.

use super::super::operation::Size;
use super::*;
use crate::supervisor::CanaryChoice;
use crate::supervisor::{ChangeKind, ChangeStatus, ChildStatus, FleetState};

const RELOAD: Operation = Operation::Reload(CanaryChoice { children: None, hold: None });

fn totals(names: &[(&str, u64)]) -> FleetTotals {
    let find = |wanted: &str| {
        let found = names.iter().find(|(name, _)| *name == wanted);
        Ok::<_, ()>(found.map(|(_, count)| *count))
    };
    FleetTotals::from_named(find).unwrap()
}

/// A fleet with `slots` slots and these children: slot, pid, state.
fn fleet(slots: usize, children: &[(usize, u32, ChildState)]) -> FleetStatus {
    let child = |(slot, pid, state): &(usize, u32, ChildState)| ChildStatus {
        slot: *slot,
        pid: *pid,
        generation: 0,
        state: *state,
        leader: false,
    };
    let children = children.iter().map(child).collect();
    FleetStatus { slots, children, ..FleetStatus::without_children(FleetState::Serving) }
}

fn counted(names: &[(&str, u64)]) -> FleetStatus {
    FleetStatus { totals: totals(names), generation: 4, ..fleet(2, &[]) }
}

fn result(ending: Option<Ending>) -> Option<OperationResult> {
    ending.map(|ending| ending.result)
}

#[test]
fn reload_ends_with_the_result_that_is_counted_next() {
    // One that was under way was superseded by the request itself.
    let before = counted(&[("reload_done", 7)]);
    let after = counted(&[("reload_done", 7), ("reload_superseded", 1)]);
    for (name, expected) in [
        ("reload_done", OperationResult::Done),
        ("reload_aborted", OperationResult::Aborted),
        ("reload_superseded", OperationResult::Superseded),
        ("reload_cancelled", OperationResult::Cancelled),
    ] {
        let mut tracker = Tracker::begin(RELOAD, &before, &after);
        assert_eq!(tracker.turn(&after), None);
        let mut counts = vec![("reload_done", 7), ("reload_superseded", 1), ("upgrade_done", 1)];
        assert_eq!(tracker.turn(&counted(&counts)), None, "an upgrade is not a reload");
        match counts.iter_mut().find(|(counted, _)| *counted == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
        assert_eq!(result(tracker.turn(&counted(&counts))), Some(expected), "{name}");
    }
}

#[test]
fn reload_tells_its_progress_and_which_child_failed() {
    let mut tracker = Tracker::begin(RELOAD, &counted(&[]), &counted(&[]));
    let change =
        ChangeStatus { kind: ChangeKind::Reload { is_revocable: false }, generation: 5, replaced: 1, of: 2 };
    assert_eq!(tracker.turn(&FleetStatus { change: Some(change), ..counted(&[]) }), None);
    assert_eq!(tracker.progress(), Progress { replaced: 1, of: 2 });
    tracker.note(&Remark::ReloadAborted { slot: 1, replaced: 1, of: 2 });
    let ending = tracker.turn(&counted(&[("reload_aborted", 1)])).unwrap();
    assert_eq!((ending.result, ending.slot), (OperationResult::Aborted, Some(1)));
    assert!(ending.message.starts_with("reload aborted: new child 1 failed; 1 of 2"), "{ending:?}");
}

#[test]
fn upgrade_ends_with_the_reload_of_the_new_program() {
    let mut tracker = Tracker::begin(Operation::Upgrade, &counted(&[]), &counted(&[]));
    assert_eq!(tracker.turn(&counted(&[("reload_superseded", 1)])), None, "it has interrupted that one");
    tracker.note(&Remark::TrialFailed);
    let ending = tracker.turn(&counted(&[("upgrade_aborted", 1)])).unwrap();
    assert!(ending.message.contains("the trial child did not become ready"), "{ending:?}");

    let mut tracker = Tracker::resume_upgrade(totals(&[("reload_done", 3)]), 2);
    assert_eq!(tracker.turn(&counted(&[("reload_done", 3), ("upgrade_done", 1)])), None);
    let ending = tracker.turn(&counted(&[("reload_done", 4), ("upgrade_done", 1)])).unwrap();
    assert_eq!(ending.message, "upgraded: every child is of generation 4");
    assert_eq!(tracker.progress(), Progress { replaced: 2, of: 2 });
}

#[test]
fn growth_ends_when_every_new_child_is_ready() {
    use ChildState::{Ready, Starting};
    let before = fleet(1, &[(0, 1, Ready)]);
    let after = fleet(3, &[(0, 1, Ready)]);
    let mut tracker = Tracker::begin(Operation::Workers(Size::To(3)), &before, &after);
    assert_eq!(tracker.turn(&after), None);
    assert_eq!(tracker.turn(&fleet(3, &[(0, 1, Ready), (1, 2, Ready), (2, 3, Starting)])), None);
    assert_eq!(tracker.progress(), Progress { replaced: 1, of: 2 });
    let all = fleet(3, &[(0, 1, Ready), (1, 2, Ready), (2, 3, Ready)]);
    assert_eq!(tracker.turn(&all).unwrap().message, "resized from 1 to 3 children");

    let mut tracker = Tracker::begin(Operation::Workers(Size::To(3)), &before, &after);
    tracker.note(&Remark::RespawnIn { slot: 0, delay: std::time::Duration::ZERO });
    assert_eq!(tracker.turn(&after), None, "an old child's trouble is another matter");
    tracker.note(&Remark::RespawnIn { slot: 2, delay: std::time::Duration::ZERO });
    assert_eq!(result(tracker.turn(&after)), Some(OperationResult::Aborted));
}

#[test]
fn shrinking_ends_when_the_surplus_children_are_gone() {
    use ChildState::{Ready, Stopping};
    let before = fleet(2, &[(0, 1, Ready), (1, 2, Ready)]);
    let after = fleet(1, &[(0, 1, Ready), (1, 2, Stopping)]);
    let mut tracker = Tracker::begin(Operation::Workers(Size::To(1)), &before, &after);
    assert_eq!(tracker.turn(&after), None);
    let done = tracker.turn(&fleet(1, &[(0, 1, Ready)])).unwrap();
    assert_eq!(done.message, "resized from 2 to 1 child");
    let mut tracker = Tracker::begin(Operation::Workers(Size::To(1)), &before, &after);
    assert_eq!(result(tracker.turn(&fleet(4, &[]))), Some(OperationResult::Superseded));
    let mut tracker = Tracker::begin(Operation::Workers(Size::To(2)), &before, &before);
    assert_eq!(tracker.turn(&before).unwrap().message, "the fleet has 2 slots already");
}

#[test]
fn recycling_ends_when_another_child_is_ready() {
    use ChildState::{Ready, Starting, Stopping};
    let before = fleet(1, &[(0, 1, Ready)]);
    let begin = || Tracker::begin(Operation::Recycle(0), &before, &before);
    let mut tracker = begin();
    assert_eq!(tracker.turn(&fleet(1, &[(0, 1, Ready), (0, 2, Starting)])), None);
    let done = tracker.turn(&fleet(1, &[(0, 1, Stopping), (0, 2, Ready)])).unwrap();
    assert_eq!(done.message, "child 0 (pid 2) takes the place of pid 1");
    let mut tracker = begin();
    tracker.note(&Remark::RecyclingFailed { slot: 1 });
    assert_eq!(tracker.turn(&before), None);
    tracker.note(&Remark::RecyclingFailed { slot: 0 });
    assert_eq!(result(tracker.turn(&before)), Some(OperationResult::Aborted));
    assert_eq!(result(begin().turn(&fleet(0, &[]))), Some(OperationResult::Superseded));
}

#[test]
fn stop_tells_how_many_children_have_ended() {
    let children = [(0, 1, ChildState::Ready), (1, 2, ChildState::Ready)];
    let before = fleet(2, &children);
    let mut tracker = Tracker::begin(Operation::Stop { now: false }, &before, &before);
    assert_eq!(tracker.turn(&fleet(2, &children[..1])), None);
    assert_eq!(tracker.progress(), Progress { replaced: 1, of: 2 });
}
