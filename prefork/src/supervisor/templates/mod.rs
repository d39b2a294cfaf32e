//! The templates: processes that have loaded what `preload` gives, and fork children when the master asks.
//!
//! They stand beside the [`Supervisor`](super::Supervisor): a template fills no slot and serves nothing. The
//! supervisor orders a child with [`Action::Spawn`](super::Action::Spawn), and the answer comes when a template has
//! forked it, or cannot. There is one template for each generation that children may be started of.
//!
//! ```text
//!            order         ready
//!  (absent) ───────▶ Loading ──────▶ Ready ─── Fork, for each order
//!                     │   ▲            │
//!  exited, or not      │   │ again_at   │ exited: loading again at once,
//!  started, or late    ▼   │            │ if it was ready for long
//!                    Waiting ◀─────────┘
//! ```
//!
//! An order waits until the template of its generation is ready. It fails when that ends before it is ready, and the
//! next template is started after a delay that grows. So it does if a template is ready and ends, and the next one is
//! ready and ends; but then a child that is ordered meanwhile starts the next one.
//!
//! A template may end while it has not answered an order that it was sent. Then the child tells its pid, or the end of
//! its link tells that there is none, and the order waits for the next template. If neither comes, what the template
//! has forked is killed. An order fails that was not answered in time.
//!
//! This module knows no process, no clock and no descriptor.
//!
//! - `mod.rs`: the templates, and what is done for them
//! - `template.rs`: one of them
//! - `orders.rs`: the children that they are to fork

mod orders;
mod template;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub(crate) use self::orders::Order;
use self::orders::{Orders, SentOrder};
pub(crate) use self::template::TemplateState;
use self::template::{Phase, Template};
use super::{ChildId, deadline};

/// Identifies one template process. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TemplateId(u64);

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateAction {
    /// Start a template; answered by `start_failed`, or by what the template does.
    Start { template: TemplateId, generation: u32 },
    /// Let the template fork the child; answered by `answered` or `fork_failed`.
    Fork { template: TemplateId, order: Order },
    /// Kill the template.
    Kill(TemplateId),
    /// Kill what a template, which has ended, has forked and whose pid is not known.
    KillForked(TemplateId),
    /// The template has ended and has not forked the child, which waits for the next one.
    TakeBack(ChildId),
    /// The child cannot be started; `transient` if it may be later.
    Fail { order: Order, reason: Refusal, transient: bool },
    /// The child was not forked, and is not needed.
    Withdrawn(ChildId),
    /// Write a message to the log.
    Log(TemplateRemark),
}

/// Why a child cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No template of its generation is ready.
    NoTemplate,
    /// The template has said so, or could not be told.
    NotForked,
    /// No template has answered.
    Unanswered,
}

/// A log message about a decision of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateRemark {
    /// The first child waits for a template that is not ready.
    Awaited(Order),
    /// The template has loaded for this time, and goes on.
    StillLoading { template: TemplateId, time: Duration },
    /// The template did not load within its time.
    LoadTimeout(TemplateId),
    /// The template has not answered an order within its time.
    Unanswered(TemplateId),
    /// A template is started again, in place of one that has ended.
    StartedAgain { generation: u32 },
    /// It is started again after a delay, unless a child needs it earlier.
    AgainIn { generation: u32, delay: Duration, when_needed: bool },
}

/// See the [module](self).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Templates {
    /// By generation.
    templates: BTreeMap<u32, Template>,
    orders: Orders,
    actions: VecDeque<TemplateAction>,
    /// How long loading, or an answer, may take.
    timeout: Duration,
    next_id: u64,
}

impl Templates {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            templates: BTreeMap::new(),
            orders: Orders::default(),
            actions: VecDeque::new(),
            timeout,
            next_id: 0,
        }
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
        let templates = self.templates.values().filter_map(Template::deadline);
        templates.chain(self.orders.sent().map(|sent| sent.until)).min()
    }

    /// Until when at least something is under way. A long load that is told before does not end then.
    pub(crate) fn next_limit(&self) -> Option<Instant> {
        let templates = self.templates.values().filter_map(Template::limit);
        templates.chain(self.orders.sent().map(|sent| sent.until)).min()
    }

    /// The template of each generation, with its last process; and for one that waits, when the next one is started.
    pub(crate) fn states(&self) -> impl Iterator<Item = (u32, TemplateId, TemplateState, Option<Instant>)> {
        self.templates.iter().map(|(generation, template)| {
            let has_orders = self.orders.sent().any(|sent| sent.template == template.id);
            let (state, starts_at) = template.state(has_orders);
            (*generation, template.id, state, starts_at)
        })
    }

    /// The generation of a living template.
    fn generation_of(&self, id: TemplateId) -> Option<u32> {
        self.templates.iter().find_map(|(generation, template)| template.is(id).then_some(*generation))
    }

    /// Orders a child.
    pub(crate) fn order(&mut self, now: Instant, order: Order) {
        let Order { generation, .. } = order;
        self.orders.add(order);
        if self.templates.get(&generation).is_none_or(Template::starts_when_needed) {
            self.start(now, generation);
        }
        self.send_orders(now, generation);
        let template = self.templates.get_mut(&generation);
        if template.is_some_and(Template::becomes_awaited) {
            self.log(TemplateRemark::Awaited(order));
        }
    }

    /// The child is not needed any more. One whose order was sent is answered nevertheless.
    pub(crate) fn withdraw(&mut self, child: ChildId) {
        if let Some(sent) = self.orders.get_sent(child) {
            sent.withdrawn = true;
        } else if self.orders.remove_waiting(child).is_some() {
            self.actions.push_back(TemplateAction::Withdrawn(child));
        }
    }

    /// Every template has been killed: starts them again.
    pub(crate) fn restart(&mut self, now: Instant) {
        let living = self.templates.iter().filter(|(_, template)| template.is(template.id));
        for generation in living.map(|(generation, _)| *generation).collect::<Vec<_>>() {
            self.start(now, generation);
        }
    }

    /// Ends the templates of generations that are not needed, and their orders.
    pub(crate) fn keep(&mut self, is_needed: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self.templates.keys().copied().filter(|one| !is_needed(*one)).collect();
        for generation in gone {
            if let Some(Template { id, phase: Phase::Loading { .. } | Phase::Ready { .. }, .. }) =
                self.templates.remove(&generation)
            {
                self.actions.push_back(TemplateAction::Kill(id));
            }
            self.fail_waiting(generation, true);
        }
        self.kill_forked_in_vain();
        // Not before: a template that has failed a start or a reload is not started again.
        let delays = self.templates.iter_mut().filter_map(|(generation, template)| {
            let (delay, when_needed) = (template.unlogged_delay.take()?, template.starts_when_needed());
            let remark = TemplateRemark::AgainIn { generation: *generation, delay, when_needed };
            Some(TemplateAction::Log(remark))
        });
        self.actions.extend(delays);
    }

    fn start(&mut self, now: Instant, generation: u32) {
        let id = TemplateId(self.next_id);
        self.next_id += 1;
        let template = Template::new(id, now, self.timeout, self.templates.get(&generation));
        self.templates.insert(generation, template);
        self.actions.push_back(TemplateAction::Start { template: id, generation });
    }

    /// Sends the template of this generation, if it is ready, as many orders as it takes now.
    fn send_orders(&mut self, now: Instant, generation: u32) {
        let Some(Template { id: template, phase: Phase::Ready { .. }, .. }) = self.templates.get(&generation)
        else {
            return;
        };
        let until = deadline(now, self.timeout);
        while let Some(order) = self.orders.send_next(generation, *template, until) {
            self.actions.push_back(TemplateAction::Fork { template: *template, order });
        }
    }

    /// Fails every order of the generation that was not sent.
    fn fail_waiting(&mut self, generation: u32, transient: bool) {
        let waiting = self.orders.take_waiting(generation);
        waiting.into_iter().for_each(|order| self.fail(order, Refusal::NoTemplate, transient));
    }

    fn fail(&mut self, order: Order, reason: Refusal, transient: bool) {
        self.actions.push_back(TemplateAction::Fail { order, reason, transient });
    }

    /// Answers an order that was sent, of a child that is not forked.
    fn refuse(&mut self, order: Order, withdrawn: bool, reason: Refusal, transient: bool) {
        if withdrawn {
            self.actions.push_back(TemplateAction::Withdrawn(order.child));
        } else {
            self.fail(order, reason, transient);
        }
    }

    fn log(&mut self, remark: TemplateRemark) {
        self.actions.push_back(TemplateAction::Log(remark));
    }

    /// The template has a process, which the driver may have started a while after that was decided.
    pub(crate) fn started(&mut self, now: Instant, id: TemplateId) {
        let timeout = self.timeout;
        let generation = self.generation_of(id);
        let template = generation.and_then(|generation| self.templates.get_mut(&generation));
        template.into_iter().for_each(|template| template.begin_to_load(now, timeout));
    }

    /// The template could not be started.
    pub(crate) fn start_failed(&mut self, now: Instant, id: TemplateId, transient: bool) {
        if let Some(generation) = self.generation_of(id) {
            self.delay_start(now, generation, transient);
        }
    }

    /// The template has loaded.
    pub(crate) fn ready(&mut self, now: Instant, id: TemplateId) {
        let Some(generation) = self.generation_of(id) else { return };
        if let Some(template) = self.templates.get_mut(&generation) {
            template.note_ready(now);
        }
        self.send_orders(now, generation);
    }

    /// The child's pid is known. Returns whether that was waited for.
    pub(crate) fn answered(&mut self, now: Instant, child: ChildId) -> bool {
        let answered = self.orders.remove_sent(child);
        answered.iter().for_each(|sent| self.send_orders(now, sent.order.generation));
        answered.is_some()
    }

    /// The template could not be told of the order, because it is about to end.
    pub(crate) fn not_sent(&mut self, child: ChildId) {
        let sent = self.orders.remove_sent(child);
        sent.into_iter().for_each(|sent| self.orders.add(sent.order));
    }

    /// The template could not fork the child, or could not be told.
    pub(crate) fn fork_failed(&mut self, now: Instant, child: ChildId, transient: bool) {
        if let Some(SentOrder { order, withdrawn, .. }) = self.orders.remove_sent(child) {
            self.refuse(order, withdrawn, Refusal::NotForked, transient);
            self.send_orders(now, order.generation);
        }
    }

    /// No process has the other end of the child's link. While the template lives, it is about to answer.
    pub(crate) fn link_ended(&mut self, now: Instant, child: ChildId) {
        let Some(SentOrder { order, template, withdrawn, late, .. }) = self.orders.get_sent(child) else {
            return;
        };
        let (order, template, withdrawn, late) = (*order, *template, *withdrawn, *late);
        if self.generation_of(template).is_some() {
            return;
        }
        self.orders.remove_sent(child);
        let next = self.templates.get(&order.generation).map(|next| next.phase);
        if !late && !withdrawn && matches!(next, Some(Phase::Loading { .. } | Phase::Ready { .. })) {
            self.actions.push_back(TemplateAction::TakeBack(child));
            self.orders.add(order);
            self.send_orders(now, order.generation);
        } else {
            let reason = if late { Refusal::Unanswered } else { Refusal::NoTemplate };
            self.refuse(order, withdrawn, reason, true);
        }
    }

    /// The template has exited.
    pub(crate) fn exited(&mut self, now: Instant, id: TemplateId) {
        match self.generation_of(id) {
            Some(generation) => self.replace(now, generation),
            None => {
                // Again, if that was tried: it has no effect while the template lives.
                let is_to_kill =
                    |sent: &SentOrder| sent.template == id && (sent.killed || self.is_in_vain(sent));
                if self.orders.sent().any(is_to_kill) {
                    self.actions.push_back(TemplateAction::KillForked(id));
                }
            }
        }
    }

    /// Whether the order is of a generation that is not needed any more, as none is in a stop.
    fn is_in_vain(&self, sent: &SentOrder) -> bool {
        !self.templates.contains_key(&sent.order.generation)
    }

    /// A child whose pid is not known serves nothing: a stop does not wait for it.
    fn kill_forked_in_vain(&mut self) {
        let Self { templates, orders, actions, .. } = self;
        let mut killed = BTreeSet::new();
        for sent in orders.sent_mut().filter(|sent| !templates.contains_key(&sent.order.generation)) {
            if !std::mem::replace(&mut sent.killed, true) {
                killed.insert(sent.template);
            }
        }
        actions.extend(killed.into_iter().map(TemplateAction::KillForked));
    }

    /// Starts a template in place of one that ends, now or later.
    fn replace(&mut self, now: Instant, generation: u32) {
        if self.templates.get_mut(&generation).is_some_and(|template| template.note_end(now)) {
            self.log(TemplateRemark::StartedAgain { generation });
            self.start(now, generation);
        } else {
            self.delay_start(now, generation, false);
        }
    }

    fn delay_start(&mut self, now: Instant, generation: u32, transient: bool) {
        let Some(template) = self.templates.get_mut(&generation) else { return };
        template.wait(now);
        let transient = transient || template.starts_when_needed();
        self.fail_waiting(generation, transient);
    }

    /// Tells once of each load that takes long.
    fn tell_long_loads(&mut self, now: Instant) {
        let long = self.templates.values_mut().filter_map(|template| {
            let time = template.becomes_long_load(now)?;
            Some(TemplateAction::Log(TemplateRemark::StillLoading { template: template.id, time }))
        });
        self.actions.extend(long);
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        self.tell_long_loads(now);
        let phases = self.templates.iter().map(|(generation, template)| (*generation, template.phase));
        for (generation, phase) in phases.collect::<Vec<_>>() {
            match phase {
                Phase::Waiting { again_at, .. } if again_at <= now => self.start(now, generation),
                Phase::Loading { until, .. } if until <= now => {
                    self.kill_late(now, generation, TemplateRemark::LoadTimeout);
                }
                _ => {}
            }
        }
        let late: BTreeSet<TemplateId> =
            self.orders.sent().filter(|sent| sent.until <= now).map(|sent| sent.template).collect();
        for template in late {
            match self.generation_of(template) {
                Some(generation) => self.kill_late(now, generation, TemplateRemark::Unanswered),
                None => self.end_forked(now, template),
            }
        }
        // What was killed has the time again to end.
        let again = deadline(now, self.timeout);
        for sent in self.orders.sent_mut().filter(|sent| sent.until <= now) {
            (sent.late, sent.until) = (true, again);
        }
    }

    fn kill_late(&mut self, now: Instant, generation: u32, remark: fn(TemplateId) -> TemplateRemark) {
        let Some(Template { id, .. }) = self.templates.get(&generation) else { return };
        self.actions.extend([TemplateAction::Log(remark(*id)), TemplateAction::Kill(*id)]);
        self.replace(now, generation);
    }

    /// Kills what an ended template has forked without an answer; and if that has ended no link either, gives up: a
    /// process of another group holds it.
    fn end_forked(&mut self, now: Instant, template: TemplateId) {
        let late = |sent: &&mut SentOrder| sent.template == template && sent.until <= now;
        let late = self.orders.sent_mut().filter(late);
        let killed = late.filter_map(|sent| {
            std::mem::replace(&mut sent.killed, true).then_some((sent.order, sent.withdrawn))
        });
        let killed: Vec<_> = killed.collect();
        if killed.is_empty() {
            self.actions.push_back(TemplateAction::KillForked(template));
        }
        for (order, withdrawn) in killed {
            self.orders.remove_sent(order.child);
            self.refuse(order, withdrawn, Refusal::Unanswered, true);
        }
    }
}
