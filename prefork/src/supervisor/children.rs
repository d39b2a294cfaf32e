//! The children, and how many of them are in which phase.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;
use std::time::Instant;

use super::sums::{Edit, Summed, Sums};
use super::{ChildId, FailureCause, StartReason};

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Child {
    pub(super) slot: usize,
    pub(super) generation: u32,
    pub(super) pid: Option<u32>,
    /// Why it was started.
    pub(super) reason: StartReason,
    pub(super) phase: Phase,
    /// How it fails, if that was known before its exit.
    pub(super) failing: Option<FailureCause>,
    /// When the child is killed because it has closed its link.
    pub(super) link_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Booting { until: Instant },
    Serving { since: Instant },
    Stopping { until: Instant },
    Killed { unready: bool },
}

impl Child {
    pub(super) fn new(slot: usize, generation: u32, reason: StartReason) -> Self {
        Self { slot, generation, pid: None, reason, phase: Phase::Starting, failing: None, link_until: None }
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }
}

/// The places of the counted properties of a child.
const STARTING: usize = 0;
const BOOTING: usize = 1;
const SERVING: usize = 2;
const LEAVING: usize = 3;

impl Summed<4> for Child {
    type Key = ChildId;

    fn properties(&self) -> [bool; 4] {
        let place = match self.phase {
            Phase::Starting => STARTING,
            Phase::Booting { .. } => BOOTING,
            Phase::Serving { .. } => SERVING,
            Phase::Stopping { .. } | Phase::Killed { .. } => LEAVING,
        };
        [STARTING, BOOTING, SERVING, LEAVING].map(|other| other == place)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Booting { until } => Some(self.link_until.map_or(until, |link| link.min(until))),
            Phase::Serving { .. } => self.link_until,
            Phase::Stopping { until } => Some(until),
            Phase::Starting | Phase::Killed { .. } => None,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Children {
    by_id: BTreeMap<ChildId, Child>,
    sums: Sums<ChildId, 4>,
}

impl Children {
    pub(super) fn new() -> Self {
        Self { by_id: BTreeMap::new(), sums: Sums::new() }
    }

    pub(super) fn insert(&mut self, id: ChildId, child: Child) {
        // The snapshot of another program may have a child twice.
        self.remove(id);
        self.sums.add(id, &child);
        self.by_id.insert(id, child);
    }

    pub(super) fn remove(&mut self, id: ChildId) -> Option<Child> {
        let child = self.by_id.remove(&id)?;
        self.sums.remove(id, &child);
        Some(child)
    }

    /// To change a child.
    pub(super) fn edit(&mut self, id: ChildId) -> Option<Edit<'_, Child, 4>> {
        Some(Edit::new(id, self.by_id.get_mut(&id)?, &mut self.sums))
    }

    pub(super) fn get(&self, id: ChildId) -> Option<&Child> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ChildId, &Child)> {
        self.by_id.iter().map(|(id, child)| (*id, child))
    }

    pub(super) fn ids(&self) -> Vec<ChildId> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The number of children that have no process yet.
    pub(super) fn starting(&self) -> usize {
        self.sums.count(STARTING)
    }

    pub(super) fn serving(&self) -> usize {
        self.sums.count(SERVING)
    }

    /// The number of children that serve, or may soon.
    pub(super) fn live(&self) -> usize {
        self.sums.count(BOOTING) + self.sums.count(SERVING)
    }

    /// The number of children that were asked to stop.
    pub(super) fn leaving(&self) -> usize {
        self.sums.count(LEAVING)
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.sums.first_deadline()
    }

    pub(super) fn due(&self, now: Instant) -> BTreeSet<ChildId> {
        self.sums.due(now)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.sums.check(self.iter());
    }
}

impl Index<ChildId> for Children {
    type Output = Child;

    fn index(&self, id: ChildId) -> &Child {
        &self.by_id[&id]
    }
}
