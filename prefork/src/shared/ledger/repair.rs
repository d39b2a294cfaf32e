//! Repair of what a child has spoilt in the region. Processes that know their cells need none of it; those that start
//! later find their series by it.

use std::sync::atomic::Ordering;

use super::super::directory::Directory;
use super::super::layout::SERIES;
use super::super::series::Space;
use super::Account;

impl Account {
    /// Writes again what was checked once and has changed since. Called when a child has ended: it may be the one that
    /// did it.
    pub(super) fn repair(&mut self) {
        let Ok(directory) = self.region.directory() else { return };
        let mut end = 0;
        for (slot, read) in self.read.iter().enumerate() {
            let Some((known, placement)) = read else { continue };
            let entry = &self.known[*known].entry;
            if !directory.holds(slot, entry, *placement) {
                directory.restore(slot, entry, *placement);
            }
            end = slot + 1;
        }
        self.wipe_after(directory, end);
        for space in [Space::Lanes, Space::Words, Space::Tables] {
            directory.correct_next(space, self.used(space));
        }
        directory.seed().store(self.seed, Ordering::Relaxed);
    }

    /// Empties slots after the last good one that hold nothing whole, so that they can be used. One that a child is
    /// just filling is left alone: only what was no better at the end of an earlier child is emptied.
    fn wipe_after(&mut self, directory: Directory<'_>, end: usize) {
        let mut suspects = Vec::new();
        for slot in end..SERIES {
            if self.region.reserve(directory.index_words(slot)).is_err() || !directory.is_used(slot) {
                break;
            }
            if self.suspects.contains(&slot) {
                directory.wipe(slot);
            } else {
                suspects.push(slot);
            }
        }
        self.suspects = suspects;
    }
}
