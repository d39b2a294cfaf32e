//! What can happen to a fleet, one thing at a time. The driver is that of `virtual_fleet.rs`, whose agenda is empty:
//! what its children do, and when an order is answered, is a step of its own.

use std::collections::BTreeMap;

use super::super::*;
use super::moves::{Moves, Outcome, Step, What, Word, part_of, part_where_all_failures_count, well};
use super::rules::Before;
use crate::explorer::Model;
use crate::explorer::form::form_of;
use crate::supervisor::policy::{Counted, STABLE};
use crate::supervisor::{FleetState, Mode};

/// What a child has done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deeds {
    /// It has said that it is ready, or has answered.
    ready: bool,
    /// Its link is closed or abused, or was never taken: it says nothing more.
    silent: bool,
    /// It is about to end.
    doomed: bool,
    /// Its order was withdrawn.
    withdrawn: bool,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    moves: Moves,
    deeds: BTreeMap<ChildId, Deeds>,
    /// Whether actions are left to perform.
    busy: bool,
    /// Whether `on_master_ready` was called in this program.
    pub(super) announced: bool,
}

/// Longer than all steps of an exploration take together.
const NEVER: Duration = secs(1_000_000);

impl World {
    /// A fleet whose first children are to be started.
    pub(super) fn new(settings: Settings, moves: Moves) -> Self {
        let mut fleet = Fleet::new(settings);
        fleet.nature = Nature {
            told_after: if moves.forks { LONGEST_FORK } else { Duration::ZERO },
            ready: None,
            stop: None,
            ..WELL
        };
        fleet.queue = NEVER;
        let mut world = Self { fleet, moves, deeds: BTreeMap::new(), busy: false, announced: false };
        world.perform();
        world
    }

    /// A fleet whose children serve, and are stable.
    pub(super) fn serving(settings: Settings, moves: Moves) -> Self {
        Self::new(settings, moves).at_rest()
    }

    /// After all went well, and its children are stable.
    pub(super) fn at_rest(mut self) -> Self {
        self = self.friend();
        self.take(well(What::Pause));
        self
    }

    pub(super) fn friend(mut self) -> Self {
        let is_at_hold = |world: &Self| world.fleet.supervisor.state() == FleetState::Holding;
        while let Some(step) = self.friendly().filter(|_| !is_at_hold(&self)) {
            self.take(step);
        }
        self
    }

    /// After this request, which was carried out as far as it can be without a child.
    pub(super) fn after(mut self, request: Request) -> Self {
        self.take(well(What::Event(Event::Request(request))));
        self
    }

    fn deeds(&self, child: ChildId) -> Deeds {
        self.deeds.get(&child).copied().unwrap_or_default()
    }

    pub(super) fn is_doomed(&self, child: ChildId) -> bool {
        self.deeds(child).doomed
    }

    /// Whether the child has to become ready, or to end because it has no link.
    pub(super) fn is_awaited(&self, child: ChildId) -> bool {
        let Deeds { ready, silent, .. } = self.deeds(child);
        !ready || silent
    }

    /// What this child can do next.
    fn add_steps_of(&self, id: ChildId, steps: &mut Vec<What>) {
        let process = &self.fleet.processes[&id];
        let Deeds { ready, silent, doomed, .. } = self.deeds(id);
        if process.killed || doomed {
            return steps.push(What::Event(Event::Exited { child: id, exit: Exit::Signalled }));
        }
        let says = |word: &Word| !silent && self.moves.words.contains(word);
        if says(&Word::Lead) {
            let leaders = &self.fleet.leaders;
            let asks = ready && leaders.holder != Some(id) && !leaders.waiting.contains(&id);
            steps.extend((asks && !process.terminated).then_some(What::Event(Event::Candidate(id))));
            steps.extend((leaders.holder == Some(id)).then_some(What::Event(Event::Resigned(id))));
        }
        steps.extend(says(&Word::Abuse).then_some(What::Event(Event::LinkAbused(id))));
        // Its message may cross the order to stop.
        let says_so = !ready && !silent && (!process.terminated || !self.moves.words.is_empty());
        steps.extend(says_so.then(|| self.is_good(id)));
        if process.terminated {
            return steps.push(What::Event(Event::Exited { child: id, exit: Exit::Clean }));
        }
        let exits = self.moves.exits.iter();
        steps.extend(exits.map(|exit| What::Event(Event::Exited { child: id, exit: *exit })));
        let is_check = self.fleet.supervisor.is_upgrade_check(id);
        steps.extend((is_check && !silent).then_some(What::Event(Event::UpgradeRefused)));
        steps.extend((!ready && says(&Word::Refuse)).then_some(What::Event(Event::HandshakeRefused(id))));
        steps.extend(says(&Word::Close).then_some(What::Event(Event::LinkClosed(id))));
        steps.extend((ready && says(&Word::Hang)).then_some(What::Event(Event::Hangs(id))));
        if ready && !silent {
            let reasons = self.moves.words.iter().filter_map(|word| match word {
                Word::Recycle(reason) => Some(What::Event(Event::RecycleRequested(id, *reason))),
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

    fn add_answers(&self, steps: &mut Vec<What>) {
        for id in self.fleet.ordered.keys() {
            steps.push(What::Event(Event::Spawned { child: *id, pid: 0 }));
            steps.extend(self.deeds(*id).withdrawn.then_some(What::Event(Event::Withdrawn(*id))));
        }
        let retried = self.fleet.supervisor.slots.iter().find(|slot| slot.unstartable);
        steps.extend(retried.map(|slot| What::Event(Event::TemplateReady { generation: slot.generation })));
    }

    fn add_requests(&self, steps: &mut Vec<What>) {
        let changes = self.fleet.supervisor.takes_changes();
        let ends = |request: &Request| matches!(request, Request::Stop | Request::Quit);
        let requests = self.moves.requests.iter().filter(|request| changes || ends(request));
        steps.extend(requests.map(|request| What::Event(Event::Request(*request))));
        let present = self.fleet.settings.workers;
        let sizes = self.moves.sizes.iter().filter(|size| changes && **size != present);
        steps.extend(sizes.map(|size| What::Size(*size)));
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
            What::Deadline => {
                self.fleet.now = self.fleet.supervisor.next_deadline().expect("offered only with a deadline");
            }
            What::Pause => self.fleet.now += STABLE * 2,
            What::Act => return self.perform(),
        }
        if self.moves.between_actions {
            self.busy = true;
        }
        // The driver does so at the end of each turn.
        if matches!(what, What::Deadline | What::Pause) || !self.moves.between_actions {
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
        if !acts || self.fleet.supervisor.actions.is_empty() {
            self.fleet.act();
            self.busy = false;
        }
    }

    fn prepare(&mut self, outcome: Outcome) {
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
                let pending = fleet.supervisor.actions.iter().find_map(|action| match action {
                    Action::Spawn { child, .. } => Some(child.0),
                    _ => None,
                });
                fleet.natures = BTreeMap::from([(pending.unwrap_or(first), nature)]);
            }
            Outcome::Empty => (fleet.queue, fleet.emptied_at) = (Duration::ZERO, fleet.now),
            Outcome::Answer(answer) => fleet.answer = Some(answer),
            Outcome::Well | Outcome::HookFails | Outcome::Exec { .. } => {}
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

    /// What could have turned out otherwise in a step in which all went well.
    fn other_outcomes(&self, started: bool, hooks: usize) -> Vec<Outcome> {
        let mut others = Vec::new();
        if started {
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
    fn is_settled(&self) -> bool {
        let fleet = &self.fleet;
        let holds = fleet.supervisor.status(fleet.now).hold.is_some_and(|hold| hold.until.is_none());
        let is_whole = fleet.is_complete() && fleet.processes.len() == fleet.supervisor.fleet_size();
        let is_well = self.deeds.values().all(|deeds| !deeds.silent && !deeds.doomed);
        let serves = fleet.supervisor.state() == FleetState::Serving;
        fleet.verdict.is_some() || (is_whole && is_well && fleet.ordered.is_empty() && (serves || holds))
    }

    /// What this child does on the way to rest.
    fn friendly_step_of(&self, id: ChildId) -> Option<What> {
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

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.fleet.verdict.is_none() {
            self.add_answers(&mut steps);
            self.fleet.processes.keys().for_each(|id| self.add_steps_of(*id, &mut steps));
            self.add_requests(&mut steps);
            if self.busy {
                steps.push(What::Act);
            } else {
                let deadline = self.fleet.supervisor.next_deadline();
                steps.extend(deadline.map(|_| What::Deadline));
                steps.push(What::Pause);
            }
        }
        steps.into_iter().map(well).collect()
    }

    fn take(&mut self, Step { what, outcome }: Step) -> Vec<Step> {
        let before = Before::of(self);
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
            (closed, verdict, self.busy, self.announced),
        );
        let counts_all = self.fleet.settings.recover.counted == Counted::All;
        form_of(*now, &state, if counts_all { part_where_all_failures_count } else { part_of })
    }

    fn friendly(&self) -> Option<Step> {
        if self.busy {
            return Some(well(What::Act));
        }
        if let Some((id, _)) = self.fleet.ordered.first_key_value() {
            let answer = if self.deeds(*id).withdrawn {
                Event::Withdrawn(*id)
            } else {
                Event::Spawned { child: *id, pid: 0 }
            };
            return Some(well(What::Event(answer)));
        }
        let of_children = self.fleet.processes.keys().find_map(|id| self.friendly_step_of(*id));
        if let Some(what) = of_children.filter(|_| self.fleet.verdict.is_none()) {
            return Some(well(what));
        }
        if self.is_settled() {
            return None;
        }
        let waits = self.fleet.supervisor.next_deadline().is_some();
        assert!(waits, "it waits for nothing: {:?}", self.fleet);
        Some(well(What::Deadline))
    }
}
