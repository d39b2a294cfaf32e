//! Which entries of the directory the master has checked and copied.

use std::sync::Arc;

use super::super::directory::Placement;
use super::super::entry::Entry;
use super::super::layout::SERIES;
use super::{Account, MOST};

impl Account {
    /// Reads the entries of the directory that were added since.
    pub(super) fn refresh(&mut self) {
        self.read_entries(false);
    }

    /// Entries fill the slots in order, but a child may have emptied one that is followed by others.
    pub(super) fn read_entries(&mut self, beyond_empty: bool) {
        let region = Arc::clone(&self.region);
        let Ok(directory) = region.directory() else { return };
        for slot in 0..SERIES {
            if self.read[slot].is_some() {
                continue;
            }
            if region.reserve(directory.index_words(slot)).is_err() {
                break;
            }
            if !beyond_empty && !directory.is_used(slot) {
                break;
            }
            if let Some((entry, placement)) = directory.read(slot) {
                self.read[slot] = self.admit(entry, Some(placement)).map(|known| (known, placement));
            }
        }
        (0..SERIES).for_each(|slot| self.refresh_help(directory, slot));
    }

    /// The place of a series among those that are known, to which it is added. `None` if there are too many, or its
    /// cells are another series'.
    pub(super) fn admit(&mut self, entry: Entry, placement: Option<Placement>) -> Option<usize> {
        let identity = entry.identity();
        let known = self.known.iter().position(|known| known.is(identity, &entry));
        if placement.is_some_and(|placement| self.is_taken(placement, known)) {
            return None;
        }
        let place = match known {
            Some(place) => place,
            None if self.known.len() == MOST => return None,
            None => {
                self.push(Arc::new(entry), identity);
                self.known.len() - 1
            }
        };
        let placements = &mut self.known[place].placements;
        placements.extend(placement.filter(|placement| !placements.contains(placement)));
        Some(place)
    }
}
