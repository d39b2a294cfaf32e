//! The number of slots.

use std::time::Instant;

use super::{Action, Remark, Slot, StartReason, Supervisor};

impl Supervisor {
    pub(super) fn resize(&mut self, now: Instant, to: usize) {
        let from = self.slots.len();
        if to == from {
            return;
        }
        if !(1..=self.settings.most_workers).contains(&to) {
            return self.log(Remark::NotResized(from));
        }
        self.log(Remark::Resized { from, to });
        for _ in from..to {
            self.add_slot(Some(from));
        }
        for _ in to..from {
            self.remove_slot(now);
        }
        self.announce_if_complete();
    }

    pub(super) fn add_slot(&mut self, size_before: Option<usize>) {
        let slot = self.slots.len();
        self.slots.push(Slot { generation: self.rollout.settled, size_before, ..Slot::default() });
        let reason = if size_before.is_some() { StartReason::Scale } else { StartReason::Start };
        self.spawn_occupant(slot, reason);
        self.add_to_reload(slot);
    }

    /// Takes the last slot away; its children finish what they have accepted.
    fn remove_slot(&mut self, now: Instant) {
        self.slots.pop();
        let last = self.slots.len();
        let of_slot = self.children.iter().filter(|(_, child)| child.slot == last);
        for id in of_slot.map(|(id, _)| id).collect::<Vec<_>>() {
            self.stop_after_queue(now, id);
        }
        self.actions.push_back(Action::CloseSlot);
    }

    /// The first child of a new slot could not be started: removes all slots that were added with it.
    pub(super) fn undo_grow(&mut self, now: Instant, slot: usize, size: usize) {
        self.log(Remark::GrowUndone { slot, from: self.slots.len(), to: size });
        if self.slots.len() == self.settings.workers {
            // The next reload or upgrade, whose options ask for as many as before, tries again.
            self.settings.workers = size;
        }
        while self.slots.len() > size {
            self.remove_slot(now);
        }
        self.announce_if_complete();
    }
}
