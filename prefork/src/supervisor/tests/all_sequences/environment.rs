//! What can happen to a fleet next, and what a friendly environment does.

use super::super::*;
use super::moves::{ChildEvent, Outcome, What};
use super::templates::TemplateDriver;
use super::world::{Deeds, World};
use crate::supervisor::{FleetState, Mode};

impl World {
    /// What this child can do next.
    pub(super) fn add_steps_of(&self, id: ChildId, steps: &mut Vec<What>) {
        let process = &self.fleet.processes[&id];
        let Deeds { ready, silent, doomed, .. } = self.deeds(id);
        if process.killed || doomed {
            return steps.push(What::Event(Event::Exited { child: id, exit: Exit::Signalled }));
        }
        let says = |event: &ChildEvent| !silent && self.moves.child_events.contains(event);
        if says(&ChildEvent::Lead) {
            let leaders = &self.fleet.leaders;
            let asks = ready && leaders.holder != Some(id) && !leaders.waiting.contains(&id);
            steps.extend((asks && !process.terminated).then_some(What::Event(Event::Candidate(id))));
            steps.extend((leaders.holder == Some(id)).then_some(What::Event(Event::Resigned(id))));
        }
        steps.extend(says(&ChildEvent::Abuse).then_some(What::Event(Event::LinkAbused(id))));
        // Its message may cross the order to stop.
        let says_so = !ready && !silent && (!process.terminated || !self.moves.child_events.is_empty());
        steps.extend(says_so.then(|| self.is_good(id)));
        if process.terminated {
            return steps.push(What::Event(Event::Exited { child: id, exit: Exit::Clean }));
        }
        let exits = self.moves.exits.iter();
        steps.extend(exits.map(|exit| What::Event(Event::Exited { child: id, exit: *exit })));
        let is_check = self.fleet.supervisor.is_upgrade_check(id);
        steps.extend((is_check && !silent).then_some(What::Event(Event::UpgradeRefused)));
        steps.extend(
            (!ready && says(&ChildEvent::Refuse)).then_some(What::Event(Event::HandshakeRefused(id))),
        );
        steps.extend(says(&ChildEvent::Close).then_some(What::Event(Event::LinkClosed(id))));
        steps.extend((ready && says(&ChildEvent::Hang)).then_some(What::Event(Event::Hangs(id))));
        if ready && !silent {
            let reasons = self.moves.child_events.iter().filter_map(|event| match event {
                ChildEvent::Recycle(reason) => Some(What::Event(Event::RecycleRequested(id, *reason))),
                _ => None,
            });
            steps.extend(reasons);
        }
    }

    /// What the child says if all is well with it.
    fn is_good(&self, id: ChildId) -> What {
        let is_check = self.fleet.supervisor.is_upgrade_check(id);
        What::Event(if is_check { Event::Checked(id) } else { Event::Ready(id) })
    }

    /// What those who start the children can answer.
    pub(super) fn add_answers(&self, steps: &mut Vec<What>) {
        for id in self.fleet.ordered.keys() {
            steps.push(What::Event(Event::Spawned { child: *id, pid: 0 }));
            steps.extend(self.deeds(*id).withdrawn.then_some(What::Event(Event::Withdrawn(*id))));
        }
        let retried = self.fleet.supervisor.slots.iter().find(|slot| slot.unstartable);
        steps.extend(retried.map(|slot| What::Event(Event::TemplateReady { generation: slot.generation })));
    }

    pub(super) fn add_requests(&self, steps: &mut Vec<What>) {
        let changes = self.fleet.supervisor.takes_changes();
        let ends = |request: &Request| matches!(request, Request::Stop | Request::Quit);
        let requests = self.moves.requests.iter().filter(|request| changes || ends(request));
        steps.extend(requests.map(|request| What::Event(Event::Request(*request))));
        let present = self.fleet.settings.workers;
        let sizes = self.moves.sizes.iter().filter(|size| changes && **size != present);
        steps.extend(sizes.map(|size| What::Size(*size)));
    }

    /// What could have turned out otherwise in a step in which all went well.
    pub(super) fn other_outcomes(&self, started: bool, hooks: usize) -> Vec<Outcome> {
        let mut others = self.other_outcomes_of_templates();
        if started && self.templates.is_none() {
            others.push(Outcome::StartFails { transient: true });
            // Later it makes no difference.
            let starting = self.fleet.supervisor.state() == FleetState::Starting;
            others.extend(starting.then_some(Outcome::StartFails { transient: false }));
        }
        others.extend((self.fleet.hooks > hooks).then_some(Outcome::HookFails));
        if self.has_done(|action| *action == Action::Exec) {
            others.extend([Outcome::Exec { moved: false }, Outcome::Exec { moved: true }]);
        }
        others
            .extend(matches!(self.fleet.supervisor.mode, Mode::DrainQueues { .. }).then_some(Outcome::Empty));
        if self.has_done(|action| *action == Action::AskCanary) {
            let answers = [Event::CanaryRefused, Event::Request(Request::Promote)];
            others.extend(answers.map(Outcome::Answer));
        }
        others
    }

    /// Whether a fleet that is left alone stays as it is.
    pub(super) fn is_settled(&self) -> bool {
        let fleet = &self.fleet;
        let holds = fleet.supervisor.status(fleet.now).hold.is_some_and(|hold| hold.until.is_none());
        let is_whole = fleet.is_complete() && fleet.processes.len() == fleet.supervisor.fleet_size();
        let is_well = self.deeds.values().all(|deeds| !deeds.silent && !deeds.doomed);
        let serves = fleet.supervisor.state() == FleetState::Serving;
        let is_quiet =
            fleet.ordered.is_empty() && self.templates.as_ref().is_none_or(TemplateDriver::is_settled);
        fleet.verdict.is_some() || (is_whole && is_well && is_quiet && (serves || holds))
    }

    /// What is told next of an order, on the way to rest.
    pub(super) fn friendly_answer(&self) -> Option<What> {
        if let Some(templates) = &self.templates {
            let event = templates.friendly(self.moves.stubborn);
            return event.filter(|_| self.fleet.verdict.is_none()).map(What::Template);
        }
        let (id, _) = self.fleet.ordered.first_key_value()?;
        let is_withdrawn = self.deeds(*id).withdrawn;
        Some(What::Event(if is_withdrawn {
            Event::Withdrawn(*id)
        } else {
            Event::Spawned { child: *id, pid: 0 }
        }))
    }

    /// What this child does on the way to rest.
    pub(super) fn friendly_step_of(&self, id: ChildId) -> Option<What> {
        let process = &self.fleet.processes[&id];
        let Deeds { ready, silent, doomed, .. } = self.deeds(id);
        let exited = |exit| Some(What::Event(Event::Exited { child: id, exit }));
        match process.terminated {
            _ if process.killed || doomed => exited(Exit::Signalled),
            true if self.moves.stubborn => None,
            true => exited(Exit::Clean),
            false => (!ready && !silent).then(|| self.is_good(id)),
        }
    }
}
