//! The slots of the fleet.

use std::collections::BTreeSet;
use std::ops::Index;
use std::time::Instant;

use super::policy::SlotFailures;
use super::sums::{Edit, Summed, Sums};
use super::{ChildId, RecycleReason};

/// A numbered place in the fleet.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Slot {
    pub(super) occupant: Option<ChildId>,
    /// The child that becomes the occupant when it is ready.
    pub(super) successor: Option<ChildId>,
    pub(super) respawn_at: Option<Instant>,
    /// When the occupant is to be replaced, and why.
    pub(super) recycle_at: Option<(Instant, RecycleReason)>,
    /// Why the occupant is to be replaced now, if it is.
    pub(super) recycle_requested: Option<RecycleReason>,
    pub(super) failures: SlotFailures,
    /// The fleet's size before this slot was added, until its first child is started.
    pub(super) size_before: Option<usize>,
    /// Whether the last attempt to start its child failed, and others follow.
    pub(super) unstartable: bool,
    /// The pid of the child that the next occupant replaces after a failure.
    pub(super) predecessor: Option<u32>,
    /// The generation of the occupant, and of its replacement if it fails.
    pub(super) generation: u32,
    /// The generation from before the reload that can be taken back, if that has replaced this slot's child.
    pub(super) before: Option<u32>,
}

/// The places of the counted properties of a slot.
const HAS_SUCCESSOR: usize = 0;
const IS_REVOCABLE: usize = 1;

impl Summed<2> for Slot {
    type Key = usize;

    fn properties(&self) -> [bool; 2] {
        let mut properties = [false; 2];
        properties[HAS_SUCCESSOR] = self.successor.is_some();
        properties[IS_REVOCABLE] = self.before.is_some();
        properties
    }

    fn deadline(&self) -> Option<Instant> {
        [self.respawn_at, self.recycle_at.map(|(at, _)| at)].into_iter().flatten().min()
    }
}

/// See the [module](self).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Slots {
    slots: Vec<Slot>,
    sums: Sums<usize, 2>,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), sums: Sums::new() }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.sums.add(self.slots.len(), &slot);
        self.slots.push(slot);
    }

    pub(super) fn pop(&mut self) {
        if let Some(slot) = self.slots.pop() {
            self.sums.remove(self.slots.len(), &slot);
        }
    }

    /// To change a slot, which must exist.
    pub(super) fn edit(&mut self, slot: usize) -> Edit<'_, Slot, 2> {
        Edit::new(slot, &mut self.slots[slot], &mut self.sums)
    }

    pub(super) fn edit_each(&mut self, change: impl Fn(&mut Slot)) {
        (0..self.slots.len()).for_each(|slot| change(&mut self.edit(slot)));
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Slot> {
        self.slots.get(slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The number of children that are to become occupants.
    pub(super) fn successors(&self) -> usize {
        self.sums.count(HAS_SUCCESSOR)
    }

    /// The number of slots that a rollback restores, or has restored.
    pub(super) fn revocable(&self) -> usize {
        self.sums.count(IS_REVOCABLE)
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.sums.first_deadline()
    }

    pub(super) fn due(&self, now: Instant) -> BTreeSet<usize> {
        self.sums.due(now)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.sums.check(self.slots.iter().enumerate());
    }
}

impl Index<usize> for Slots {
    type Output = Slot;

    fn index(&self, slot: usize) -> &Slot {
        &self.slots[slot]
    }
}
