//! The lane of this process: its cells in the region, and the fleet's values as this process can read them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::clash::Clash;
use super::directory::{DRAINS, Directory, Found, Placement, UNPLACED, USES, Unplaced, use_of};
use super::entry::Entry;
use super::fold;
use super::gauge;
use super::layout::LANES;
use super::ledger::{Ledger, MASTER};
use super::region::Region;
use super::series::Space;
use super::view::LaneView;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Instant, thread};

/// How long the values may be read again because the master moves some. It takes microseconds; what a hostile child
/// has written must not keep this process for longer.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Lane {
    region: Arc<Region>,
    number: usize,
    /// Mapped at the first use.
    cells: Option<&'static [AtomicU64]>,
    all: LaneView,
    /// The master's, in the master.
    ledger: Option<Ledger>,
}

/// Where a value counts in this process.
pub(super) struct Placed {
    pub(super) cells: &'static [AtomicU64],
    /// Where what clashes with it may be.
    pub(super) rivals: Vec<usize>,
}

/// What the children that accept connections hold of a gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Accepting {
    pub(crate) children: i64,
    /// The sum of what they hold.
    pub(crate) held: i64,
}

impl Lane {
    /// A lane that the master has given this process.
    ///
    /// # Errors
    ///
    /// There is no such lane.
    pub(crate) fn new(region: Arc<Region>, number: usize) -> io::Result<Self> {
        if number >= LANES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no such lane"));
        }
        Ok(Self { region, number, cells: None, all: LaneView::default(), ledger: None })
    }

    /// The master's own lane.
    pub(super) fn of_master(region: Arc<Region>, number: usize, ledger: Ledger) -> Self {
        Self { region, number, cells: None, all: LaneView::default(), ledger: Some(ledger) }
    }

    pub(super) fn ledger(&self) -> Option<Ledger> {
        self.ledger.clone()
    }

    /// The cells of a series, which is added to the directory if it is new.
    pub(super) fn place(&mut self, entry: &Entry, most: usize) -> Result<Placed, Unplaced> {
        let full = |_| Unplaced::Full;
        let (directory, Found { slot, placement, rivals }) = self.find(entry, most)?;
        let Placement { first, cells, .. } = placement;
        let cells = match entry.kind.space() {
            Space::Words => std::slice::from_ref(directory.word(first)),
            Space::Tables => self.region.table(first).map_err(full)?,
            Space::Lanes => {
                self.region.reserve_lane(self.number, first..first + cells).map_err(full)?;
                &self.cells().map_err(full)?[first..first + cells]
            }
        };
        self.note_use(slot);
        Ok(Placed { cells, rivals })
    }

    /// Tells the other processes that this one uses the series in a slot.
    fn note_use(&mut self, slot: usize) {
        let (cell, bit) = use_of(slot);
        if let Some(cell) = self.own_cell(cell) {
            cell.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Tells the other processes that this one accepts no more connections.
    pub(super) fn note_drain(&mut self) {
        if let Some(cell) = self.own_cell(DRAINS) {
            cell.store(1, Ordering::Relaxed);
        }
    }

    /// A cell of this process that is not of any series, if there is memory for it.
    fn own_cell(&mut self, cell: usize) -> Option<&'static AtomicU64> {
        self.region.reserve_lane(self.number, cell..cell + 1).ok()?;
        self.cells().ok()?.get(cell)
    }

    fn find(&self, entry: &Entry, most: usize) -> Result<(Directory<'static>, Found), Unplaced> {
        let directory = self.region.directory().map_err(|_| Unplaced::Full)?;
        let reserve = |at, length| self.region.reserve(at..at + length).is_ok();
        Ok((directory, directory.place(entry, most, &reserve)?))
    }

    /// Whether a process of the fleet has added a series.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let reserve = |at, length| self.region.reserve(at..at + length).is_ok();
        self.region.directory().is_ok_and(|directory| directory.has(entry, &reserve))
    }

    fn cells(&mut self) -> io::Result<&'static [AtomicU64]> {
        match self.cells {
            Some(cells) => Ok(cells),
            None => {
                let mapped = self.region.own_lane(self.number)?;
                Ok(*self.cells.insert(mapped))
            }
        }
    }

    /// What clashes with a series, in these slots. A family of the same name counts only if a live process uses it:
    /// others are of earlier programs.
    pub(super) fn clash(&mut self, entry: &Entry, rivals: &[usize]) -> Option<Clash> {
        let directory = self.region.directory().ok()?;
        rivals.iter().find_map(|slot| {
            let clash = entry.clash(&directory.read(*slot)?.0)?;
            (matches!(clash, Clash::Part { .. }) || self.is_in_use(directory, *slot)).then_some(clash)
        })
    }

    fn is_in_use(&mut self, directory: Directory<'_>, slot: usize) -> bool {
        let (cell, bit) = use_of(slot);
        let in_use = self.cover(directory);
        (0..in_use).any(|lane| {
            let lane = self.all.lane(&self.region, lane, USES.end);
            lane.is_some_and(|lane| lane[cell].load(Ordering::Relaxed) & bit != 0)
        })
    }

    /// Makes the lanes readable up to the last one in use; returns their number.
    fn cover(&mut self, directory: Directory<'_>) -> usize {
        let in_use = usize::try_from(directory.lanes_in_use().load(Ordering::Acquire)).unwrap_or(LANES);
        let in_use = in_use.clamp(self.number + 1, LANES);
        self.all.cover(&self.region, in_use);
        in_use
    }

    /// What the children that use a gauge and accept connections hold of it. `None` in the master, and if it cannot
    /// be read.
    pub(super) fn accepting(&mut self, entry: &Entry) -> Option<Accepting> {
        if self.number == MASTER {
            return None;
        }
        let (directory, Found { slot, placement, .. }) = self.find(entry, usize::MAX).ok()?;
        let (uses, bit) = use_of(slot);
        let wanted = [uses, DRAINS, placement.first];
        let cells = wanted.iter().max().map_or(0, |last| last + 1);
        let mut accepting = Accepting::default();
        for number in MASTER + 1..self.cover(directory) {
            let lane = self.all.lane(&self.region, number, cells)?;
            // Not of one moment: a child that ends or begins to drain meanwhile is counted or left out.
            let [uses, drains, held] = wanted.map(|cell| lane[cell].load(Ordering::Relaxed));
            if uses & bit != 0 && drains == 0 {
                accepting.children += 1;
                accepting.held = accepting.held.wrapping_add(gauge::from_cell(held));
            }
        }
        Some(accepting)
    }

    /// The random number of the fleet.
    pub(super) fn seed(&self) -> Option<u64> {
        Some(self.region.directory().ok()?.seed().load(Ordering::Relaxed))
    }

    /// Counts a series of this process that found no place.
    pub(super) fn count_unplaced(&mut self) {
        if let Some(cell) = self.own_cell(UNPLACED) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The cells of the fleet's value; `None` if that cannot be read.
    pub(super) fn total(&mut self, entry: &Entry) -> Option<Vec<u64>> {
        let (directory, Found { placement, .. }) = self.find(entry, usize::MAX).ok()?;
        let Placement { first, cells, .. } = placement;
        if entry.kind.space() != Space::Lanes {
            return Some(vec![directory.word(first).load(Ordering::Relaxed)]);
        }
        let read = || {
            let totals = (first..first + cells).map(|cell| directory.total(cell).load(Ordering::Relaxed));
            totals.collect::<Vec<u64>>()
        };
        self.region.reserve(directory.total_words(first..first + cells)).ok()?;
        let start = Instant::now();
        loop {
            let in_use = self.cover(directory);
            let sequence = directory.sequence().load(Ordering::Acquire);
            let mut total = read();
            for lane in 0..in_use {
                if let Some(lane) = self.all.lane(&self.region, lane, first + cells) {
                    fold::add(entry.kind, &mut total, &lane[first..]);
                }
            }
            fence(Ordering::Acquire);
            // Otherwise what the master has just moved may be missing, or there twice.
            let is_of_one_moment =
                sequence % 2 == 0 && directory.sequence().load(Ordering::Relaxed) == sequence;
            if is_of_one_moment || start.elapsed() > PATIENCE {
                return Some(total);
            }
            thread::yield_now();
        }
    }
}

#[cfg(all(test, loom))]
pub(super) mod models;
#[cfg(test)]
mod tests;
