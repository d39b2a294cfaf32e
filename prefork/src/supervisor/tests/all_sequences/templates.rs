//! The templates of `preload`, and what can happen to them. They are driven as `master/templates` drives them, beside
//! the fleet whose children they fork.
//!
//! What happens: a template cannot be started; it becomes ready, or ends before or after that; it forks a child, or
//! refuses; it cannot be sent an order because it is about to end; it says nothing until its time is over; one that was
//! killed is ready, or answers, before its end; it ends and leaves orders open, of which a child tells its pid, or the
//! end of its link that there is none, or neither.
//!
//! The rules are in `template_rules.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Order, TemplateAction, TemplateId, TemplateRemark, Templates};
use super::super::*;
use super::moves::{Outcome, What};
use super::template_rules::LastEnd;
use super::world::World;

/// What happens to a template, or to an order that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateEvent {
    Loaded(TemplateId),
    /// With the links of the children that it was ordered and has not forked, or before they do.
    Ended {
        template: TemplateId,
        with_links: bool,
    },
    Forked(ChildId),
    Refused {
        child: ChildId,
        transient: bool,
    },
    LinkEnded(ChildId),
}

/// The process of a template, until it is reaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct TemplateProcess {
    pub(super) generation: u32,
    pub(super) started_at: Instant,
    /// Since when it is ready.
    pub(super) ready_since: Option<Instant>,
    pub(super) killed: bool,
    /// It takes no orders any more, and is about to end.
    pub(super) broken: bool,
}

impl TemplateProcess {
    fn new(generation: u32, started_at: Instant) -> Self {
        Self { generation, started_at, ready_since: None, killed: false, broken: false }
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.ready_since.is_some()
    }
}

/// An order that was sent, and not answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenOrder {
    pub(super) template: TemplateId,
    pub(super) sent_at: Instant,
    /// Whether what its template has forked was killed.
    pub(super) killed: bool,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct TemplateDriver {
    pub(super) machine: Templates,
    pub(super) processes: BTreeMap<TemplateId, TemplateProcess>,
    pub(super) open: BTreeMap<ChildId, OpenOrder>,
    /// The last end of a process of each generation that is needed.
    pub(super) last_ends: BTreeMap<u32, LastEnd>,
    /// The generations whose processes the driver has ended.
    pub(super) destroyed: BTreeSet<u32>,
    /// Whether slots were to be kept filled before the step.
    pub(super) was_active: bool,
    /// The actions of the step.
    pub(super) actions: Vec<TemplateAction>,
    /// The event of the step.
    pub(super) event: Option<TemplateEvent>,
    outcome: Outcome,
}

/// What later steps depend on. The rest of the driver belongs to the step that has led to a state.
#[derive(Debug)]
#[expect(dead_code, reason = "for `Debug`")]
pub(super) struct Lasting<'a> {
    machine: &'a Templates,
    processes: &'a BTreeMap<TemplateId, TemplateProcess>,
    open: &'a BTreeMap<ChildId, OpenOrder>,
    last_ends: &'a BTreeMap<u32, LastEnd>,
    destroyed: &'a BTreeSet<u32>,
}

impl TemplateDriver {
    pub(super) fn lasting(&self) -> Lasting<'_> {
        let Self { machine, processes, open, last_ends, destroyed, .. } = self;
        Lasting { machine, processes, open, last_ends, destroyed }
    }

    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            machine: Templates::new(timeout),
            processes: BTreeMap::new(),
            open: BTreeMap::new(),
            last_ends: BTreeMap::new(),
            destroyed: BTreeSet::new(),
            was_active: true,
            actions: Vec::new(),
            event: None,
            outcome: Outcome::Well,
        }
    }

    /// Before a step.
    pub(super) fn prepare(&mut self, is_active: bool, outcome: Outcome) {
        self.was_active = is_active;
        self.actions.clear();
        self.event = None;
        self.outcome = outcome;
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether it is at rest: every template is ready, and has no order.
    pub(super) fn is_settled(&self) -> bool {
        let is_ready = |process: &TemplateProcess| process.is_loaded() && !process.killed && !process.broken;
        let waits = self.machine.states().any(|(.., starts_at)| starts_at.is_some());
        self.open.is_empty() && !waits && self.processes.values().all(is_ready)
    }

    /// The orders that this template was sent and has not answered.
    pub(super) fn orders_of(&self, template: TemplateId) -> Vec<ChildId> {
        let orders = self.open.iter().filter(|(_, open)| open.template == template);
        orders.map(|(child, _)| *child).collect()
    }

    /// What happens next on the way to rest. A link that nothing ends is held by a process that lives on.
    pub(super) fn friendly(&self, holds_links: bool) -> Option<TemplateEvent> {
        for (template, process) in &self.processes {
            if process.killed || process.broken {
                return Some(TemplateEvent::Ended { template: *template, with_links: !holds_links });
            }
            if !process.is_loaded() {
                return Some(TemplateEvent::Loaded(*template));
            }
        }
        self.open.iter().find_map(|(child, open)| {
            let lives = self.processes.contains_key(&open.template);
            let ends = open.killed && !holds_links;
            (lives.then_some(TemplateEvent::Forked(*child)))
                .or(ends.then_some(TemplateEvent::LinkEnded(*child)))
        })
    }

    fn steps(&self) -> Vec<TemplateEvent> {
        let mut steps = Vec::new();
        for (id, process) in &self.processes {
            let template = *id;
            steps.extend((!process.is_loaded()).then_some(TemplateEvent::Loaded(template)));
            steps.push(TemplateEvent::Ended { template, with_links: true });
            let has_orders = self.open.values().any(|open| open.template == template);
            steps.extend(has_orders.then_some(TemplateEvent::Ended { template, with_links: false }));
        }
        for (id, open) in &self.open {
            let child = *id;
            steps.extend([TemplateEvent::Forked(child), TemplateEvent::LinkEnded(child)]);
            if self.processes.contains_key(&open.template) {
                steps.extend([true, false].map(|transient| TemplateEvent::Refused { child, transient }));
            }
        }
        steps
    }
}

impl World {
    pub(super) fn add_steps_of_templates(&self, steps: &mut Vec<What>) {
        let templates = self.templates.iter().flat_map(TemplateDriver::steps);
        steps.extend(templates.map(What::Template));
    }

    /// What could have turned out otherwise in a step in which all went well.
    pub(super) fn other_outcomes_of_templates(&self) -> Vec<Outcome> {
        let Some(templates) = &self.templates else { return Vec::new() };
        let done = |wanted: fn(&TemplateAction) -> bool| templates.actions.iter().any(wanted);
        let mut others = Vec::new();
        if done(|action| matches!(action, TemplateAction::Start { .. })) {
            others.extend([true, false].map(|transient| Outcome::TemplateNotStarted { transient }));
        }
        others
            .extend(done(|action| matches!(action, TemplateAction::Fork { .. })).then_some(Outcome::NotSent));
        others
    }

    fn driver(&mut self) -> &mut TemplateDriver {
        self.templates.as_mut().expect("the model has templates")
    }

    pub(super) fn on_template(&mut self, event: TemplateEvent) {
        let now = self.fleet.now;
        let driver = self.driver();
        driver.event = Some(event);
        match event {
            TemplateEvent::Loaded(template) => {
                let process = driver.processes.get_mut(&template).expect("it lives");
                process.ready_since = Some(now);
                let (generation, is_known) = (process.generation, !process.killed);
                let last = driver.last_ends.get_mut(&generation).filter(|_| is_known);
                last.into_iter().for_each(LastEnd::note_ready);
                driver.machine.ready(now, template);
                self.fleet.deliver(Event::TemplateReady { generation });
            }
            TemplateEvent::Ended { template, with_links } => {
                let process = driver.processes.remove(&template).expect("it lives");
                if !process.killed {
                    driver.note_end(now, process);
                }
                driver.machine.exited(now, template);
                for child in driver.orders_of(template).into_iter().filter(|_| with_links) {
                    driver.machine.link_ended(now, child);
                }
            }
            TemplateEvent::Forked(child) => {
                driver.open.remove(&child).expect("it is open");
                self.fleet.deliver(Event::Spawned { child, pid: 0 });
                assert!(self.driver().machine.answered(now, child), "{child:?} was answered before");
            }
            TemplateEvent::Refused { child, transient } => driver.machine.fork_failed(now, child, transient),
            TemplateEvent::LinkEnded(child) => driver.machine.link_ended(now, child),
        }
        self.perform_for_templates();
    }

    /// What is due.
    pub(super) fn check_templates(&mut self) {
        let now = self.fleet.now;
        let Some(driver) = &mut self.templates else { return };
        driver.machine.on_deadline(now);
        self.perform_for_templates();
        let overdue = self.driver().machine.next_deadline().filter(|at| *at <= now);
        assert_eq!(overdue, None, "a deadline of a template comes back: {self:?}");
    }

    /// Performs the actions of a turn of the supervisor, some of which are for the templates.
    pub(super) fn act_with_templates(&mut self) {
        if self.templates.is_none() {
            return;
        }
        let mut told = self.fleet.history.len();
        loop {
            if let Some(Action::Hook(_)) = self.fleet.supervisor.actions.front() {
                self.keep_templates();
            }
            if !self.fleet.act_once() {
                break;
            }
            // The check of the queues is not told.
            if let Some((_, action)) = self.fleet.history.get(told) {
                let action = action.clone();
                told += 1;
                self.follow(action);
            }
        }
        if self.fleet.verdict.is_none() {
            self.keep_templates();
            self.check_state_of_templates();
        }
    }

    /// What an action of the supervisor is to the templates.
    fn follow(&mut self, action: Action) {
        let now = self.fleet.now;
        match action {
            Action::Spawn { child, slot, generation } => {
                let supervisor = &self.fleet.supervisor;
                if supervisor.is_upgrade_check(child) || supervisor.is_upgrade_trial(child) {
                    // It runs another program.
                    self.fleet.deliver(Event::Spawned { child, pid: 0 });
                } else {
                    self.driver().machine.order(now, Order { child, slot, generation });
                }
            }
            Action::Withdraw(child) => self.driver().machine.withdraw(child),
            Action::Exec => self.destroy_templates(),
            Action::CloseSlot => self.keep_templates(),
            Action::Log(remark) if remark.is_logged_after_an_update() => self.keep_templates(),
            _ => {}
        }
        self.perform_for_templates();
    }

    /// Ends those that are not needed any more.
    fn keep_templates(&mut self) {
        let Self { fleet: Fleet { supervisor, .. }, templates, .. } = self;
        let driver = templates.as_mut().expect("the model has templates");
        driver.machine.keep(|generation| needs_template(supervisor, generation));
        self.perform_for_templates();
        let Self { fleet: Fleet { supervisor, .. }, templates, .. } = self;
        let driver = templates.as_mut().expect("the model has templates");
        driver.last_ends.retain(|generation, _| needs_template(supervisor, *generation));
    }

    /// The program that is executed does not know of them. If it is not executed, they are started again.
    fn destroy_templates(&mut self) {
        let (now, exec_works) = (self.fleet.now, self.fleet.exec_works);
        let timeout = self.fleet.settings.start_timeout;
        let driver = self.driver();
        assert!(driver.open.is_empty(), "an order is lost in the exec: {driver:?}");
        let processes = std::mem::take(&mut driver.processes);
        driver.destroyed = processes.into_values().map(|process| process.generation).collect();
        driver.machine.restart(now);
        if exec_works {
            let TemplateDriver { actions, outcome, .. } = self.driver().clone();
            self.templates = Some(TemplateDriver { actions, outcome, ..TemplateDriver::new(timeout) });
        }
    }

    fn perform_for_templates(&mut self) {
        while let Some(action) = self.driver().machine.poll_action() {
            self.check_template_action(&action);
            self.driver().actions.push(action.clone());
            self.perform_for_template(action);
        }
    }

    fn perform_for_template(&mut self, action: TemplateAction) {
        let now = self.fleet.now;
        let driver = self.driver();
        match action {
            TemplateAction::Start { template, generation } => {
                driver.destroyed.remove(&generation);
                let process = TemplateProcess::new(generation, now);
                if let Outcome::TemplateNotStarted { transient } = driver.outcome {
                    driver.note_end(now, process);
                    let last = driver.last_ends.get_mut(&generation).expect("it was noted");
                    last.may_be_later = transient;
                    driver.machine.start_failed(now, template, transient);
                } else {
                    driver.processes.insert(template, process);
                    driver.machine.started(now, template);
                }
            }
            TemplateAction::Fork { template, order } => {
                let process = driver.processes.get_mut(&template).expect("it was checked");
                process.broken |= driver.outcome == Outcome::NotSent;
                if process.broken {
                    driver.machine.not_sent(order.child);
                } else {
                    driver.open.insert(order.child, OpenOrder { template, sent_at: now, killed: false });
                }
            }
            TemplateAction::Kill(template) => {
                let process = driver.processes.get_mut(&template).expect("it was checked");
                process.killed = true;
                let process = *process;
                driver.note_end(now, process);
            }
            TemplateAction::KillForked(template) => {
                // While the template lives, it could fork another one: nothing is killed.
                let has_ended = !driver.processes.contains_key(&template);
                let open = driver.open.values_mut().filter(|open| has_ended && open.template == template);
                open.for_each(|open| open.killed = true);
            }
            TemplateAction::TakeBack(child) => drop(driver.open.remove(&child)),
            TemplateAction::Fail { order: Order { child, .. }, transient, .. } => {
                driver.open.remove(&child);
                self.fleet.ordered.remove(&child);
                self.fleet.deliver(Event::SpawnFailed { child, transient });
            }
            TemplateAction::Withdrawn(child) => {
                driver.open.remove(&child);
                self.fleet.ordered.remove(&child);
                self.fleet.deliver(Event::Withdrawn(child));
            }
            TemplateAction::Log(TemplateRemark::AgainIn { generation, .. }) => driver.note_told(generation),
            TemplateAction::Log(_) => {}
        }
    }
}

/// As the driver in `master/templates` asks.
pub(super) fn needs_template(supervisor: &Supervisor, generation: u32) -> bool {
    supervisor.is_active() && supervisor.needs_generation(generation)
}
