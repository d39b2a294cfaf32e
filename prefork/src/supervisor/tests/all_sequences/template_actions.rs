//! What holds of each action of the templates. The rules are listed in `template_rules.rs`.

use super::super::super::{Order, Refusal, TemplateAction, TemplateId, TemplateRemark};
use super::super::*;
use super::template_rules::{FIRST_PAUSE, LONGEST_PAUSE, MOST_ORDERS};
use super::templates::{TemplateDriver, TemplateEvent, TemplateProcess};
use super::world::World;

impl World {
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
                let is_late = open.is_late(self.fleet.now, self.fleet.settings.start_timeout);
                assert!(!is_late, "a late order of {child:?} is taken back: {self:?}");
            }
            TemplateAction::Fail { order, reason, transient } => {
                self.check_failure(templates, *order, *reason, *transient);
            }
            TemplateAction::Withdrawn(child) => {
                let is_over = !templates.open.contains_key(child) || self.is_over(templates, *child);
                assert!(self.is_withdrawn(*child) && is_over, "{child:?} is no child: {self:?}");
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
            Refusal::Unanswered => {
                open.is_some_and(|open| open.is_late(now, timeout) && self.is_over(templates, child))
                    && transient
            }
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

    /// Whether there will be no child of an order that was sent: its link has ended, or what could end it was killed; or
    /// the template has outlived its own kill.
    fn is_over(&self, templates: &TemplateDriver, child: ChildId) -> bool {
        let open = &templates.open[&child];
        let timeout = self.fleet.settings.start_timeout;
        let outlives = templates.processes.get(&open.template).is_some_and(|process| process.killed);
        open.killed
            || (outlives && open.is_late(self.fleet.now, timeout))
            || match templates.event {
                Some(TemplateEvent::LinkEnded(ended) | TemplateEvent::Refused { child: ended, .. }) => {
                    ended == child
                }
                Some(TemplateEvent::Ended { template, with_links }) => {
                    template == open.template && with_links
                }
                _ => false,
            }
    }

    fn is_withdrawn(&self, child: ChildId) -> bool {
        let done = self.fleet.history[self.fleet.told..].iter().map(|(_, action)| action);
        // The next program gives the number of a child that was not started again.
        let of_program = done.rev().take_while(|action| **action != Action::Exec);
        self.deeds(child).withdrawn || of_program.into_iter().any(|action| *action == Action::Withdraw(child))
    }
}
