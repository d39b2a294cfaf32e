//! A value of one cell in this process: how it is found, and how it is changed.

use super::process::{PROCESS, Process};
use super::region::{CellPointer, Target};
use super::series::Series;
use crate::sync::atomic::{AtomicU64, Ordering};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cell {
    series: Series,
    pointer: CellPointer,
}

impl Cell {
    pub(super) const fn new(series: Series) -> Self {
        Self { series, pointer: CellPointer::new() }
    }

    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    /// One that is found already.
    pub(super) fn at(series: Series, target: Target) -> Self {
        let cell = Self::new(series);
        cell.pointer.set(target);
        cell
    }

    /// Calls `change` on the cell, with the memory order that the change needs.
    #[inline]
    pub(super) fn update<T>(&self, change: impl Fn(&AtomicU64, Ordering) -> T) -> T {
        match self.pointer.home() {
            Some(cell) => change(cell, Ordering::Relaxed),
            None => self.update_elsewhere(&PROCESS, change),
        }
    }

    /// Reads the cell.
    #[inline]
    pub(super) fn read(&self) -> u64 {
        match self.pointer.home() {
            Some(cell) => cell.load(Ordering::Relaxed),
            None => self.update_elsewhere(&PROCESS, |cell, _| cell.load(Ordering::Relaxed)),
        }
    }

    /// The first use, and every use in a process that has no lane.
    #[inline(never)]
    fn update_elsewhere<T>(&self, process: &Process, change: impl Fn(&AtomicU64, Ordering) -> T) -> T {
        match self.find(process) {
            Target::Home(cell) => change(cell, Ordering::Relaxed),
            Target::Private(cell) => {
                // This order is what `process` relies on.
                let result = change(cell, Ordering::SeqCst);
                if process.is_attached() {
                    self.pointer.set(process.settle(&self.series));
                }
                result
            }
            // Not reached: every series has a place in its process.
            Target::Unknown => change(&AtomicU64::new(0), Ordering::Relaxed),
        }
    }

    #[inline]
    fn find(&self, process: &Process) -> Target {
        let target = match self.pointer.target() {
            Target::Unknown => process.resolve(&self.series),
            Target::Private(_) if process.is_attached() => process.settle(&self.series),
            known => return known,
        };
        self.pointer.set(target);
        target
    }

    /// The fleet's value.
    pub(super) fn total(&self) -> u64 {
        PROCESS.total(&self.series).first().copied().unwrap_or(0)
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::super::entry::Entry;
    use super::super::lane::Lane;
    use super::super::region::Region;
    use super::super::series::Kind;
    use super::*;

    const COUNTER: Series = Series::new(Kind::Counter, "test_cell_total", "Help");

    fn lane(region: &Arc<Region>) -> Lane {
        Lane::new(Arc::clone(region), 1).unwrap()
    }

    fn in_lane(region: &Arc<Region>, series: &Series) -> u64 {
        let placed = lane(region).place(&Entry::from(series), usize::MAX);
        placed.ok().unwrap().cells[0].load(Ordering::Relaxed)
    }

    #[test]
    fn threads_that_count_while_the_process_joins_lose_nothing() {
        let (times, counts) = if cfg!(miri) { (2, 20) } else { (20, 5000) };
        for _ in 0..times {
            let (process, cells) = (Process::new(), [Cell::new(COUNTER), Cell::new(COUNTER)]);
            let region = Arc::new(Region::create().unwrap());
            let count = |cell: &Cell| {
                for _ in 0..counts {
                    match cell.pointer.home() {
                        Some(home) => home.fetch_add(1, Ordering::Relaxed),
                        None => cell.update_elsewhere(&process, |cell, order| cell.fetch_add(1, order)),
                    };
                }
            };
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (count, cell) = (&count, &cells[thread % 2]);
                    scope.spawn(move || count(cell));
                }
                scope.spawn(|| process.attach(lane(&region)));
            });
            assert_eq!(in_lane(&region, &COUNTER), 4 * counts);
            assert_eq!(process.total(&COUNTER), [4 * counts]);
        }
    }

    #[test]
    fn value_that_was_used_before_moves_by_its_kind_and_one_that_is_read_is_the_fleets() {
        let process = Process::new();
        let [flag, max] = [(Kind::Flag, "test_cell_flag"), (Kind::Max, "test_cell_max")]
            .map(|(kind, name)| Cell::new(Series::new(kind, name, "Help")));
        let region = Arc::new(Region::create().unwrap());
        let other = lane(&region).place(&Entry::from(flag.series()), usize::MAX).ok().unwrap();
        other.cells[0].store(2, Ordering::Relaxed);
        let read = |cell: &Cell| cell.update_elsewhere(&process, |cell, _| cell.load(Ordering::Relaxed));
        assert_eq!(read(&flag), 0);
        max.update_elsewhere(&process, |cell, order| cell.fetch_max(7, order));
        process.attach(lane(&region));
        assert_eq!(read(&flag), 2, "the fleet's flag is not changed, and is seen at once");
        assert_eq!(in_lane(&region, max.series()), 7);
        assert_eq!(process.total(max.series()), [7]);
    }

    #[test]
    fn value_without_a_place_stays_in_its_process() {
        let process = Process::new();
        let region = Arc::new(Region::create().unwrap());
        let fill = |value: usize| {
            let name = format!("test_cell_{value}");
            let series = Series { name: name.leak(), ..COUNTER };
            lane(&region).place(&Entry::from(&series), usize::MAX).is_ok()
        };
        assert!(!(0..).all(fill), "the region is full at some time");
        process.attach(lane(&region));
        let cell = Cell::new(COUNTER);
        for _ in 0..3 {
            cell.update_elsewhere(&process, |cell, order| cell.fetch_add(1, order));
        }
        assert_eq!((process.total(&COUNTER), process.own_values().1), (vec![3], 1));
        assert!(cell.pointer.home().is_some(), "the next increment is as fast as any");
    }
}
