use super::super::series::{Kind, Series};
use super::*;

const GAUGE: Series = Series::new(Kind::Gauge, "test_lane_open", "Help");

fn fleet() -> Ledger {
    Ledger::new(Arc::new(Region::create().unwrap()))
}

/// A child of the fleet: its lane, in this process.
fn child(ledger: &Ledger) -> Lane {
    Lane::new(ledger.region(), ledger.lease().unwrap()).unwrap()
}

fn hold(lane: &mut Lane, count: u64) {
    let placed = lane.place(&Entry::from(&GAUGE), usize::MAX).ok().unwrap();
    placed.cells[0].fetch_add(count, Ordering::Relaxed);
}

/// How many children accept as one of them sees it, and what they hold.
fn accepting(lane: &mut Lane) -> (i64, i64) {
    let Accepting { children, held } = lane.accepting(&Entry::from(&GAUGE)).unwrap();
    (children, held)
}

#[test]
fn children_that_use_a_gauge_accept_until_they_drain_or_end() {
    let ledger = fleet();
    let mut master = Lane::of_master(ledger.region(), MASTER, ledger.clone());
    hold(&mut master, 1000);
    let mut children = [(); 4].map(|()| child(&ledger));
    for (lane, count) in children.iter_mut().zip([1, 20, 0]) {
        hold(lane, count);
    }
    let [one, ended, drains, other] = &mut children;
    assert_eq!(accepting(one), (3, 21), "the master and a child that does not use it are not compared");
    assert_eq!(accepting(other), (3, 21));
    hold(drains, 300);
    assert_eq!(accepting(one), (3, 321));
    drains.note_drain();
    assert_eq!(accepting(one), (2, 21));
    assert_eq!(accepting(drains), (2, 21));
    ledger.release(ended.number).unwrap();
    assert_eq!(accepting(one), (1, 1));
    assert_eq!(master.accepting(&Entry::from(&GAUGE)), None);
    assert_eq!(one.total(&Entry::from(&GAUGE)), Some(vec![1301]), "the gauge itself has all of it");
}

#[test]
fn lane_of_a_child_that_has_drained_counts_again_for_the_next_child() {
    let ledger = fleet();
    for _ in 0..2 {
        let mut child = child(&ledger);
        hold(&mut child, 7);
        assert_eq!(accepting(&mut child), (1, 7));
        child.note_drain();
        assert_eq!(accepting(&mut child), (0, 0));
        ledger.release(child.number).unwrap();
    }
}

#[test]
fn hostile_place_among_the_first_cells_does_not_panic() {
    let ledger = fleet();
    let (mut one, entry) = (child(&ledger), Entry::from(&GAUGE));
    hold(&mut one, 7);
    let (directory, found) = one.find(&entry, usize::MAX).ok().unwrap();
    for first in 0..found.placement.first {
        directory.restore(found.slot, &entry, Placement { first, ..found.placement });
        assert!(one.accepting(&entry).is_some());
    }
}
