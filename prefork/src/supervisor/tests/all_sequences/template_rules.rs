//! What holds of templates.
//!
//! In each action:
//!
//! - A template is started when its generation has none, is needed, and has its program. The first one is started when a
//!   child is ordered.
//! - A template that was ready is replaced at once. After one that could not load, or could not be started, there is a
//!   pause of a second, which doubles up to 30 with each in a row; after the second in a row that was ready for less than
//!   ten seconds, a pause of a second at least, unless a child needs one.
//! - An order is sent to a template of its generation that has loaded, was not killed and has less than eight. It is sent
//!   again only when the template has ended and has not forked the child, and not once the child is withdrawn.
//! - A template is killed once: when it is late, or its generation is not needed. What an ended template has forked is
//!   killed when its order is late, or its generation is not needed.
//! - An order has one answer: a process; or a failure, because the template has refused it, has ended before it was ready,
//!   or has not answered in time; or none, if it was withdrawn. A failure is final only where the template could not load,
//!   or has said so.
//! - What is logged is what happens, and each pause is logged once.
//!
//! In each state in which the driver waits:
//!
//! - It has performed all actions, those of the supervisor as well.
//! - The templates that are known are those that live, and are as ready as they are. Each is of a generation of which
//!   children may be started; in a fleet that ends there is none.
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

use super::super::super::{Mode, Order, Refusal, TemplateAction, TemplateId, TemplateRemark, TemplateState};
use super::super::*;
use super::moves::{Outcome, What};
use super::templates::{OpenOrder, TemplateDriver, TemplateEvent, TemplateProcess, needs_template};
use super::world::World;

/// The shortest and the longest pause before a template is started again.
const FIRST_PAUSE: Duration = secs(1);
const LONGEST_PAUSE: Duration = secs(30);
/// Two in a row that were ready for less are not replaced at once.
const SHORT_LIFE: Duration = secs(10);
/// How many orders a template has at the same time.
const MOST_ORDERS: usize = 8;

/// The end of a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastEnd {
    ended_at: Instant,
    was_ready: bool,
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
    fn pause(&self) -> Duration {
        if self.was_ready {
            return Duration::ZERO;
        }
        FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(5)).min(LONGEST_PAUSE)
    }

    /// Whether the next one is started at once.
    fn is_replaced_at_once(&self) -> bool {
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
    fn is_late(&self, now: Instant, timeout: Duration) -> bool {
        now >= self.sent_at + timeout
    }
}

impl World {
    fn needs_template(&self, generation: u32) -> bool {
        needs_template(&self.fleet.supervisor, generation)
    }

    /// The children of a generation whose order was not sent.
    fn waiting_orders(&self, generation: u32) -> Vec<ChildId> {
        let templates = self.templates.as_ref().expect("the model has templates");
        let children = &self.fleet.supervisor.children;
        let waits = |id: &ChildId| {
            !templates.open.contains_key(id)
                && children.get(*id).is_some_and(|child| child.generation == generation)
        };
        self.fleet.ordered.keys().copied().filter(waits).collect()
    }

    pub(super) fn check_template_action(&self, action: &TemplateAction) {
        let templates = self.templates.as_ref().expect("the model has templates");
        match action {
            TemplateAction::Start { generation, .. } => self.check_template_start(templates, *generation),
            TemplateAction::Fork { template, order } => self.check_fork(templates, *template, *order),
            TemplateAction::Kill(template) => self.check_template_kill(templates, *template),
            TemplateAction::KillForked(template) => self.check_kill_of_forked(templates, *template),
            TemplateAction::TakeBack(child) => {
                let open = templates.open.get(child).expect("an order that was not sent is taken back");
                let lives = templates.processes.get(&open.template).is_some_and(|process| !process.killed);
                assert!(!lives, "a living template's order of {child:?} is taken back: {self:?}");
            }
            TemplateAction::Fail { order, reason, transient } => {
                self.check_failure(templates, *order, *reason, *transient);
            }
            TemplateAction::Withdrawn(child) => {
                assert!(self.is_withdrawn(*child), "{child:?} was not withdrawn: {self:?}");
            }
            TemplateAction::Log(remark) => self.check_remark(templates, *remark),
        }
    }

    /// A template is started when there is none of its generation, which is needed, and no sooner than its pause.
    fn check_template_start(&self, templates: &TemplateDriver, generation: u32) {
        let is_one = |process: &TemplateProcess| process.generation == generation && !process.killed;
        assert!(!templates.processes.values().any(is_one), "two templates of {generation}: {self:?}");
        // The fleet may end in a turn in which it is due.
        let ends = templates.was_active && !self.fleet.supervisor.is_active();
        assert!(self.needs_template(generation) || ends, "one of {generation} is not needed: {self:?}");
        assert!(self.fleet.programs.contains(&generation), "it has no program: {self:?}");
        if templates.destroyed.contains(&generation) {
            return;
        }
        let is_ordered = !self.waiting_orders(generation).is_empty();
        let is_time = match templates.last_ends.get(&generation) {
            None => is_ordered,
            Some(end) if end.is_replaced_at_once() => true,
            Some(end) if end.was_ready => is_ordered || self.fleet.now - end.ended_at >= FIRST_PAUSE,
            Some(end) => self.fleet.now - end.ended_at >= end.pause(),
        };
        assert!(is_time, "a template of {generation} is started too early: {self:?}");
    }

    /// An order is sent once, to a template of its generation, which has loaded.
    fn check_fork(&self, templates: &TemplateDriver, id: TemplateId, order: Order) {
        let Some(process) = templates.processes.get(&id) else {
            panic!("{order:?} is sent to a template that has ended: {self:?}")
        };
        let is_able = process.is_loaded() && !process.killed;
        assert!(is_able && process.generation == order.generation, "{order:?} is sent to {process:?}");
        let is_new =
            self.fleet.ordered.contains_key(&order.child) && !templates.open.contains_key(&order.child);
        assert!(is_new && !self.is_withdrawn(order.child), "{order:?} is sent again: {self:?}");
        assert!(templates.orders_of(id).len() < MOST_ORDERS, "it has too many orders: {self:?}");
    }

    /// A template is killed once, because it is late or is not needed.
    fn check_template_kill(&self, templates: &TemplateDriver, id: TemplateId) {
        let (now, timeout) = (self.fleet.now, self.fleet.settings.start_timeout);
        let Some(process) = templates.processes.get(&id) else {
            panic!("a template is killed that has ended: {self:?}")
        };
        assert!(!process.killed, "{process:?} is killed twice");
        let mut orders = templates.open.values().filter(|open| open.template == id);
        let is_late = (!process.is_loaded() && now >= process.started_at + timeout)
            || orders.any(|open| open.is_late(now, timeout));
        assert!(is_late || !self.needs_template(process.generation), "{process:?} is killed: {self:?}");
    }

    /// What an ended template has forked is killed when no child is known after its time, or needed.
    fn check_kill_of_forked(&self, templates: &TemplateDriver, id: TemplateId) {
        let (now, timeout) = (self.fleet.now, self.fleet.settings.start_timeout);
        let is_reason = |child: &ChildId| {
            let generation = self.fleet.supervisor.children[*child].generation;
            templates.open[child].is_late(now, timeout) || !self.needs_template(generation)
        };
        assert!(templates.orders_of(id).iter().any(is_reason), "what {id:?} has forked is killed: {self:?}");
    }

    /// A start fails when its template has refused it, could not become ready, or has not answered in time. It is worth
    /// no other attempt where the template could not load, or has said so.
    fn check_failure(&self, templates: &TemplateDriver, order: Order, reason: Refusal, transient: bool) {
        let (now, timeout) = (self.fleet.now, self.fleet.settings.start_timeout);
        let Order { child, generation, .. } = order;
        assert!(self.fleet.ordered.contains_key(&child), "{order:?} was answered: {self:?}");
        assert!(!self.is_withdrawn(child), "{order:?} fails, which was withdrawn: {self:?}");
        let last = templates.last_ends.get(&generation);
        let open = templates.open.get(&child);
        let is_true = match reason {
            Refusal::NotForked => {
                templates.event == Some(TemplateEvent::Refused { child, transient }) && open.is_some()
            }
            Refusal::Unanswered => open.is_some_and(|open| open.is_late(now, timeout)) && transient,
            Refusal::NoTemplate if open.is_none() => last.is_some_and(|last| {
                last.ended_at == now && transient == (last.was_ready || last.may_be_later)
            }),
            // Its template has ended, and the next one waits.
            Refusal::NoTemplate => transient,
        };
        assert!(is_true, "{order:?} fails ({reason:?}, transient: {transient}): {self:?}");
    }

    fn check_remark(&self, templates: &TemplateDriver, remark: TemplateRemark) {
        let now = self.fleet.now;
        let last = |generation: u32| templates.last_ends.get(&generation);
        let is_true = match remark {
            TemplateRemark::Awaited(order) => !templates.open.contains_key(&order.child),
            TemplateRemark::StillLoading { template, time } => {
                templates.processes.get(&template).is_some_and(|process| now - process.started_at >= time)
            }
            TemplateRemark::LoadTimeout(template) => {
                templates.processes.get(&template).is_some_and(|process| !process.is_loaded())
            }
            TemplateRemark::Unanswered(template) => !templates.orders_of(template).is_empty(),
            TemplateRemark::StartedAgain { generation } => {
                last(generation).is_some_and(|last| last.is_replaced_at_once() && last.ended_at == now)
            }
            TemplateRemark::AgainIn { generation, delay, when_needed } => {
                let at =
                    templates.machine.states().find_map(|(of, _, _, at)| at.filter(|_| of == generation));
                let is_told = last(generation).is_some_and(|last| last.was_ready == when_needed);
                at == Some(now + delay) && is_told && (FIRST_PAUSE..=LONGEST_PAUSE).contains(&delay)
            }
        };
        assert!(is_true, "{remark:?}: {self:?}");
    }

    fn is_withdrawn(&self, child: ChildId) -> bool {
        let done = self.fleet.history[self.fleet.told..].iter().map(|(_, action)| action);
        // The next program gives the number of a child that was not started again.
        let of_program = done.rev().take_while(|action| **action != Action::Exec);
        self.deeds(child).withdrawn || of_program.into_iter().any(|action| *action == Action::Withdraw(child))
    }

    /// What holds whenever the driver waits.
    pub(super) fn check_state_of_templates(&self) {
        let templates = self.templates.as_ref().expect("the model has templates");
        let waiting = &self.fleet.supervisor.actions;
        assert!(waiting.is_empty(), "the driver waits before {waiting:?}: {self:?}");
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
