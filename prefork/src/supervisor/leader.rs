//! The leader: the one child that does what is done once in a fleet.
//!
//! ```text
//!                         Lead                        Resign
//!  Vacant ──────────────────────────────▶ Held ───────────────────▶ Resigning
//!    ▲    a candidate serves                │   it has to stop, or      │
//!    │                                      │   is about to be replaced │
//!    └──────────────────────────────────────┴───────────────────────────┘
//!                            Resigned, or Exited
//! ```
//!
//! At most one child is the leader, because only two events end a term: the child says that its work as the leader
//! has ended, or its process has ended. No time ends it. While the fleet runs and a candidate serves, `Vacant` lasts
//! no longer than one turn of the master's loop.
//!
//! A child is a candidate once it has asked. Each `Lead` takes it off the list; it asks again after its term. The
//! next leader is of the newest generation that has a candidate, and of these the one that asked first; one that is
//! about to be replaced comes last.
//!
//! The leader keeps the leadership until it has to stop; the order to resign goes before the order to stop. In a
//! reload its slot is replaced last, and it is asked to resign when the replacement begins and a child of a newer
//! generation is a candidate: so the leadership moves once, to a new child, while the old one serves.

use std::cmp::Reverse;

use super::{Action, ChildId, Event, Supervisor};

/// See the [module](self).
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Leader {
    term: Term,
    /// The children that have asked, in this order.
    candidates: Vec<ChildId>,
    /// Whether a child has ever asked.
    elects: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Term {
    #[default]
    Vacant,
    Held(ChildId),
    /// It was asked to resign, and has not said that it has.
    Resigning(ChildId),
}

/// The state in a form that another program can read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LeaderSnapshot {
    pub(crate) leader: Option<ChildId>,
    pub(crate) resigning: bool,
    pub(crate) candidates: Vec<ChildId>,
}

impl Leader {
    fn id(&self) -> Option<ChildId> {
        match self.term {
            Term::Vacant => None,
            Term::Held(id) | Term::Resigning(id) => Some(id),
        }
    }

    pub(super) fn snapshot(&self) -> LeaderSnapshot {
        LeaderSnapshot {
            leader: self.id(),
            resigning: matches!(self.term, Term::Resigning(_)),
            candidates: self.candidates.clone(),
        }
    }
}

impl Supervisor {
    /// The child that is the leader, also while it is asked to resign.
    pub(super) fn leader_id(&self) -> Option<ChildId> {
        self.leader.id()
    }

    /// Whether a child has ever asked to become the leader.
    pub(super) fn elects(&self) -> bool {
        self.leader.elects
    }

    /// Whether the leader is the child of this slot.
    pub(super) fn leads(&self, slot: usize) -> bool {
        self.leader.id().is_some_and(|id| self.occupies(id, slot))
    }

    pub(super) fn on_candidate(&mut self, event: Event, id: ChildId) {
        if self.children.get(id).is_none() {
            return self.unexpected(event);
        }
        self.leader.elects = true;
        // A child that is the leader does not ask.
        if self.leader.id() != Some(id) && !self.leader.candidates.contains(&id) {
            self.leader.candidates.push(id);
        }
    }

    pub(super) fn on_resigned(&mut self, id: ChildId) {
        if self.leader.id() == Some(id) {
            self.end_term(id);
        }
    }

    /// The child is gone.
    pub(super) fn forget_in_leadership(&mut self, id: ChildId) {
        self.leader.candidates.retain(|candidate| *candidate != id);
        if self.leader.id() == Some(id) {
            self.end_term(id);
        }
    }

    fn end_term(&mut self, id: ChildId) {
        self.leader.term = Term::Vacant;
        // What it was not told yet belongs to the old term.
        self.actions.retain(|action| *action != Action::Lead(id) && *action != Action::Resign(id));
    }

    /// Asks this child to resign, if it is the leader.
    pub(super) fn order_resignation(&mut self, id: ChildId) {
        if self.leader.term == Term::Held(id) {
            self.leader.term = Term::Resigning(id);
            self.actions.push_back(Action::Resign(id));
        }
    }

    /// Asks the leader to resign if it is time, and gives the leadership to another child once it is free.
    pub(super) fn settle_leader(&mut self) {
        if let Term::Held(id) = self.leader.term {
            if self.is_to_hand_over(id) {
                self.order_resignation(id);
            }
        }
        if self.leader.term != Term::Vacant || !self.is_active() {
            return;
        }
        if let Some(id) = self.next_leader() {
            self.leader.candidates.retain(|candidate| *candidate != id);
            self.leader.term = Term::Held(id);
            // It does not wait for starts and hooks.
            self.actions.push_front(Action::Lead(id));
        }
    }

    pub(super) fn resume_leader(&mut self, snapshot: &LeaderSnapshot) {
        let LeaderSnapshot { leader, resigning, candidates } = snapshot;
        let is_known = |id: &ChildId| self.children.get(*id).is_some();
        self.leader = Leader {
            term: match leader.filter(is_known) {
                None => Term::Vacant,
                Some(id) if *resigning => Term::Resigning(id),
                Some(id) => Term::Held(id),
            },
            candidates: candidates.iter().copied().filter(is_known).collect(),
            elects: leader.is_some() || !candidates.is_empty(),
        };
    }

    /// Whether the leader is about to be replaced and a child of a newer generation can take over.
    fn is_to_hand_over(&self, id: ChildId) -> bool {
        let Some(leader) = self.children.get(id) else { return false };
        let is_newer = |candidate: &ChildId| {
            self.children.get(*candidate).is_some_and(|child| child.generation > leader.generation)
        };
        self.is_being_replaced(leader.slot)
            && self.occupies(id, leader.slot)
            && self.leader.candidates.iter().any(|candidate| is_newer(candidate) && self.can_lead(*candidate))
    }

    fn next_leader(&self) -> Option<ChildId> {
        let able = self.leader.candidates.iter().copied().filter(|id| self.can_lead(*id));
        let (_, id) = able.enumerate().max_by_key(|(place, id)| {
            let child = self.children.get(*id);
            let generation = child.map(|child| child.generation);
            let stays = child.is_some_and(|child| !self.is_being_replaced(child.slot));
            (generation, stays, Reverse(*place))
        })?;
        Some(id)
    }

    /// Whether the child serves in its slot, and is not about to end.
    fn can_lead(&self, id: ChildId) -> bool {
        self.children.get(id).is_some_and(|child| {
            child.is_serving()
                && child.failing.is_none()
                && child.link_until.is_none()
                && self.occupies(id, child.slot)
        })
    }

    fn occupies(&self, id: ChildId, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.occupant == Some(id))
    }

    fn is_being_replaced(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.successor.is_some())
    }
}
