//! A value of one cell in this process: how it is found, and how it is changed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::process::PROCESS;
use super::region::{CellPointer, Target};
use super::series::Series;

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
            None => self.update_elsewhere(change),
        }
    }

    /// Reads the cell.
    #[inline]
    pub(super) fn read(&self) -> u64 {
        match self.pointer.home() {
            Some(cell) => cell.load(Ordering::Relaxed),
            None => self.update_elsewhere(|cell, _| cell.load(Ordering::Relaxed)),
        }
    }

    /// The first use, and every use in a process that has no lane.
    #[inline(never)]
    fn update_elsewhere<T>(&self, change: impl Fn(&AtomicU64, Ordering) -> T) -> T {
        match self.find() {
            Target::Home(cell) => change(cell, Ordering::Relaxed),
            Target::Private(cell) => {
                // This order is what `process` relies on.
                let result = change(cell, Ordering::SeqCst);
                if PROCESS.is_attached() {
                    self.pointer.set(PROCESS.settle(&self.series));
                }
                result
            }
            // Not reached: every series has a place in its process.
            Target::Unknown => change(&AtomicU64::new(0), Ordering::Relaxed),
        }
    }

    fn find(&self) -> Target {
        let target = match self.pointer.target() {
            Target::Unknown => PROCESS.resolve(&self.series),
            Target::Private(_) if PROCESS.is_attached() => PROCESS.settle(&self.series),
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
