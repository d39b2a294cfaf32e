//! A fleet to which one thing happens at a time. The driver is that of `virtual_fleet.rs`, whose agenda is empty:
//! what its children do, and when an order is answered, is a step of its own.

use std::collections::BTreeMap;
use std::fmt;

use super::super::*;
use super::moves::{Moves, Outcome, Step, What, part_of, part_where_all_failures_count, well};
use super::rules::Before;
use super::template_rules::TemplatesBefore;
use super::templates::TemplateDriver;
use crate::explorer::Model;
use crate::explorer::form::form_of;
use crate::supervisor::FleetState;
use crate::supervisor::policy::{Counted, STABLE};

/// What a child has done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deeds {
    /// It has said that it is ready, or has answered.
    pub(super) ready: bool,
    /// Its link is closed or abused, or was never taken: it says nothing more.
    pub(super) silent: bool,
    /// It is about to end.
    pub(super) doomed: bool,
    /// Its order was withdrawn.
    pub(super) withdrawn: bool,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) moves: Moves,
    pub(super) deeds: BTreeMap<ChildId, Deeds>,
    /// Those that fork the children, if any do.
    pub(super) templates: Option<TemplateDriver>,
    /// Whether actions are left to perform.
    pub(super) busy: bool,
    /// Whether `on_master_ready` was called in this program.
    pub(super) announced: bool,
}

/// Longer than a template may load, or take for an answer, and as long as it has to be ready for a long life.
const LONG_PAUSE: Duration = secs(11);
/// Longer than all steps of an exploration take together.
const NEVER: Duration = secs(1_000_000);

impl World {
    /// A fleet whose first children are to be started.
    pub(super) fn new(settings: Settings, moves: Moves) -> Self {
        let mut fleet = Fleet::new(settings);
        fleet.nature = Nature {
            told_after: if moves.forks || moves.templates { LONGEST_FORK } else { Duration::ZERO },
            ready: None,
            stop: None,
            ..WELL
        };
        fleet.queue = NEVER;
        let templates = moves.templates.then(|| TemplateDriver::new(settings.start_timeout));
        let deeds = BTreeMap::new();
        let mut world = Self { fleet, moves, deeds, templates, busy: false, announced: false };
        world.perform();
        world
    }

    /// A fleet whose children serve, and are stable.
    pub(super) fn serving(settings: Settings, moves: Moves) -> Self {
        Self::new(settings, moves).at_rest()
    }

    /// After all went well, and its children are stable.
    pub(super) fn at_rest(self) -> Self {
        self.friend().then(What::Pause)
    }

    pub(super) fn friend(mut self) -> Self {
        let is_at_hold = |world: &Self| world.fleet.supervisor.state() == FleetState::Holding;
        while let Some(step) = self.friendly().filter(|_| !is_at_hold(&self)) {
            self.take(step);
        }
        self
    }

    /// After this request, which was carried out as far as it can be without a child.
    pub(super) fn after(self, request: Request) -> Self {
        self.then(What::Event(Event::Request(request)))
    }

    pub(super) fn then(mut self, what: What) -> Self {
        self.take(well(what));
        self
    }

    pub(super) fn deeds(&self, child: ChildId) -> Deeds {
        self.deeds.get(&child).copied().unwrap_or_default()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let of_templates = self.templates.as_ref().and_then(|templates| templates.machine.next_deadline());
        [self.fleet.supervisor.next_deadline(), of_templates].into_iter().flatten().min()
    }

    pub(super) fn is_doomed(&self, child: ChildId) -> bool {
        self.deeds(child).doomed
    }

    /// Whether the child has to become ready, or to end because it has no link.
    pub(super) fn is_awaited(&self, child: ChildId) -> bool {
        let Deeds { ready, silent, .. } = self.deeds(child);
        !ready || silent
    }

    /// Something happens, and in a whole turn what follows from it.
    fn happen(&mut self, what: What) {
        match what {
            What::Event(Event::Withdrawn(child)) => {
                self.fleet.ordered.remove(&child);
                self.fleet.supervisor.handle(self.fleet.now, Event::Withdrawn(child));
            }
            What::Event(event) => self.fleet.deliver(event),
            What::Size(workers) => {
                let settings = Settings { workers, ..self.fleet.settings };
                self.fleet.deliver(Event::SettingsChanged(settings));
            }
            What::Template(event) => self.on_template(event),
            What::Deadline => self.fleet.now = self.next_deadline().expect("offered only with a deadline"),
            What::Pause if self.templates.is_some() => self.fleet.now += LONG_PAUSE,
            What::Pause => self.fleet.now += STABLE * 2,
            What::Act => return self.perform(),
        }
        if self.moves.between_actions {
            self.busy = true;
        }
        // The driver does so at the end of each turn.
        if matches!(what, What::Deadline | What::Pause) || !self.moves.between_actions {
            self.check_templates();
            self.fleet.supervisor.handle(self.fleet.now, Event::DeadlinePassed);
            let overdue = self.fleet.supervisor.next_deadline().filter(|at| *at <= self.fleet.now);
            assert_eq!(overdue, None, "a deadline that has passed must not come back: {:?}", self.fleet);
        }
        if !self.moves.between_actions {
            self.perform();
        }
    }

    /// Performs one action, or all of the turn.
    fn perform(&mut self) {
        let acts = self.moves.between_actions && self.fleet.act_once();
        let supervisor = &self.fleet.supervisor;
        if !acts || (supervisor.actions.is_empty() && supervisor.starts.is_empty()) {
            self.act_with_templates();
            self.fleet.act();
            self.busy = false;
        }
    }

    fn prepare(&mut self, outcome: Outcome) {
        if let Some(templates) = &mut self.templates {
            templates.prepare(self.fleet.supervisor.is_active(), outcome);
        }
        let fleet = &mut self.fleet;
        fleet.told = fleet.history.len();
        fleet.exec_works = matches!(outcome, Outcome::Exec { .. });
        fleet.moved = outcome == Outcome::Exec { moved: true };
        fleet.failing_hook = (outcome == Outcome::HookFails).then_some(fleet.hooks + 1);
        fleet.answer = None;
        match outcome {
            Outcome::StartFails { transient } => {
                let start = if transient { Start::FailsForNow } else { Start::FailsForGood };
                let nature = Nature { start, ..fleet.nature };
                // The first one whose answer comes now.
                let first = fleet.supervisor.next_id;
                let pending = fleet.supervisor.starts.front().map(|start| start.child.0);
                fleet.natures = BTreeMap::from([(pending.unwrap_or(first), nature)]);
            }
            Outcome::Empty => (fleet.queue, fleet.emptied_at) = (Duration::ZERO, fleet.now),
            Outcome::Answer(answer) => fleet.answer = Some(answer),
            Outcome::Well
            | Outcome::HookFails
            | Outcome::Exec { .. }
            | Outcome::NotSent
            | Outcome::TemplateNotStarted { .. } => {}
        }
    }

    /// Notes what the children have done, and what was done to them.
    fn note(&mut self, what: What) {
        if let What::Event(event) = what {
            match event {
                Event::Ready(id) | Event::Checked(id) => self.deeds.entry(id).or_default().ready = true,
                Event::LinkClosed(id) | Event::LinkAbused(id) | Event::HandshakeRefused(id) => {
                    self.deeds.entry(id).or_default().silent = true
                }
                Event::Hangs(id) => self.deeds.entry(id).or_default().doomed = true,
                _ => {}
            }
        }
        for (_, action) in &self.fleet.history[self.fleet.told..] {
            match action {
                Action::KillFailed(id) => self.deeds.entry(*id).or_default().doomed = true,
                Action::Withdraw(id) => self.deeds.entry(*id).or_default().withdrawn = true,
                // The next program gives the number of a child that was not started again.
                Action::Exec => self.deeds.values_mut().for_each(|deeds| deeds.withdrawn = false),
                _ => {}
            }
        }
        let Fleet { processes, ordered, .. } = &self.fleet;
        self.deeds.retain(|id, _| processes.contains_key(id) || ordered.contains_key(id));
        // What is about to end does nothing else.
        for (id, deeds) in &mut self.deeds {
            if deeds.doomed || processes.get(id).is_some_and(|process| process.killed) {
                *deeds = Deeds { doomed: true, ..Deeds::default() };
            }
        }
        self.fleet.agenda.clear();
        self.fleet.natures.clear();
        self.fleet.queue = NEVER;
    }

    /// The next program finds out which links are closed.
    fn tell_of_closed_links(&mut self) {
        let silent = self.deeds.iter().filter(|(_, deeds)| deeds.silent);
        for id in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.fleet.deliver(Event::LinkClosed(id));
        }
        self.perform();
    }

    pub(super) fn has_done(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.fleet.history[self.fleet.told..].iter().any(|(_, action)| wanted(action))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}\ntemplates: {:?}", self.fleet, self.templates)
    }
}

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.fleet.verdict.is_none() {
            if self.templates.is_some() {
                self.add_steps_of_templates(&mut steps);
            } else {
                self.add_answers(&mut steps);
            }
            self.fleet.processes.keys().for_each(|id| self.add_steps_of(*id, &mut steps));
            self.add_requests(&mut steps);
            if self.busy {
                steps.push(What::Act);
            } else {
                let deadline = self.next_deadline();
                steps.extend(deadline.map(|_| What::Deadline));
                steps.push(What::Pause);
            }
        }
        steps.into_iter().map(well).collect()
    }

    fn take(&mut self, Step { what, outcome }: Step) -> Vec<Step> {
        let (before, templates_before) = (Before::of(self), TemplatesBefore::of(self));
        let (spawned, hooks) = (self.fleet.spawned, self.fleet.hooks);
        self.prepare(outcome);
        if let (What::Event(Event::Spawned { child, .. }), Outcome::StartFails { .. }) = (what, outcome) {
            let (_, nature) = self.fleet.natures.pop_first().expect("it was prepared");
            self.fleet.natures.insert(child.0, nature);
        }
        self.happen(what);
        self.note(what);
        if self.fleet.exec_works && self.has_done(|action| *action == Action::Exec) {
            self.tell_of_closed_links();
        }
        if !self.moves.between_actions {
            let event = if let What::Event(event) = what { Some(event) } else { None };
            before.check(self, event);
        }
        if let Some(before) = templates_before {
            before.check(self, what);
        }
        let others = if outcome == Outcome::Well {
            self.other_outcomes(self.fleet.spawned > spawned, hooks)
        } else {
            Vec::new()
        };
        others.into_iter().map(|outcome| Step { what, outcome }).collect()
    }

    fn form(&self) -> u64 {
        let Fleet { supervisor, processes, ordered, leaders, closed, verdict, now, .. } = &self.fleet;
        let asked =
            processes.iter().map(|(id, process)| (*id, process.slot, process.terminated, process.killed));
        let asked: Vec<_> = asked.collect();
        let leadership = (&leaders.waiting, leaders.holder);
        let state = (
            supervisor,
            &self.deeds,
            asked,
            ordered,
            leadership,
            self.templates.as_ref().map(TemplateDriver::lasting),
            (closed, verdict, self.busy, self.announced),
        );
        let counts_all = self.fleet.settings.recover.counted == Counted::All;
        form_of(*now, &state, if counts_all { part_where_all_failures_count } else { part_of })
    }

    fn friendly(&self) -> Option<Step> {
        if self.busy {
            return Some(well(What::Act));
        }
        if let Some(answer) = self.friendly_answer() {
            return Some(well(answer));
        }
        let of_children = self.fleet.processes.keys().find_map(|id| self.friendly_step_of(*id));
        if let Some(what) = of_children.filter(|_| self.fleet.verdict.is_none()) {
            return Some(well(what));
        }
        if self.is_settled() {
            return None;
        }
        let waits = self.next_deadline().is_some();
        assert!(waits, "it waits for nothing: {:?}", self.fleet);
        Some(well(What::Deadline))
    }
}
