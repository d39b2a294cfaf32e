//! The master's account of the region: which lanes are in use, the series that it has checked, and the totals of
//! what ended processes have left.
//!
//! It is in memory of the master's own. An entry of the directory is checked once, and then the copy counts; totals
//! are written to the region for children to read, and never read from there. So a child that writes anywhere can
//! spoil what has not been read yet, and nothing else. Every loop here has a bound that no child can move.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, PoisonError};

use super::directory::{Directory, Placement, UNPLACED};
use super::entry::Entry;
use super::fold;
use super::layout::{CELLS, LANES, SERIES};
use super::region::Region;
use super::series::Space;
use super::snapshot::{Sample, Snapshot};
use super::view::LaneView;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Mutex, MutexGuard};
use crate::sys::MemoryAccess;

/// The lane of the master itself.
pub(super) const MASTER: usize = 0;
/// The most series that are kept: those of the region, and as many of earlier programs.
const MOST: usize = 2 * SERIES;

/// See the [module](self). Cheap to clone; for every thread of the master.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Mutex<Account>>);

#[derive(Debug)]
struct Account {
    region: Arc<Region>,
    known: Vec<Known>,
    /// For each slot of the directory that was read, which series it holds and where.
    read: Vec<Option<(usize, Placement)>>,
    /// Slots that held nothing whole when a child ended.
    suspects: Vec<usize>,
    /// For each slot, the mark of its later help that was read.
    helps: Vec<u64>,
    /// Families that share their name with another.
    contested: BTreeSet<u64>,
    /// How many processes have ended.
    ends: u64,
    /// The random number of the fleet.
    seed: u64,
    /// The lanes in use.
    lanes: BTreeSet<usize>,
    /// Those of them whose child has ended, and whose values could not be moved yet.
    ended: BTreeSet<usize>,
    /// Those before the last one that ever was in use.
    free: BTreeSet<usize>,
    /// The pids of live children, by lane.
    pids: BTreeMap<usize, u32>,
    view: LaneView,
    sequence: u64,
}

/// A series that was checked.
#[derive(Debug)]
struct Known {
    entry: Arc<Entry>,
    identity: u64,
    family: u64,
    /// Which of the processes that have used it was the last to end.
    last_end: u64,
    /// Usually one. A second one if an entry of the directory was overwritten, and then added again.
    placements: Vec<Placement>,
    /// What ended processes have left.
    total: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(region: Arc<Region>) -> Self {
        let (known, read, suspects) = (Vec::new(), vec![None; SERIES], Vec::new());
        let helps = vec![0; SERIES];
        let (lanes, contested) = (BTreeSet::from([MASTER]), BTreeSet::new());
        // The next numbers after those of the previous program in this process.
        let directory = region.directory();
        let number = |word: Option<&AtomicU64>| word.map_or(0, |word| word.load(Ordering::Relaxed));
        let sequence = number(directory.as_ref().ok().map(|directory| directory.sequence()));
        let seed = number(directory.as_ref().ok().map(|directory| directory.seed()));
        let (free, view) = (BTreeSet::new(), LaneView::default());
        Self(Arc::new(Mutex::new(Account {
            region,
            known,
            read,
            suspects,
            helps,
            contested,
            ends: 0,
            seed,
            lanes,
            ended: BTreeSet::new(),
            free,
            pids: BTreeMap::new(),
            view,
            sequence,
        })))
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn region(&self) -> Arc<Region> {
        Arc::clone(&self.account().region)
    }

    /// A lane for a new child; `None` if each is in use.
    pub(crate) fn lease(&self) -> Option<usize> {
        let mut account = self.account();
        // All lanes are in use or free up to the number of both.
        let unused = account.lanes.len() + account.free.len();
        let lane = account.free.pop_first().or_else(|| (unused < LANES).then_some(unused))?;
        account.lanes.insert(lane);
        account.publish_lanes();
        Some(lane)
    }

    /// Notes a lane that a child of the previous program in this process has.
    pub(super) fn note_lease(&self, lane: usize) {
        let mut account = self.account();
        if lane < LANES {
            let known = account.lanes.len() + account.free.len();
            account.free.extend(known..lane);
            account.free.remove(&lane);
            account.lanes.insert(lane);
            account.publish_lanes();
        }
    }

    pub(super) fn is_leased(&self, lane: usize) -> bool {
        self.account().lanes.contains(&lane)
    }

    /// Takes back the lane of a child that has ended: what it has counted joins the totals.
    ///
    /// # Errors
    ///
    /// The system has no memory to read the lane. It is read later.
    pub(crate) fn release(&self, lane: usize) -> io::Result<()> {
        let mut account = self.account();
        account.pids.remove(&lane);
        if account.lanes.contains(&lane) {
            account.ended.insert(lane);
        }
        account.take_back_ended()
    }

    /// The same for the master's own lane, in which the previous program in this process has counted.
    pub(super) fn fold_own(&self) -> io::Result<()> {
        self.account().fold(MASTER)
    }

    /// The cells of the fleet's value; `None` if no process has used it yet.
    pub(super) fn total(&self, entry: &Entry) -> Option<Vec<u64>> {
        let mut account = self.account();
        account.refresh();
        let identity = entry.identity();
        let known = account.known.iter().position(|known| known.is(identity, entry))?;
        let mut total = account.known[known].total.clone();
        account.read_lanes(|account, _, lane| account.add(known, &mut total, lane));
        Some(total)
    }

    /// Every value of the fleet as it is now.
    pub(super) fn collect(&self) -> Snapshot {
        let mut account = self.account();
        // What fails was reported when the child ended.
        let _ = account.take_back_ended();
        account.refresh();
        account.snapshot()
    }

    /// The series and their totals, for the next program in this process.
    pub(super) fn totals(&self) -> Vec<(Arc<Entry>, Vec<u64>)> {
        let mut account = self.account();
        account.refresh();
        // The next program knows no more of their use than this order.
        let order = account.order();
        let known = order.into_iter().map(|place| &account.known[place]);
        known.map(|known| (Arc::clone(&known.entry), known.total.clone())).collect()
    }

    /// Takes over the totals of the previous program in this process. The directory gets those series that it
    /// does not have, so that children can read them.
    pub(super) fn inherit(&self, totals: Vec<(Entry, Vec<u64>)>) {
        let mut account = self.account();
        for (entry, total) in totals.into_iter().filter(|(entry, total)| entry.cells() == total.len()) {
            let region = Arc::clone(&account.region);
            let reserve = |at, length| region.reserve(at..at + length).is_ok();
            let place = |directory: Directory<'_>| directory.place(&entry, usize::MAX, &reserve).ok();
            let placement = region.directory().ok().and_then(place).map(|found| found.placement);
            if let Some(known) = account.admit(entry, placement) {
                account.known[known].total = total;
                account.publish(known);
            }
        }
    }
}

impl Known {
    fn is(&self, identity: u64, entry: &Entry) -> bool {
        self.identity == identity && *self.entry == *entry
    }
}

impl Account {
    fn take_back_ended(&mut self) -> io::Result<()> {
        while let Some(lane) = self.ended.first().copied() {
            self.fold(lane)?;
            self.ended.remove(&lane);
            self.lanes.remove(&lane);
            self.free.insert(lane);
            self.publish_lanes();
        }
        Ok(())
    }

    /// Moves what an ended process has left in its lane to the totals, and clears the lane. After an error the lane
    /// is as it was, or its series are zero.
    fn fold(&mut self, lane: usize) -> io::Result<()> {
        // The cells of an entry that stays unread could be given to another series. The models have fewer words than slots.
        self.read_entries(!cfg!(all(test, loom)));
        let cells = self.cells();
        let directory = self.region.directory()?;
        if !self.known.is_empty() {
            self.region.reserve_lane(lane, 0..cells)?;
            let mapped = self.region.map_lanes(lane..lane + 1, MemoryAccess::Write)?;
            self.note_end(&mapped);
            self.begin_change(directory);
            for place in 0..self.known.len() {
                self.take(place, &mapped);
            }
            self.end_change(directory);
        }
        self.repair();
        self.view.forget(lane);
        // What a child has written beyond its series must not become a number of the next child.
        self.region.clear_lane(lane)
    }

    fn take(&mut self, place: usize, lane: &[AtomicU64]) {
        let Known { entry, placements, total, .. } = &mut self.known[place];
        if entry.kind.space() != Space::Lanes {
            return;
        }
        for placement in placements.iter() {
            fold::take(entry.kind, total, &lane[placement.first..][..placement.cells]);
        }
        self.publish(place);
    }

    /// Writes a total to the region.
    fn publish(&self, place: usize) {
        let Known { entry, placements, total, .. } = &self.known[place];
        let Ok(directory) = self.region.directory() else { return };
        if entry.kind.space() != Space::Lanes {
            return;
        }
        // Each process reads one of the places; with zeros at the others nothing is there twice.
        for placement in placements {
            let words = directory.total_words(placement.first..placement.first + placement.cells);
            if self.region.reserve(words).is_ok() {
                for (cell, total) in (placement.first..).zip(total) {
                    directory.total(cell).store(*total, Ordering::Relaxed);
                }
            }
        }
    }

    /// From here to [`end_change`](Self::end_change), children read again what they have read.
    fn begin_change(&mut self, directory: Directory<'_>) {
        // Not what is in the region: a child may have written there.
        self.sequence = (self.sequence | 1).wrapping_add(2);
        directory.sequence().store(self.sequence, Ordering::Relaxed);
        fence(Ordering::Release);
    }

    fn end_change(&mut self, directory: Directory<'_>) {
        self.sequence = self.sequence.wrapping_add(1);
        directory.sequence().store(self.sequence, Ordering::Release);
    }

    fn publish_lanes(&self) {
        if let Ok(directory) = self.region.directory() {
            let in_use = self.lanes.last().map_or(0, |last| last + 1);
            directory.lanes_in_use().store(u64::try_from(in_use).unwrap_or(u64::MAX), Ordering::Release);
        }
    }

    /// Adds the cells that a process has of a series.
    fn add(&self, place: usize, total: &mut [u64], lane: &[AtomicU64]) {
        let Known { entry, placements, .. } = &self.known[place];
        for Placement { first, cells, .. } in placements {
            match self.region.directory() {
                Ok(directory) if entry.kind.space() == Space::Words => {
                    fold::add(entry.kind, total, std::slice::from_ref(directory.word(*first)));
                }
                _ if entry.kind.space() == Space::Lanes => {
                    fold::add(entry.kind, total, &lane[*first..*first + *cells]);
                }
                _ => {}
            }
        }
    }

    /// Reads lane by lane, because that is the order of the memory.
    fn snapshot(&mut self) -> Snapshot {
        let ranges = self.sums();
        let mut sums = vec![0_u64; CELLS];
        let mut unplaced = 0_u64;
        let others = self.known.iter().enumerate();
        let others = others.filter(|(_, known)| !fold::is_sum(known.entry.kind));
        let mut totals: Vec<(usize, Vec<u64>)> =
            others.map(|(place, known)| (place, known.total.clone())).collect();
        self.read_lanes(|account, _, lane| {
            unplaced = unplaced.wrapping_add(lane[UNPLACED].load(Ordering::Relaxed));
            for range in &ranges {
                for (sum, cell) in sums[range.clone()].iter_mut().zip(&lane[range.clone()]) {
                    *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
                }
            }
            totals.iter_mut().for_each(|(place, total)| account.add(*place, total, lane));
        });
        let mut totals = totals.into_iter().map(|(_, total)| total);
        let mut samples: Vec<Option<Sample>> = self
            .known
            .iter()
            .map(|Known { entry, placements, total, .. }| {
                let cells = if fold::is_sum(entry.kind) {
                    let live = placements.iter().map(|placement| sums[placement.first]);
                    vec![live.fold(total.first().copied().unwrap_or(0), u64::wrapping_add)]
                } else {
                    // In the same order.
                    totals.next().unwrap_or_default()
                };
                Sample::new(entry, &cells)
            })
            .collect();
        let samples = self.order().into_iter().map(|place| samples[place].take()).collect();
        Snapshot::new(samples, unplaced)
    }
}

mod entries;
mod group;
mod help;
mod order;
mod ranges;
mod repair;
mod requests;
#[cfg(test)]
mod tests;

pub(crate) use group::Mark;
