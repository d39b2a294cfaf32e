//! What holds of templates. The rules of actions are in `template_actions.rs`.
//!
//! In each action:
//!
//! - A template is started when its generation has none, is needed, and has its program. The first one is started when a
//!   child is ordered.
//! - A template that was ready is replaced at once. After one that could not load, or could not be started, there is a
//!   pause of a second, which doubles up to 30 with each in a row; after the second in a row that was ready for less than
//!   ten seconds, a pause of a second at least, unless a child needs one.
//! - An order is sent to a template of its generation that has loaded, was not killed and has less than eight. It is sent
//!   again only when the template has ended in time and has not forked the child, and not once the child is withdrawn.
//! - A template is killed once: when it is late, or its generation is not needed. What an ended template has forked is
//!   killed when its order is late, or its generation is not needed.
//! - An order has one answer: a process; or a failure, because the template has refused it, has ended before it was ready,
//!   or has not answered in time; or none, if it was withdrawn. One that was sent ends without a process only when the
//!   link of the child has ended, or what could end it was killed. A failure is final only where the template could not load,
//!   or has said so.
//! - What is logged is what happens, and each pause is logged once.
//!
//! In each state in which the driver waits:
//!
//! - It has performed all actions, those of the supervisor as well.
//! - The templates that are known are those that live, and are as ready as they are. Each is of a generation of which
//!   children may be started; in a fleet that ends there is none.
//! - No template lives that has not answered an order in time, and nothing that an ended one has forked for a generation
//!   that is not needed.
//! - No order waits beside a template that takes one; each that waits has a template that loads, or a time for it.
//! - Whatever waits for time has a deadline, in 30 seconds or the start timeout at most; and nothing else has one.
//!
//! In each step:
//!
//! - Nothing that a template does ends a fleet that was complete and has a child that serves.
//! - A start whose template cannot load ends.
//! - A reload whose template cannot load, or cannot fork a successor, is aborted. Its old children stay by the rules of
//!   `rules.rs`.
//! - A slot whose child could not be started has one, or an order, once the template of its generation is ready.
//!
//! At rest every template is ready, and no order is open.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Mode, TemplateAction, TemplateId, TemplateState};
use super::super::*;
use super::moves::{Outcome, What};
use super::templates::{OpenOrder, TemplateDriver, TemplateEvent, TemplateProcess, needs_template};
use super::world::World;

/// The shortest and the longest pause before a template is started again.
pub(super) const FIRST_PAUSE: Duration = secs(1);
pub(super) const LONGEST_PAUSE: Duration = secs(30);
/// Two in a row that were ready for less are not replaced at once.
const SHORT_LIFE: Duration = secs(10);
/// How many orders a template has at the same time.
pub(super) const MOST_ORDERS: usize = 8;

/// The end of a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastEnd {
    pub(super) ended_at: Instant,
    pub(super) was_ready: bool,
    /// How many in a row have ended before they were ready, and soon after that.
    failures: u32,
    short_lives: u32,
    /// Whether it could not be started for now.
    pub(super) may_be_later: bool,
    /// Whether the pause after it was logged.
    is_told: bool,
}

impl LastEnd {
    /// How long the next one has to wait, whether a child needs it or not.
    pub(super) fn pause(&self) -> Duration {
        if self.was_ready {
            return Duration::ZERO;
        }
        FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(5)).min(LONGEST_PAUSE)
    }

    /// The next one is ready, which ends a row of failures.
    pub(super) fn note_ready(&mut self) {
        self.failures = 0;
    }

    /// Whether the next one is started at once.
    pub(super) fn is_replaced_at_once(&self) -> bool {
        self.was_ready && self.short_lives < 2
    }
}

impl TemplateDriver {
    pub(super) fn note_end(&mut self, now: Instant, process: TemplateProcess) {
        let TemplateProcess { generation, ready_since, .. } = process;
        let last = self.last_ends.get(&generation);
        let (failures, short_lives) = last.map_or((0, 0), |last| (last.failures, last.short_lives));
        let end = match ready_since {
            Some(since) if now - since < SHORT_LIFE => (0, (short_lives + 1).min(2)),
            Some(_) => (0, 0),
            None => ((failures + 1).min(6), short_lives),
        };
        let (failures, short_lives) = end;
        let was_ready = ready_since.is_some();
        let end =
            LastEnd { ended_at: now, was_ready, failures, short_lives, may_be_later: false, is_told: false };
        self.last_ends.insert(generation, end);
    }

    pub(super) fn note_told(&mut self, generation: u32) {
        let last = self.last_ends.get_mut(&generation).expect("it was checked");
        assert!(!std::mem::replace(&mut last.is_told, true), "the pause is told twice: {last:?}");
    }
}

impl OpenOrder {
    pub(super) fn is_late(&self, now: Instant, timeout: Duration) -> bool {
        now >= self.sent_at + timeout
    }
}

impl World {
    pub(super) fn needs_template(&self, generation: u32) -> bool {
        needs_template(&self.fleet.supervisor, generation)
    }

    /// The children of a generation whose order was not sent.
    pub(super) fn waiting_orders(&self, generation: u32) -> Vec<ChildId> {
        let templates = self.templates.as_ref().expect("the model has templates");
        let children = &self.fleet.supervisor.children;
        let waits = |id: &ChildId| {
            !templates.open.contains_key(id)
                && children.get(*id).is_some_and(|child| child.generation == generation)
        };
        self.fleet.ordered.keys().copied().filter(waits).collect()
    }

    /// What holds whenever the driver waits.
    pub(super) fn check_state_of_templates(&self) {
        let templates = self.templates.as_ref().expect("the model has templates");
        let Supervisor { actions, starts, .. } = &self.fleet.supervisor;
        assert!(actions.is_empty() && starts.is_empty(), "the driver waits with actions: {self:?}");
        let states: BTreeMap<u32, _> =
            templates.machine.states().map(|(of, id, state, at)| (of, (id, state, at))).collect();
        for (id, process) in templates.processes.iter().filter(|(_, process)| !process.killed) {
            let state = states.get(&process.generation);
            let is_known = state.is_some_and(|(known, state, _)| {
                let is_ready = matches!(state, TemplateState::Ready | TemplateState::Forking);
                known == id && *state != TemplateState::Waiting && is_ready == process.is_loaded()
            });
            assert!(is_known, "{process:?} is {state:?}: {self:?}");
        }
        for (generation, (id, state, at)) in &states {
            assert!(self.needs_template(*generation), "a template of {generation} is left: {self:?}");
            let lives = templates.processes.get(id).is_some_and(|process| !process.killed);
            assert_eq!(lives, *state != TemplateState::Waiting, "of {generation}: {self:?}");
            if let Some(at) = at {
                self.check_pause(templates, *generation, *at);
            }
        }
        self.check_open_orders(templates);
        self.check_orders(templates, &states.into_iter().map(|(of, (_, state, _))| (of, state)).collect());
        let timeout = self.fleet.settings.start_timeout;
        let until = templates.machine.next_deadline();
        let waits = !templates.open.is_empty()
            || templates.machine.states().any(|(_, _, state, _)| state != TemplateState::Ready);
        let is_soon = until.is_some_and(|until| until <= self.fleet.now + timeout.max(LONGEST_PAUSE));
        assert_eq!(waits, is_soon, "no time ends a wait, or one does that there is not: {self:?}");
        assert!(templates.machine.next_limit() >= until, "a limit comes before the deadline: {self:?}");
    }

    /// A template waits for its pause only, and that was told.
    fn check_pause(&self, templates: &TemplateDriver, generation: u32, at: Instant) {
        let last = templates.last_ends.get(&generation).expect("it has ended");
        assert!(!last.is_replaced_at_once(), "a template that was ready is not replaced: {self:?}");
        assert!(at <= last.ended_at + LONGEST_PAUSE, "a template waits too long: {self:?}");
        assert!(last.is_told, "the pause is not told: {self:?}");
    }

    /// No template outlives an order that it has not answered in time, and nothing that it has forked outlives the need
    /// for that.
    fn check_open_orders(&self, templates: &TemplateDriver) {
        let (now, timeout) = (self.fleet.now, self.fleet.settings.start_timeout);
        for (child, open) in &templates.open {
            let generation = self.fleet.supervisor.children[*child].generation;
            match templates.processes.get(&open.template) {
                Some(process) => {
                    let waits = process.killed || !open.is_late(now, timeout);
                    assert!(waits, "{process:?} has not answered {open:?}: {self:?}");
                }
                None => {
                    let waits = open.killed || self.needs_template(generation);
                    assert!(waits, "{child:?} may have been forked in vain: {self:?}");
                }
            }
        }
    }

    /// No order waits without reason.
    fn check_orders(&self, templates: &TemplateDriver, states: &BTreeMap<u32, TemplateState>) {
        let generations = self.fleet.ordered.keys().map(|id| self.fleet.supervisor.children[*id].generation);
        for generation in generations.collect::<BTreeSet<u32>>() {
            let waiting = self.waiting_orders(generation);
            if waiting.is_empty() {
                continue;
            }
            let process = templates.processes.iter().find(|(_, process)| {
                process.generation == generation && !process.killed && process.is_loaded()
            });
            let takes_one = process
                .is_some_and(|(id, process)| !process.broken && templates.orders_of(*id).len() < MOST_ORDERS);
            assert!(!takes_one, "{waiting:?} wait beside a template that is ready: {self:?}");
            let last = templates.last_ends.get(&generation);
            let is_due = states.get(&generation) == Some(&TemplateState::Waiting)
                && last.is_some_and(|last| last.was_ready);
            assert!(states.contains_key(&generation) && !is_due, "{waiting:?} wait for nothing: {self:?}");
        }
    }
}

/// What counts of a fleet before a step, for what templates must not do to it.
#[derive(Debug)]
pub(super) struct TemplatesBefore {
    is_running: bool,
    was_started: bool,
    has_serving: bool,
    /// The generation that a reload leads to.
    target: Option<u32>,
    /// The children whose order waits, with their generation.
    waiting: BTreeMap<ChildId, u32>,
    /// The children that were ordered and replace others.
    successors: BTreeSet<ChildId>,
    processes: BTreeMap<TemplateId, TemplateProcess>,
}

impl TemplatesBefore {
    pub(super) fn of(world: &World) -> Option<Self> {
        let (templates, supervisor) = (world.templates.as_ref()?, &world.fleet.supervisor);
        let waiting = world.fleet.ordered.keys().filter(|id| !templates.open.contains_key(id));
        let waiting = waiting.map(|id| (*id, supervisor.children[*id].generation));
        let successors = world.fleet.ordered.keys().filter(|id| supervisor.is_successor(**id));
        Some(Self {
            is_running: matches!(supervisor.mode, Mode::Running),
            was_started: supervisor.started,
            has_serving: supervisor.children.serving() > 0,
            target: supervisor.rollout.interrupted(),
            waiting: waiting.collect(),
            successors: successors.copied().collect(),
            processes: templates.processes.clone(),
        })
    }

    pub(super) fn check(&self, world: &World, what: What) {
        let supervisor = &world.fleet.supervisor;
        let templates = world.templates.as_ref().expect("the model has templates");
        for action in &templates.actions {
            if let TemplateAction::Fail { order, .. } = action {
                let is_of_reload =
                    self.successors.contains(&order.child) && self.target == Some(order.generation);
                let goes_on = supervisor.rollout.interrupted() == Some(order.generation);
                assert!(!is_of_reload || !goes_on, "a reload goes on that has failed: {world:?}");
            }
        }
        let What::Template(event) = what else { return };
        if world.fleet.failing_hook.is_some() || !self.is_running {
            return;
        }
        if self.was_started && self.has_serving {
            assert!(supervisor.is_active(), "{event:?} ends a fleet that serves: {world:?}");
        }
        match event {
            TemplateEvent::Loaded(id) if templates.outcome() == Outcome::Well => {
                let generation = self.processes[&id].generation;
                let waits = supervisor.slots.iter().any(|slot| {
                    slot.unstartable && slot.generation == generation && slot.respawn_at.is_some()
                });
                assert!(!waits, "a slot waits beside a template that is ready: {world:?}");
            }
            TemplateEvent::Ended { template, .. } => self.check_load(world, &self.processes[&template]),
            _ => {}
        }
    }

    /// The start of a fleet fails with the load.
    fn check_load(&self, world: &World, process: &TemplateProcess) {
        let supervisor = &world.fleet.supervisor;
        let is_alone = supervisor.fleet_size() == world.fleet.settings.workers;
        let has_failed = !process.is_loaded() && !process.killed;
        let generation = process.generation;
        let waits = self.waiting.iter().any(|(id, of)| *of == generation && !self.successors.contains(id));
        if has_failed && waits && is_alone && !self.was_started {
            assert!(!supervisor.is_active(), "a start goes on whose load has failed: {world:?}");
        }
    }
}
