//! The lanes of all processes, as one process reads them.

use super::layout::{CELLS, LANES};
use super::region::{Mapping, Region};
use crate::sync::atomic::AtomicU64;
use crate::sys::MemoryAccess;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct LaneView {
    /// The first lanes, as far as they were needed so far.
    mapped: Option<Mapping>,
    /// How many cells of each lane can be touched.
    reserved: Vec<usize>,
}

impl LaneView {
    /// Makes sure that the first `lanes` lanes can be read, as far as the system allows.
    pub(super) fn cover(&mut self, region: &Region, lanes: usize) {
        if self.mapped.as_ref().is_none_or(|mapped| mapped.len() < lanes * CELLS) {
            let lanes = lanes.next_power_of_two().min(LANES);
            self.mapped = region.map_lanes(0..lanes, MemoryAccess::Read).ok();
            self.reserved.resize(lanes, 0);
        }
    }

    /// The first `cells` cells of a lane, if they can be read.
    pub(super) fn lane(&mut self, region: &Region, lane: usize, cells: usize) -> Option<&[AtomicU64]> {
        let reserved = self.reserved.get_mut(lane)?;
        if *reserved < cells {
            region.reserve_lane(lane, *reserved..cells).ok()?;
            *reserved = cells;
        }
        self.mapped.as_ref()?.get(lane * CELLS..lane * CELLS + cells)
    }

    /// Notes that the memory of a lane was given back.
    pub(super) fn forget(&mut self, lane: usize) {
        self.reserved.get_mut(lane).into_iter().for_each(|reserved| *reserved = 0);
    }
}
