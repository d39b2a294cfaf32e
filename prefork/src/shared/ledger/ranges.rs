//! Which cells the series have that are known.

use std::ops::Range;

use super::super::directory::{Placement, USES};
use super::super::fold;
use super::super::series::Space;
use super::Account;

impl Account {
    /// One more than the last cell of any series in a space.
    pub(super) fn used(&self, space: Space) -> usize {
        let in_space = self.known.iter().filter(|known| known.entry.kind.space() == space);
        let ends = in_space.flat_map(|known| &known.placements).map(|place| place.first + place.cells);
        ends.max().unwrap_or(0)
    }

    /// Whether a series other than `own` has cells of this place. Without that, entries that a hostile child writes
    /// could make a text of any length from a few cells.
    pub(super) fn is_taken(&self, Placement { kind, first, cells }: Placement, own: Option<usize>) -> bool {
        let others = self.known.iter().enumerate().filter(|(place, _)| Some(*place) != own);
        let in_space = others.filter(|(_, known)| known.entry.kind.space() == kind.space());
        let mut taken = in_space.flat_map(|(_, known)| &known.placements);
        taken.any(|other| first < other.first + other.cells && other.first < first + cells)
    }

    /// How many cells of a lane are read.
    pub(super) fn cells(&self) -> usize {
        self.used(Space::Lanes).max(USES.end)
    }

    /// The ranges of cells that are simply added, joined where they touch.
    pub(super) fn sums(&self) -> Vec<Range<usize>> {
        let added = self.known.iter().filter(|known| fold::is_sum(known.entry.kind));
        let mut ranges: Vec<Range<usize>> = added
            .flat_map(|known| &known.placements)
            .map(|placement| placement.first..placement.first + placement.cells)
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        ranges
    }
}

#[cfg(any(test, fuzzing))]
impl super::Ledger {
    /// Asserts that no two series have a cell in common, whatever the directory says.
    pub(in crate::shared) fn assert_apart(&self) {
        let account = self.account();
        for (place, known) in account.known.iter().enumerate() {
            let is_alone = |placement: &Placement| !account.is_taken(*placement, Some(place));
            assert!(known.placements.iter().all(is_alone), "{known:?}");
        }
    }
}
