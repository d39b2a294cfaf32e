//! What processes count is in the fleet's value once, at every moment, also while the master moves it.

use std::sync::OnceLock;

use super::super::layout::{CELLS, SIZE};
use super::super::series::{Kind, Series};
use super::*;
use crate::sync::model;
use crate::sys::{MemoryAccess, SharedMemory};

const LANES_OF_MODELS: usize = 4;

/// Memory of a test for all executions of its model.
pub(in crate::shared) struct Memory {
    region: OnceLock<Arc<Region>>,
    lanes: OnceLock<&'static [AtomicU64]>,
}

impl Memory {
    pub(in crate::shared) const fn new() -> Self {
        Self { region: OnceLock::new(), lanes: OnceLock::new() }
    }

    /// A new region.
    pub(in crate::shared) fn region(&self) -> Arc<Region> {
        let region = self.region.get_or_init(|| Arc::new(Region::of(SharedMemory::create(SIZE).unwrap())));
        region.memory().release(0, SIZE).unwrap();
        Arc::clone(region)
    }

    /// The lane of a process, as [`Lane::new`] makes it. It is mapped once: a process can have so many mappings, and there
    /// are more executions.
    pub(in crate::shared) fn lane(&self, region: &Arc<Region>, number: usize) -> Lane {
        let map = || region.map_lanes(0..LANES_OF_MODELS, MemoryAccess::Write).unwrap().leak();
        let cells = &self.lanes.get_or_init(map)[number * CELLS..(number + 1) * CELLS];
        Lane { cells: Some(cells), ..Lane::new(Arc::clone(region), number).unwrap() }
    }
}

fn entry() -> Entry {
    Entry::from(&Series::new(Kind::Counter, "a", ""))
}

fn count(lane: &mut Lane, count: u64) {
    lane.place(&entry(), usize::MAX).ok().unwrap().cells[0].fetch_add(count, Ordering::Relaxed);
}

#[test]
fn total_is_the_same_before_while_and_after_the_master_takes_it_over() {
    static MEMORY: Memory = Memory::new();
    model::check("fold of an ended child", || {
        let region = MEMORY.region();
        let ledger = Ledger::new(Arc::clone(&region));
        let [mut live, mut ended] = [(); 2].map(|()| MEMORY.lane(&region, ledger.lease().unwrap()));
        count(&mut live, 1);
        count(&mut ended, 5);
        let reader = thread::spawn(move || assert_eq!(live.total(&entry()), Some(vec![6])));
        ledger.release(ended.number).unwrap();
        assert_eq!(ledger.total(&entry()), Some(vec![6]));
        reader.join().unwrap();
    });
}

#[test]
fn child_that_counts_meanwhile_is_in_the_total_with_no_count_twice() {
    static MEMORY: Memory = Memory::new();
    model::check("count and fold", || {
        let region = MEMORY.region();
        let ledger = Ledger::new(Arc::clone(&region));
        let [mut live, mut ended] = [(); 2].map(|()| MEMORY.lane(&region, ledger.lease().unwrap()));
        count(&mut ended, 5);
        let child = thread::spawn(move || {
            count(&mut live, 1);
            count(&mut live, 1);
        });
        ledger.release(ended.number).unwrap();
        let total = ledger.total(&entry()).unwrap()[0];
        assert!((5..=7).contains(&total), "{total}");
        child.join().unwrap();
        assert_eq!(ledger.total(&entry()), Some(vec![7]));
        // Its lane is the next child's, and empty.
        let next = MEMORY.lane(&region, ledger.lease().unwrap());
        assert_eq!(next.number, ended.number);
        assert_eq!(ledger.total(&entry()), Some(vec![7]));
    });
}
