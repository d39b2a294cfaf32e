//! Which cells the series have that are known.

use std::ops::Range;

use super::super::directory::USES;
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
