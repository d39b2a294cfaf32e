//! A reload with a canary: it stops after some children and holds, with the new ones beside the old.
//!
//! ```text
//! Reloading ──▶ Holding ── promoted, or its time is over ──▶ Reloading, the other slots
//!     │            │
//!     └────────────┴── a new child fails, or a rollback ──▶ Restoring ──▶ Idle, with the old generation
//! ```
//!
//! Each slot with a child of the canary knows the generation that it had [before](super::Slot::before). Restoring
//! replaces those children, new before old as everywhere. A slot whose child is gone gets one of the old generation
//! at once. A reload in place of one that holds replaces the children of its canary first, so that none is left. Every
//! slot that it replaces keeps the generation from before that canary, whether it holds itself or not: until it is
//! complete, it can be taken back as a whole.

use std::time::{Duration, Instant};

use super::policy::SlotFailures;
use super::rollout::{Course, Interrupted};
use super::{
    Action, CanaryChoice, ChangeResult, Child, ChildId, Exit, NotHeld, Phase, Remark, Request,
    RollbackReason, Slot, Supervisor, Tally, deadline,
};

/// How often the program is asked about a canary that holds.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Delay before another attempt to restore the old generation, after one that failed. The new children serve.
const RESTORE_AGAIN: Duration = Duration::from_secs(5);

/// What a reload with a canary is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CanaryPlan {
    /// The number of children after which it holds. At least those that are of an unpromoted canary already.
    pub(super) children: usize,
    /// How long; `None` is until it is promoted or rolled back.
    pub(super) hold: Option<Duration>,
}

/// A reload that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) plan: CanaryPlan,
    pub(super) since: Instant,
    pub(super) until: Option<Instant>,
    /// When the program is asked, if it wants to be.
    ask_at: Option<Instant>,
}

/// The children of a fleet that holds, which serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CanaryGroups {
    /// The generation of the new ones.
    pub(crate) generation: u32,
    pub(crate) held: Duration,
    pub(crate) new: Vec<ChildId>,
    pub(crate) old: Vec<ChildId>,
}

impl Supervisor {
    /// The canary of a reload that is requested: what the options say, unless the request says otherwise.
    pub(super) fn plan_canary(&self, choice: CanaryChoice) -> Option<CanaryPlan> {
        let children = choice.children.unwrap_or(self.settings.canary);
        let hold = choice.hold.or(self.settings.hold);
        (children > 0).then_some(CanaryPlan { children, hold })
    }

    /// Whether a reload that is requested so would hold.
    pub(crate) fn has_canary(&self, choice: CanaryChoice) -> bool {
        self.plan_canary(choice).is_some()
    }

    /// Whether the reload has replaced as many children as it may before it holds, or is about to.
    pub(super) fn has_whole_canary(&self) -> bool {
        let Course::Reloading { canary: Some(plan) } = self.rollout.course else { return false };
        // Those of an earlier canary are replaced, however many there are.
        let wanted = self.slots.revocable().max(plan.children);
        let new = |slot: &&Slot| slot.successor.is_some() || self.is_reloaded(slot);
        self.slots.iter().filter(new).count() >= wanted
    }

    pub(super) fn begin_hold(&mut self, now: Instant, plan: CanaryPlan) {
        let ask_at = self.settings.asks_canary.then(|| deadline(now, ASK_INTERVAL));
        let until = plan.hold.map(|hold| deadline(now, hold));
        self.rollout.course = Course::Holding(Hold { plan, since: now, until, ask_at });
        // The other slots wait for the end of the hold. Their children are recycled meanwhile.
        self.rollout.queue = self.slots_to_recycle().collect();
        let children = self.slots.iter().filter(|slot| self.is_reloaded(slot)).count();
        let (generation, of) = (self.rollout.target, self.slots.len());
        self.log(Remark::Holding { generation, children, of, hold: plan.hold });
        if ask_at.is_some() {
            self.actions.push_back(Action::WatchCanary);
        }
        self.announce_if_complete();
    }

    /// Whether the course has something to do at a time, and when.
    pub(super) fn canary_deadline(&self) -> Option<Instant> {
        match self.rollout.course {
            // A fleet that was asked to stop is not changed any more.
            Course::Holding(Hold { until, ask_at, .. }) if self.takes_changes() => {
                [until, ask_at].into_iter().flatten().min()
            }
            Course::Restoring { again_at } if self.is_active() => again_at,
            _ => None,
        }
    }

    /// Does what is due.
    pub(super) fn advance_canary(&mut self, now: Instant) {
        if self.canary_deadline().is_none_or(|at| at > now) {
            return;
        }
        match &mut self.rollout.course {
            Course::Holding(Hold { until: Some(until), .. }) if *until <= now => self.promote_canary(now),
            Course::Holding(Hold { ask_at, .. }) => {
                *ask_at = Some(deadline(now, ASK_INTERVAL));
                self.actions.push_back(Action::AskCanary);
            }
            Course::Restoring { again_at } => {
                *again_at = None;
                self.queue_restoring();
            }
            Course::Idle | Course::Reloading { .. } => {}
        }
    }

    /// Completes a reload that holds, or that would hold.
    pub(super) fn promote_canary(&mut self, now: Instant) {
        if let Some(reason) = self.why_not_promoted() {
            return self.log(Remark::NothingHeld(Request::Promote, reason));
        }
        self.slots.edit_each(|slot| slot.before = None);
        self.log(Remark::Promoted { generation: self.rollout.target });
        self.withdraw_old_successors(now);
        let is_left = |slot: &&usize| !self.is_reloaded(&self.slots[**slot]);
        let all: Vec<usize> = (0..self.slots.len()).collect();
        let recycled = self.slots_to_recycle().filter(|slot| self.is_reloaded(&self.slots[*slot]));
        self.rollout.queue = all.iter().filter(is_left).copied().chain(recycled).collect();
        self.rollout.course = Course::Reloading { canary: None };
    }

    /// Withdraws successors that are being recycled and that the reload would replace.
    fn withdraw_old_successors(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let target = self.rollout.target;
            let is_old =
                |id: &ChildId| self.children.get(*id).is_some_and(|child| child.generation != target);
            if let Some(id) = self.slots[slot].successor.filter(is_old) {
                self.slots.edit(slot).successor = None;
                self.terminate(now, id);
            }
        }
    }

    /// An operator asks for a rollback.
    pub(super) fn request_rollback(&mut self, now: Instant) {
        match self.why_not_rolled_back() {
            None => self.roll_back(now, RollbackReason::Requested),
            Some(reason) => self.log(Remark::NothingHeld(Request::Rollback, reason)),
        }
    }

    /// The program asks for a rollback.
    pub(super) fn on_canary_refused(&mut self, now: Instant) {
        // The hold may have ended meanwhile.
        if self.can_roll_back() {
            self.roll_back(now, RollbackReason::Program);
        }
    }

    /// Why there is nothing to promote; `None` if a reload holds, or would.
    pub(crate) fn why_not_promoted(&self) -> Option<NotHeld> {
        match self.rollout.course {
            Course::Holding(_) | Course::Reloading { canary: Some(_) } => None,
            _ if !self.can_roll_back() => Some(NotHeld::NoCanary),
            _ if self.rollout.upgrade.is_some() => Some(NotHeld::Upgrade),
            _ => Some(NotHeld::PlainReload),
        }
    }

    /// Why there is nothing to roll back; `None` if there is.
    pub(crate) fn why_not_rolled_back(&self) -> Option<NotHeld> {
        (!self.can_roll_back()).then_some(NotHeld::NoCanary)
    }

    /// Whether there is a reload that can be taken back.
    pub(crate) fn can_roll_back(&self) -> bool {
        self.revocable_generation().is_some()
    }

    /// The generation of a reload that can be taken back: it has a canary, or replaces one that was not promoted. It is
    /// under way, or holds, or an upgrade has interrupted it.
    pub(super) fn revocable_generation(&self) -> Option<u32> {
        match self.rollout.interruption()? {
            Interrupted::Reload { target, canary } => {
                (canary.is_some() || self.slots.revocable() > 0).then_some(target)
            }
            Interrupted::Restoring => None,
        }
    }

    /// Restores the generation that each slot had before the canary.
    pub(super) fn roll_back(&mut self, now: Instant, reason: RollbackReason) {
        if self.rollout.interrupted().is_some() {
            self.totals.count(Tally::Reload(ChangeResult::RolledBack));
        }
        if self.rollout.upgrade.is_some() {
            self.end_upgrade(now, Some(Remark::UpgradeAborted), ChangeResult::Aborted);
        }
        self.withdraw_successors(now);
        self.rollout.cancel();
        self.slots.edit_each(|slot| slot.generation = slot.before.unwrap_or(slot.generation));
        let children = self.slots.revocable();
        self.log(Remark::RollingBack { generation: self.rollout.target, children, reason });
        self.restore();
    }

    /// Continues a rollback, or begins it.
    pub(super) fn restore(&mut self) {
        self.rollout.course = Course::Restoring { again_at: None };
        self.queue_restoring();
        let recycled: Vec<usize> = self.slots_to_recycle().collect();
        for slot in recycled {
            if !self.rollout.queue.contains(&slot) {
                self.rollout.queue.push_back(slot);
            }
        }
    }

    fn queue_restoring(&mut self) {
        for slot in 0..self.slots.len() {
            if self.is_to_restore(slot) && !self.rollout.queue.contains(&slot) {
                self.rollout.queue.push_back(slot);
            }
        }
    }

    /// Whether the slot's child is to be replaced by one of the generation before.
    pub(super) fn is_to_restore(&self, slot: usize) -> bool {
        let is_new = |id: ChildId| self.children.get(id).is_some_and(|child| self.is_of_canary(child));
        matches!(self.rollout.course, Course::Restoring { .. })
            && self.slots.get(slot).and_then(|slot| slot.occupant).is_some_and(is_new)
    }

    /// Whether every slot has a ready child of the generation before.
    pub(super) fn is_restored(&self) -> bool {
        self.restored_slots() == self.slots.revocable()
    }

    /// The number of slots that have a ready child of the generation before again.
    pub(super) fn restored_slots(&self) -> usize {
        let is_back = |slot: &&Slot| {
            let occupant = slot.occupant.and_then(|id| self.children.get(id));
            occupant.is_some_and(|child| Some(child.generation) == slot.before && child.is_serving())
        };
        self.slots.iter().filter(is_back).count()
    }

    pub(super) fn finish_restoring(&mut self) {
        self.rollout.course = Course::Idle;
        self.slots.edit_each(|slot| slot.before = None);
        self.log(Remark::RolledBack { generation: self.rollout.settled });
        self.announce_if_complete();
    }

    /// A child of the old generation did not become ready. The new one stays until another attempt.
    pub(super) fn restoring_failed(&mut self, now: Instant, slot: usize) {
        self.rollout.course = Course::Restoring { again_at: Some(deadline(now, RESTORE_AGAIN)) };
        self.log(Remark::RestoringFailed { slot, again_in: RESTORE_AGAIN });
    }

    /// Whether the child is one of a reload that can be taken back.
    pub(super) fn is_of_canary(&self, child: &Child) -> bool {
        let before = self.slots.get(child.slot).and_then(|slot| slot.before);
        before.is_some_and(|before| before != child.generation)
    }

    /// A child of a reload that can be taken back has failed. It does not count: its generation is taken back.
    pub(super) fn canary_failed(&mut self, now: Instant, child: &Child) {
        let slot = child.slot;
        self.slots.edit(slot).failures = SlotFailures::default();
        if self.revocable_generation() == Some(child.generation) {
            self.roll_back(now, RollbackReason::Failed { slot });
        }
        // Also if another reload is about to replace that canary.
        let before = self.slots[slot].before.unwrap_or(self.slots[slot].generation);
        self.slots.edit(slot).generation = before;
        self.respawn(now, slot);
    }

    /// The slots whose children are to be recycled now.
    fn slots_to_recycle(&self) -> impl Iterator<Item = usize> {
        let is_due = |slot: &Slot| {
            slot.recycle_requested.is_some() && slot.recycle_at.is_none() && slot.successor.is_none()
        };
        self.slots.iter().enumerate().filter_map(move |(index, slot)| is_due(slot).then_some(index))
    }

    /// The children that serve in a fleet that holds: those of the canary, and the others.
    pub(crate) fn canary_groups(&self, now: Instant) -> Option<CanaryGroups> {
        let Course::Holding(Hold { since, .. }) = self.rollout.course else { return None };
        if !self.takes_changes() {
            return None;
        }
        let serving = self.slots.iter().filter_map(|slot| slot.occupant).filter(|id| self.is_serving(*id));
        let is_new = |id: &ChildId| self.children.get(*id).is_some_and(|child| self.is_of_canary(child));
        let (new, old) = serving.partition(is_new);
        let generation = self.rollout.target;
        Some(CanaryGroups { generation, held: now.saturating_duration_since(since), new, old })
    }
}

/// Whether the end of a child is a failure.
pub(super) fn is_failure(phase: Phase, exit: Exit, now: Instant) -> bool {
    match phase {
        Phase::Serving { since } => exit != Exit::Clean || now.duration_since(since) < super::policy::STABLE,
        _ => true,
    }
}
