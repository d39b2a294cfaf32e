//! Which of several families with one name was used last. A family whose kind or bounds changed with a reload stays in
//! the directory, and may be used again after the next one; so the order of the directory says nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::directory::use_of;
use super::super::entry::Entry;
use super::{Account, Known, MASTER};
use crate::sync::atomic::{AtomicU64, Ordering};

/// How much a family is in use. The children come first: the master may have used a family long ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    children: usize,
    is_masters: bool,
    last_end: u64,
}

impl Account {
    /// Adds a series to those that are known.
    pub(super) fn push(&mut self, entry: Arc<Entry>, identity: u64) {
        let family = entry.family();
        let same_name = |known: &&Known| known.family >> 32 == family >> 32 && known.family != family;
        let others: Vec<u64> = self.known.iter().filter(same_name).map(|known| known.family).collect();
        if !others.is_empty() {
            self.contested.extend(others.into_iter().chain([family]));
        }
        let (placements, total) = (Vec::new(), vec![0; entry.cells()]);
        self.known.push(Known { entry, identity, family, last_end: 0, placements, total });
    }

    /// Notes what the process has used that had this lane and has ended.
    pub(super) fn note_end(&mut self, lane: &[AtomicU64]) {
        self.ends += 1;
        for (slot, read) in self.read.iter().enumerate() {
            if let Some((known, _)) = read.filter(|_| uses(lane, slot)) {
                self.known[known].last_end = self.ends;
            }
        }
    }

    /// The series that are known, so that of families with one name the one that is in use comes last. That is the
    /// one that most of the live processes use, because one child cannot change that; without any, the one of the
    /// process that was the last to end.
    pub(super) fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.known.len()).collect();
        if !self.contested.is_empty() {
            let uses = self.uses();
            order.sort_by_key(|place| uses.get(&self.known[*place].family));
        }
        order
    }

    fn uses(&mut self) -> BTreeMap<u64, Use> {
        let mut uses = BTreeMap::new();
        for known in self.known.iter().filter(|known| self.contested.contains(&known.family)) {
            let family: &mut Use = uses.entry(known.family).or_default();
            family.last_end = family.last_end.max(known.last_end);
        }
        let read = self.read.iter().enumerate();
        let family =
            |(slot, read): (usize, &Option<(usize, _)>)| Some((slot, self.known[read.as_ref()?.0].family));
        let slots = read.filter_map(family).filter(|(_, family)| uses.contains_key(family));
        let slots: Vec<(usize, u64)> = slots.collect();
        self.read_lanes(|_, number, lane| {
            let mut used: Vec<u64> =
                slots.iter().filter(|(slot, _)| self::uses(lane, *slot)).map(|(_, family)| *family).collect();
            used.sort_unstable();
            used.dedup();
            for family in used {
                let family = uses.entry(family).or_default();
                if number == MASTER {
                    family.is_masters = true;
                } else {
                    family.children += 1;
                }
            }
        });
        uses
    }
}

/// Whether the process of a lane uses the series in a slot.
fn uses(lane: &[AtomicU64], slot: usize) -> bool {
    let (cell, bit) = use_of(slot);
    lane[cell].load(Ordering::Relaxed) & bit != 0
}
