//! The program is asked about the new children of a reload that holds.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Master;
use super::messages::any_fleet;
use crate::hooks::{self, Canary, CanaryGroup, CanaryVerdict};
use crate::shared::{LanePlace, Mark};
use crate::supervisor::{ChildId, Event, FleetState, NotHeld, Request};
use crate::sys;

/// What is kept while a reload holds.
#[derive(Debug, Default)]
pub(super) struct CanaryWatch {
    /// What each of the old children had counted when the hold began.
    marks: BTreeMap<ChildId, Mark>,
    /// Why the program asks for a rollback.
    pub(super) reason: Option<String>,
}

impl Master {
    /// A hold has begun: notes what the old children have counted so far.
    pub(super) fn watch_canary(&mut self) {
        let groups = self.supervisor.canary_groups(Instant::now());
        let old = groups.into_iter().flat_map(|groups| groups.old);
        let mark = |child: ChildId| Some((child, self.values.mark(self.lane_of(child)?)?));
        self.canary.marks = old.filter_map(mark).collect();
    }

    /// Completes a reload that holds.
    ///
    /// # Errors
    ///
    /// Why there is nothing to promote, which is logged as well.
    pub(super) fn promote(&mut self) -> Result<(), String> {
        self.handle_ends();
        let refusal = self.supervisor.why_not_promoted();
        self.end_hold(Request::Promote, refusal)
    }

    /// Takes back a reload that holds.
    ///
    /// # Errors
    ///
    /// Why there is nothing to take back, which is logged as well.
    pub(super) fn roll_back(&mut self) -> Result<(), String> {
        let refusal = self.supervisor.why_not_rolled_back();
        self.end_hold(Request::Rollback, refusal)
    }

    /// The supervisor logs a refusal.
    fn end_hold(&mut self, request: Request, refusal: Option<NotHeld>) -> Result<(), String> {
        self.supervisor.handle(Instant::now(), Event::Request(request));
        refusal.map_or(Ok(()), |reason| Err(any_fleet::nothing_held(request, reason)))
    }

    /// Handles the ends of children: a promotion does not overtake the death of a child that it is about.
    fn handle_ends(&mut self) {
        // An error comes again at the next wait.
        for event in self.reactor.take_ended().unwrap_or_default() {
            self.on_event(event);
        }
    }

    /// Forgets what is not needed any more.
    pub(super) fn forget_canary(&mut self) {
        if self.supervisor.state() != FleetState::Holding {
            self.canary.marks.clear();
        }
    }

    /// Asks the program, and follows its answer.
    pub(super) fn ask_canary(&mut self) {
        let Some(hook) = self.plan.hooks.on_canary.clone() else { return };
        let Some(groups) = self.supervisor.canary_groups(Instant::now()) else { return };
        let (new, old) = (self.group_of(&groups.new), self.group_of(&groups.old));
        let canary = Canary::new(new, old, groups.held, groups.generation);
        // The hook may rely on new connections being steered to the children that it sees.
        self.reconcile();
        let _guard = sys::TerminalGuard::begin();
        let reason = match hooks::run(|| hook(&canary)) {
            Ok(CanaryVerdict::Hold) => return,
            Ok(CanaryVerdict::Promote) => {
                self.report_promoted_by_hook();
                // If the hold has ended meanwhile, that is logged.
                let _ = self.promote();
                return;
            }
            Ok(CanaryVerdict::RollBack(reason)) => reason,
            Err(failure) => hooks::reason_of(&failure),
        };
        self.canary.reason = Some(reason);
        self.supervisor.handle(Instant::now(), Event::CanaryRefused);
    }

    fn group_of(&self, children: &[ChildId]) -> CanaryGroup {
        let lanes = children.iter().filter_map(|child| {
            let mark = self.canary.marks.get(child);
            self.lane_of(*child).map(|lane| (lane, mark))
        });
        CanaryGroup::new(children.len(), self.values.of_group(&lanes.collect::<Vec<_>>()))
    }

    fn lane_of(&self, child: ChildId) -> Option<LanePlace> {
        self.children.get(&child)?.lane
    }
}
