//! The children that templates fork: from the order until the pid is known.

use std::io;
use std::time::Instant;

use super::TemplateSet;
use crate::error::{Failure, plain};
use crate::listen::HeldSockets;
use crate::master::Master;
use crate::master::children::StartedChild;
use crate::protocol::{FromTemplate, ToTemplate};
use crate::shared::LanePlace;
use crate::supervisor::{ChildId, Event, Order, Refusal, TemplateId};
use crate::sys;

/// A child that a template was ordered to fork, with what it is given.
#[derive(Debug)]
pub(super) struct OrderedChild {
    slot: usize,
    generation: u32,
    pub(super) template: TemplateId,
    lane: Option<LanePlace>,
    listeners: HeldSockets,
}

impl TemplateSet {
    /// Whether a template is about to fork this child.
    pub(in crate::master) fn is_ordered(&self, child: ChildId) -> bool {
        self.ordered.contains_key(&child)
    }

    fn is_ordered_of(&self, template: TemplateId, child: ChildId) -> bool {
        self.ordered.get(&child).is_some_and(|ordered| ordered.template == template)
    }
}

impl Master {
    /// Whether the child is forked by a template. One that is part of an upgrade runs another program.
    pub(in crate::master) fn is_forked(&self, child: ChildId) -> bool {
        let of_upgrade = self.supervisor.is_upgrade_check(child) || self.supervisor.is_upgrade_trial(child);
        self.plan.has_templates() && !of_upgrade
    }

    pub(in crate::master) fn order_child(&mut self, order: Order) {
        self.templates.machine.order(Instant::now(), order);
        self.perform_for_templates();
    }

    pub(in crate::master) fn withdraw_child(&mut self, child: ChildId) {
        self.templates.machine.withdraw(child);
        self.perform_for_templates();
    }

    pub(super) fn order_fork(&mut self, template: TemplateId, order: Order) {
        let Order { child, slot, generation } = order;
        let lane = self.lease_lane(slot);
        let line = ToTemplate::Fork(child).to_line();
        match self.start_with(child, slot, generation, lane, |reactor, handover| {
            reactor.order_fork(template.into(), child.into(), &line, handover)
        }) {
            Ok(listeners) => {
                let ordered = OrderedChild { slot, generation, template, lane, listeners };
                self.templates.ordered.insert(child, ordered);
            }
            Err(source) => {
                lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
                self.not_ordered(template, order, source);
            }
        }
    }

    /// The template could not be told.
    fn not_ordered(&mut self, template: TemplateId, Order { child, slot, .. }: Order, source: io::Error) {
        if matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected) {
            // It takes no orders any more. Mostly it has ended, and that is the next event.
            let _ = self.reactor.kill(template.into());
            return self.templates.machine.not_sent(child);
        }
        let transient = sys::is_transient(&source);
        self.note_not_started(child, slot, transient, source);
        self.templates.machine.fork_failed(Instant::now(), child, transient);
    }

    pub(super) fn on_answer(&mut self, now: Instant, template: TemplateId, answer: FromTemplate) {
        let (FromTemplate::Forked { child, .. } | FromTemplate::NotForked { child, .. }) = answer;
        if !self.templates.is_ordered_of(template, child) {
            // The child has told its pid itself.
            return;
        }
        match answer {
            FromTemplate::Forked { child, pid } => {
                if !self.note_pid(child, pid) {
                    self.on_template_abused(template, &format!("a pid that is none of a child ({pid})"));
                }
            }
            FromTemplate::NotForked { child, error } => self.not_forked(now, child, error),
        }
    }

    fn not_forked(&mut self, now: Instant, child: ChildId, error: i32) {
        let Some(OrderedChild { slot, .. }) = self.templates.ordered.get(&child) else { return };
        let source = io::Error::from_raw_os_error(error);
        let transient = sys::is_transient(&source);
        let reason = format!("its template cannot fork: {}", plain(&source));
        self.note_not_started(child, *slot, transient, io::Error::new(source.kind(), reason));
        self.templates.machine.fork_failed(now, child, transient);
    }

    /// Takes what the child was given, which is not forked.
    pub(super) fn take_back(&mut self, child: ChildId) {
        self.reactor.forget_order(child.into());
        if let Some(OrderedChild { lane, .. }) = self.templates.ordered.remove(&child) {
            lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
        }
    }

    pub(super) fn order_failed(&mut self, order: Order, reason: Refusal, transient: bool) {
        let Order { child, slot, .. } = order;
        self.take_back(child);
        match reason {
            Refusal::NoTemplate => self.note_no_template(order),
            Refusal::Unanswered => {
                let source = io::Error::other("its template did not fork it in time");
                self.note_not_started(child, slot, transient, source);
            }
            // It is noted.
            Refusal::NotForked => {}
        }
        self.supervisor.handle(Instant::now(), Event::SpawnFailed { child, transient });
        self.forget_harmless_cause();
        self.close_vacated_sockets();
    }

    /// The log has the reason, once for all children.
    fn note_no_template(&mut self, Order { child, slot, generation }: Order) {
        let Some(source) = self.templates.failures.get(&generation).map(copy_of) else { return };
        self.last_failure = Some(Failure::NotStarted { slot, source });
        if self.supervisor.has_announced_ready() && !self.supervisor.is_successor(child) {
            let problem = format!(
                "child {slot} could not be started: the template of generation {generation} has failed"
            );
            self.report_start_problem(child, slot, true, problem);
        }
    }

    /// The pid of a child that was ordered. Returns whether it can be one.
    pub(in crate::master) fn note_pid(&mut self, child: ChildId, pid: u32) -> bool {
        if !self.reactor.note_pid(child.into(), pid) {
            return false;
        }
        let Some(ordered) = self.templates.ordered.remove(&child) else { return false };
        let OrderedChild { slot, generation, lane, listeners, .. } = ordered;
        self.note_started(child, StartedChild { slot, generation, pid, listeners, lane });
        self.supervisor.handle(Instant::now(), Event::Spawned { child, pid });
        self.templates.machine.answered(Instant::now(), child);
        true
    }

    /// Nothing has the other end of the link of a child that was ordered.
    pub(in crate::master) fn on_order_link_closed(&mut self, now: Instant, child: ChildId) {
        self.templates.machine.link_ended(now, child);
        self.perform_for_templates();
    }
}

/// The same error, for another child.
pub(super) fn copy_of(error: &io::Error) -> io::Error {
    let copy = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(copy, io::Error::from_raw_os_error)
}
