//! Settings that change while the fleet runs, because the options were read again.

use std::time::Instant;

use super::{Phase, RecycleReason, Settings, Supervisor};

impl Supervisor {
    /// Goes on with other settings. What is under way (a delay, a grace, a start) ends as it was planned.
    pub(super) fn change_settings(&mut self, now: Instant, settings: Settings) {
        if !self.takes_changes() {
            return;
        }
        let old = std::mem::replace(&mut self.settings, settings);
        self.failures.change_policy(settings.recover);
        if old.max_lifetime != settings.max_lifetime {
            (0..self.slots.len()).for_each(|slot| self.change_lifetime(slot));
        }
        // A size that an operator has asked for otherwise stays.
        if old.workers != settings.workers {
            self.resize(now, settings.workers);
        }
    }

    /// Applies another greatest age to the slot's occupant.
    fn change_lifetime(&mut self, slot: usize) {
        let is_other = |(_, reason): (_, RecycleReason)| reason != RecycleReason::Lifetime;
        if self.slots[slot].recycle_at.is_some_and(is_other) {
            return;
        }
        let occupant = self.slots[slot].occupant.and_then(|id| self.children.get(id));
        if let Some(Phase::Serving { since }) = occupant.map(|child| child.phase) {
            self.limit_lifetime(since, slot);
        }
    }
}
