//! What some of the live processes have counted, each since a mark.

use super::super::fold;
use super::super::series::Space;
use super::super::snapshot::{Sample, Snapshot};
use super::{Account, Ledger};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The cells of a process at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(Vec<u64>);

impl Ledger {
    /// What the process of a lane has counted so far.
    pub(in crate::shared) fn mark(&self, lane: usize) -> Option<Mark> {
        let mut account = self.account();
        account.refresh();
        let mut mark = None;
        account.read_each([lane].into_iter(), |_, _, cells| {
            mark = Some(Mark(cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()));
        });
        mark
    }

    /// What the processes of these lanes have counted together, each since its mark.
    pub(in crate::shared) fn group(&self, lanes: &[(usize, Option<&Mark>)]) -> Snapshot {
        let mut account = self.account();
        account.refresh();
        let mut totals: Vec<Vec<u64>> =
            account.known.iter().map(|known| vec![0; known.entry.cells()]).collect();
        account.read_each(lanes.iter().map(|(lane, _)| *lane), |account, turn, cells| {
            let mark = lanes.get(turn).and_then(|(_, mark)| *mark).map_or(&[][..], |mark| &mark.0);
            for (known, total) in account.known.iter().zip(&mut totals) {
                if known.entry.kind.space() != Space::Lanes {
                    continue;
                }
                for place in &known.placements {
                    let range = place.first..place.first + place.cells;
                    // A series that was used later has no mark.
                    let since = mark.get(range.clone());
                    fold::add_since(known.entry.kind, total, &cells[range], since);
                }
            }
        });
        let order = account.order();
        let sample = |place: usize| Sample::new(&account.known[place].entry, &totals[place]);
        Snapshot::new(order.into_iter().map(sample).collect(), 0)
    }
}

impl Account {
    /// Calls `read` with every lane in use that can be read.
    pub(super) fn read_lanes(&mut self, read: impl FnMut(&Self, usize, &[AtomicU64])) {
        let lanes: Vec<usize> = self.lanes.iter().copied().collect();
        self.read_each(lanes.into_iter(), read);
    }

    /// Calls `read` with each of these lanes that can be read, and with its turn.
    pub(super) fn read_each(
        &mut self,
        lanes: impl Iterator<Item = usize>,
        read: impl FnMut(&Self, usize, &[AtomicU64]),
    ) {
        self.read_first(self.cells(), lanes, read);
    }

    /// The same with the first `cells` cells of each lane.
    pub(super) fn read_first(
        &mut self,
        cells: usize,
        lanes: impl Iterator<Item = usize>,
        mut read: impl FnMut(&Self, usize, &[AtomicU64]),
    ) {
        let mut view = std::mem::take(&mut self.view);
        view.cover(&self.region, self.lanes.last().map_or(1, |last| last + 1));
        for (turn, number) in lanes.enumerate() {
            let lane = self.lanes.contains(&number).then(|| view.lane(&self.region, number, cells));
            if let Some(lane) = lane.flatten() {
                read(self, turn, lane);
            }
        }
        self.view = view;
    }
}
