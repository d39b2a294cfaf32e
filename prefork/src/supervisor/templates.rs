//! The templates: processes that have loaded what `preload` gives, and fork children when the master asks.
//!
//! They stand beside the [`Supervisor`](super::Supervisor): a template fills no slot and serves nothing. The
//! supervisor orders a child with [`Action::Spawn`](super::Action::Spawn), and the answer comes when a template has
//! forked it, or cannot. There is one template for each generation that children may be started of.
//!
//! ```text
//!            order           started          ready
//!  (absent) ───────▶ Starting ──────▶ Loading ──────▶ Ready ─── Fork for each order
//!     ▲                 │                │              │
//!     │                 │ start failed   │ exited       │ exited
//!     │                 ▼                ▼              ▼
//!     └── not needed ── Absent { again_at } ◀───────────┘
//! ```
//!
//! A template that ends is started again: at once if it was ready, and after a delay that grows if it was not, or if
//! two in a row have ended soon. An order starts it whatever that delay is, because the supervisor has its own. An order
//! that a template was sent, and that is not answered when it ends, is answered by the child or by the end of the child's
//! link; if neither comes, what the template has forked is killed, and the order fails.
//!
//! This module knows no process, no clock and no descriptor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{ChildId, deadline};

/// The delays before a template is started again that could not load, from the first to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Two templates in a row that were ready for less are not replaced at once: loading takes time and memory.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateAction {
    /// Start a template; answered by `started` or `start_failed`.
    Start { template: ChildId, generation: u32 },
    /// Let the template fork the child; answered by `answered` or `fork_failed`.
    Fork { template: ChildId, child: ChildId },
    /// Kill the template.
    Kill(ChildId),
    /// Kill what a template, which has ended, has forked and whose pid is not known.
    KillUnnamed(ChildId),
    /// The child cannot be started; `transient` if it may be later.
    Fail { child: ChildId, transient: bool },
    /// The child was not ordered yet, and is not needed.
    Withdrawn(ChildId),
    /// Write a message to the log.
    Log(TemplateRemark),
}

/// A log message about a decision of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateRemark {
    /// The template did not load within its time.
    LoadTimeout(ChildId),
    /// The template has not answered an order within its time.
    Unanswered(ChildId),
    /// A template is started again, in place of one that has ended.
    StartedAgain { generation: u32 },
    /// It is started again after a delay, unless a child needs it earlier.
    AgainIn { generation: u32, delay: Duration },
}

/// What a template does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateState {
    /// The process does not run this program yet.
    Starting,
    Loading,
    Ready,
    /// The last process has ended, or is about to. The next one is started after a delay.
    Waiting,
}

impl TemplateState {
    /// The state's name, as `/status` tells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Absent { again_at: Instant },
    Starting,
    Loading { until: Instant },
    Ready { since: Instant },
}

#[derive(Debug)]
struct Template {
    /// Of the present process, or of the last one.
    id: ChildId,
    phase: Phase,
    /// How many processes in a row have ended before they were ready.
    failures: u32,
    /// How many in a row have ended soon after they were ready.
    short_lives: u32,
}

/// A child that is to be forked.
#[derive(Debug)]
struct Order {
    generation: u32,
    /// The template that was sent the order, and when it is to be answered.
    sent: Option<(ChildId, Instant)>,
    /// Whether what the template has forked was killed, since no answer had come.
    killed: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Templates {
    /// By generation.
    templates: BTreeMap<u32, Template>,
    orders: BTreeMap<ChildId, Order>,
    actions: VecDeque<TemplateAction>,
    /// How long loading, or an answer, may take.
    timeout: Duration,
    next_id: u64,
}

impl Templates {
    pub(crate) fn new(timeout: Duration) -> Self {
        let actions = VecDeque::new();
        Self { templates: BTreeMap::new(), orders: BTreeMap::new(), actions, timeout, next_id: 0 }
    }

    /// Another limit, from now on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(crate) fn poll_action(&mut self) -> Option<TemplateAction> {
        self.actions.pop_front()
    }

    /// When [`on_deadline`](Self::on_deadline) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let templates = self.templates.values().filter_map(|template| match template.phase {
            Phase::Absent { again_at } => Some(again_at),
            Phase::Loading { until } => Some(until),
            Phase::Starting | Phase::Ready { .. } => None,
        });
        templates.chain(self.unanswered().map(|(_, until)| until)).min()
    }

    /// The template of each generation, with its last process.
    pub(crate) fn states(&self) -> impl Iterator<Item = (u32, ChildId, TemplateState)> {
        self.templates.iter().map(|(generation, template)| {
            let state = match template.phase {
                Phase::Absent { .. } => TemplateState::Waiting,
                Phase::Starting => TemplateState::Starting,
                Phase::Loading { .. } => TemplateState::Loading,
                Phase::Ready { .. } => TemplateState::Ready,
            };
            (*generation, template.id, state)
        })
    }

    /// The templates that were sent an order which is not answered, and until when.
    fn unanswered(&self) -> impl Iterator<Item = (ChildId, Instant)> {
        self.orders.values().filter_map(|order| order.sent)
    }

    /// The generation of a living template.
    fn generation_of(&self, id: ChildId) -> Option<u32> {
        let is_it =
            |template: &Template| template.id == id && !matches!(template.phase, Phase::Absent { .. });
        self.templates.iter().find_map(|(generation, template)| is_it(template).then_some(*generation))
    }

    /// Orders a child. Returns whether it has to wait for its template.
    pub(crate) fn order(&mut self, now: Instant, child: ChildId, generation: u32) -> bool {
        self.orders.insert(child, Order { generation, sent: None, killed: false });
        match self.templates.get(&generation).map(|template| template.phase) {
            Some(Phase::Ready { .. }) => self.send_orders(now, generation),
            Some(Phase::Starting | Phase::Loading { .. }) => return true,
            Some(Phase::Absent { .. }) | None => {
                self.start(generation);
                return true;
            }
        }
        false
    }

    /// The child is not needed any more. One that was ordered is answered nevertheless.
    pub(crate) fn withdraw(&mut self, child: ChildId) {
        if self.orders.get(&child).is_some_and(|order| order.sent.is_none()) {
            self.orders.remove(&child);
            self.actions.push_back(TemplateAction::Withdrawn(child));
        }
    }

    /// Ends the templates of generations that are not needed, and their orders.
    pub(crate) fn keep(&mut self, is_needed: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self.templates.keys().copied().filter(|one| !is_needed(*one)).collect();
        for generation in gone {
            if let Some(Template {
                id,
                phase: Phase::Starting | Phase::Loading { .. } | Phase::Ready { .. },
                ..
            }) = self.templates.remove(&generation)
            {
                self.actions.push_back(TemplateAction::Kill(id));
            }
            self.fail_waiting(generation, true);
        }
    }

    fn start(&mut self, generation: u32) {
        let id = ChildId::of_template(self.next_id);
        self.next_id += 1;
        let counts = |template: &Template| (template.failures, template.short_lives);
        let (failures, short_lives) = self.templates.get(&generation).map_or((0, 0), counts);
        self.templates.insert(generation, Template { id, phase: Phase::Starting, failures, short_lives });
        self.actions.push_back(TemplateAction::Start { template: id, generation });
    }

    fn send_orders(&mut self, now: Instant, generation: u32) {
        let Some(template) = self.templates.get(&generation) else { return };
        let until = deadline(now, self.timeout);
        for (child, order) in &mut self.orders {
            if order.generation == generation && order.sent.is_none() {
                order.sent = Some((template.id, until));
                self.actions.push_back(TemplateAction::Fork { template: template.id, child: *child });
            }
        }
    }

    /// Fails every order of the generation that was not sent.
    fn fail_waiting(&mut self, generation: u32, transient: bool) {
        let is_waiting = |order: &Order| order.generation == generation && order.sent.is_none();
        let waiting = self.orders.iter().filter(|(_, order)| is_waiting(order));
        for child in waiting.map(|(child, _)| *child).collect::<Vec<_>>() {
            self.fail(child, transient);
        }
    }

    fn fail(&mut self, child: ChildId, transient: bool) {
        if self.orders.remove(&child).is_some() {
            self.actions.push_back(TemplateAction::Fail { child, transient });
        }
    }

    pub(crate) fn started(&mut self, now: Instant, id: ChildId) {
        let until = deadline(now, self.timeout);
        if let Some(template) = self.living(id) {
            template.phase = Phase::Loading { until };
        }
    }

    pub(crate) fn start_failed(&mut self, now: Instant, id: ChildId, transient: bool) {
        self.ended_unready(now, id, transient);
    }

    /// The template has loaded.
    pub(crate) fn ready(&mut self, now: Instant, id: ChildId) {
        let Some(generation) = self.generation_of(id) else { return };
        if let Some(template) = self.living(id) {
            template.phase = Phase::Ready { since: now };
            template.failures = 0;
        }
        self.send_orders(now, generation);
    }

    /// The child's pid is known, or the child is no process. Returns whether that was waited for.
    pub(crate) fn answered(&mut self, child: ChildId) -> bool {
        self.orders.remove(&child).is_some()
    }

    /// The template could not fork the child, or could not be told.
    pub(crate) fn fork_failed(&mut self, child: ChildId, transient: bool) {
        self.fail(child, transient);
    }

    /// No process has the other end of the child's link. While the template lives, it is about to answer.
    pub(crate) fn link_ended(&mut self, child: ChildId) {
        let template = self.orders.get(&child).and_then(|order| order.sent).map(|(template, _)| template);
        if template.is_some_and(|template| self.generation_of(template).is_none()) {
            self.fail(child, true);
        }
    }

    /// The template has exited; `by_signal` if a signal ended it.
    pub(crate) fn exited(&mut self, now: Instant, id: ChildId, by_signal: bool) {
        let Some(generation) = self.generation_of(id) else { return };
        match self.living(id).map(|template| template.phase) {
            Some(Phase::Ready { since }) if self.note_life(id, now.duration_since(since)) < 2 => {
                self.actions.push_back(TemplateAction::Log(TemplateRemark::StartedAgain { generation }));
                self.start(generation);
            }
            _ => self.ended_unready(now, id, by_signal),
        }
    }

    /// Notes the end of a template that was ready for this time. Returns how many in a row have ended soon.
    fn note_life(&mut self, id: ChildId, age: Duration) -> u32 {
        let Some(template) = self.living(id) else { return 0 };
        template.short_lives = if age < SHORT_LIFE { template.short_lives.saturating_add(1) } else { 0 };
        template.failures = template.short_lives.saturating_sub(2);
        template.short_lives
    }

    fn ended_unready(&mut self, now: Instant, id: ChildId, transient: bool) {
        let Some(generation) = self.generation_of(id) else { return };
        let Some(template) = self.living(id) else { return };
        let delay = FIRST_DELAY.saturating_mul(1 << template.failures.min(5)).min(LONGEST_DELAY);
        template.failures = template.failures.saturating_add(1);
        template.phase = Phase::Absent { again_at: deadline(now, delay) };
        self.actions.push_back(TemplateAction::Log(TemplateRemark::AgainIn { generation, delay }));
        self.fail_waiting(generation, transient);
    }

    fn living(&mut self, id: ChildId) -> Option<&mut Template> {
        let generation = self.generation_of(id)?;
        self.templates.get_mut(&generation)
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        let due = |template: &Template| match template.phase {
            Phase::Absent { again_at } => again_at <= now,
            Phase::Loading { until } => until <= now,
            Phase::Starting | Phase::Ready { .. } => false,
        };
        let due: Vec<u32> =
            self.templates.iter().filter(|(_, one)| due(one)).map(|(generation, _)| *generation).collect();
        for generation in due {
            let Some(Template { id, phase, .. }) = self.templates.get(&generation) else { continue };
            let (id, phase) = (*id, *phase);
            if matches!(phase, Phase::Absent { .. }) {
                self.start(generation);
            } else {
                self.kill_late(now, id, TemplateRemark::LoadTimeout(id));
            }
        }
        let late: BTreeSet<ChildId> =
            self.unanswered().filter(|(_, until)| *until <= now).map(|(id, _)| id).collect();
        for id in late {
            if self.generation_of(id).is_some() {
                self.kill_late(now, id, TemplateRemark::Unanswered(id));
            } else {
                self.end_unnamed(now, id);
            }
        }
        // What was killed has the time again to end.
        let again = deadline(now, self.timeout);
        let sent = self.orders.values_mut().filter_map(|order| order.sent.as_mut());
        sent.filter(|(_, until)| *until <= now).for_each(|(_, until)| *until = again);
    }

    /// Kills what an ended template has forked without an answer; and if that has ended no link either, gives up: a
    /// process of another group holds it.
    fn end_unnamed(&mut self, now: Instant, template: ChildId) {
        let is_late = |order: &Order| order.sent.is_some_and(|(by, until)| by == template && until <= now);
        let late = self.orders.iter_mut().filter(|(_, order)| is_late(order));
        let killed: Vec<ChildId> = late
            .filter_map(|(child, order)| std::mem::replace(&mut order.killed, true).then_some(*child))
            .collect();
        if killed.is_empty() {
            self.actions.push_back(TemplateAction::KillUnnamed(template));
        }
        killed.into_iter().for_each(|child| self.fail(child, true));
    }

    fn kill_late(&mut self, now: Instant, id: ChildId, remark: TemplateRemark) {
        self.actions.extend([TemplateAction::Log(remark), TemplateAction::Kill(id)]);
        self.ended_unready(now, id, true);
    }
}
