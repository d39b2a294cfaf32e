//! How many requests each of the live children has counted. Only the cells concerned are read: a large fleet with many
//! values is asked for this every second.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::Ledger;

impl Ledger {
    /// Notes the pid of the child that has a lane.
    pub(in crate::shared) fn note_pid(&self, lane: usize, pid: u32) {
        self.account().pids.insert(lane, pid);
    }

    /// The requests that each child has counted, by pid. Empty if no process of the fleet counts any.
    pub(in crate::shared) fn requests(&self) -> BTreeMap<u32, u64> {
        let mut account = self.account();
        account.refresh();
        let counters = account.known.iter().filter(|known| known.entry.counts_requests());
        let cells: Vec<usize> =
            counters.flat_map(|known| &known.placements).map(|placement| placement.first).collect();
        let Some(last) = cells.iter().max() else { return BTreeMap::new() };
        let (lanes, pids): (Vec<usize>, Vec<u32>) = account.pids.iter().unzip();
        let mut requests = BTreeMap::new();
        account.read_first(last + 1, lanes.into_iter(), |_, turn, lane| {
            let counts = cells.iter().map(|cell| lane[*cell].load(Ordering::Relaxed));
            // A hostile child may have written any numbers.
            requests.insert(pids[turn], counts.fold(0, u64::saturating_add));
        });
        requests
    }
}
