//! The children that templates fork: from the order until the pid is known.

use std::io;
use std::sync::Weak;
use std::time::Instant;

use socket2::Socket;

use super::TemplateSet;
use crate::error::{Failure, chain};
use crate::master::Master;
use crate::master::children::StartedChild;
use crate::protocol::ToTemplate;
use crate::shared::LanePlace;
use crate::supervisor::{ChildId, Event};
use crate::sys;

/// A child that is to be forked.
#[derive(Debug)]
pub(super) struct ForkOrder {
    pub(super) slot: usize,
    generation: u32,
    /// What the child was given, once it was ordered of this template.
    pub(super) given: Option<(ChildId, Option<LanePlace>, Vec<Weak<Socket>>)>,
}

impl TemplateSet {
    /// The listeners that children hold, or are about to, whose pid is not known.
    pub(in crate::master) fn listeners_of_orders(&self) -> impl Iterator<Item = &[Weak<Socket>]> {
        self.orders.values().filter_map(|order| order.given.as_ref()).map(|(_, _, listeners)| &listeners[..])
    }

    /// Forgets an ended template, unless there is an order that it has not answered.
    fn forget_ended(&mut self, template: ChildId) {
        let waits = |order: &ForkOrder| order.given.as_ref().is_some_and(|(by, ..)| *by == template);
        if !self.orders.values().any(waits) {
            self.ended.remove(&template);
        }
    }
}

impl Master {
    /// Whether the child is forked by a template. One that is part of an upgrade runs another program.
    pub(in crate::master) fn is_forked(&self, child: ChildId) -> bool {
        let of_upgrade = self.supervisor.is_upgrade_check(child) || self.supervisor.is_upgrade_trial(child);
        self.plan.has_templates() && !of_upgrade
    }

    pub(in crate::master) fn order_child(&mut self, child: ChildId, slot: usize, generation: u32) {
        self.templates.orders.insert(child, ForkOrder { slot, generation, given: None });
        let waits = self.templates.machine.order(Instant::now(), child, generation);
        if waits && self.supervisor.has_announced_ready() && self.templates.waiting.insert(slot) {
            let event = self.plan.logger.event("template_awaited").slot(slot).generation(generation);
            event.info(format_args!(
                "child for slot {slot} waits for the template of generation {generation}"
            ));
        }
        self.perform_for_templates();
    }

    pub(in crate::master) fn withdraw_child(&mut self, child: ChildId) {
        self.templates.machine.withdraw(child);
        self.perform_for_templates();
    }

    pub(super) fn order_fork(&mut self, template: ChildId, child: ChildId) {
        let Some(ForkOrder { slot, generation, .. }) = self.templates.orders.get(&child) else { return };
        let (slot, generation) = (*slot, *generation);
        let lane = self.lease_lane(slot);
        let line = ToTemplate::Fork(child).to_line();
        match self.start_with(child, slot, generation, lane, |reactor, handover| {
            reactor.order_fork(template, child, &line, handover)
        }) {
            Ok(listeners) => {
                let orders = &mut self.templates.orders;
                orders.entry(child).and_modify(|order| order.given = Some((template, lane, listeners)));
            }
            Err(source) => {
                let is_unlinked =
                    matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected);
                if is_unlinked {
                    // It takes no orders any more. Mostly it has ended, and that is the next event.
                    let _ = self.reactor.kill(template);
                }
                let transient = is_unlinked || sys::is_transient(&source);
                lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
                self.note_order_problem(child, slot, transient, source);
                self.templates.machine.fork_failed(child, transient);
            }
        }
    }

    pub(super) fn note_order_problem(
        &mut self,
        child: ChildId,
        slot: usize,
        transient: bool,
        source: io::Error,
    ) {
        if self.supervisor.is_successor(child) {
            // The reason that a reload is aborted is always logged.
            self.start_problems.remove(&slot);
        }
        let failure = Failure::NotStarted { slot, source };
        self.report_start_problem(slot, transient, chain(&failure).to_string());
        self.last_failure = Some(failure);
    }

    pub(super) fn order_failed(&mut self, child: ChildId, transient: bool) {
        self.reactor.forget_order(child);
        if let Some(ForkOrder { slot, given, .. }) = self.templates.orders.remove(&child) {
            if let Some((template, lane, _)) = given {
                lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
                self.reap_unnamed(template);
            }
            self.templates.waiting.remove(&slot);
            let reason = self.last_template_failure.as_ref().map(copy_of);
            if let Some(reason) = reason.filter(|_| !self.start_problems.contains_key(&slot)) {
                self.note_order_problem(child, slot, transient, reason);
            }
        }
        self.supervisor.handle(Instant::now(), Event::SpawnFailed { child, transient });
        self.forget_harmless_cause();
        self.close_vacated_sockets();
    }

    pub(super) fn is_ordered_of(&self, child: ChildId, template: ChildId) -> bool {
        let order = self.templates.orders.get(&child).and_then(|order| order.given.as_ref());
        order.is_some_and(|(by, ..)| *by == template)
    }

    /// The pid of a child that was ordered. Returns whether it can be one.
    pub(in crate::master) fn note_pid(&mut self, child: ChildId, pid: u32) -> bool {
        if !self.reactor.note_pid(child, pid) {
            return false;
        }
        let Some(ForkOrder { slot, generation, given: Some((template, lane, listeners)) }) =
            self.templates.orders.remove(&child)
        else {
            return false;
        };
        self.templates.machine.answered(child);
        self.templates.forget_ended(template);
        self.templates.waiting.remove(&slot);
        self.note_started(child, StartedChild { slot, generation, pid, listeners, lane });
        self.supervisor.handle(Instant::now(), Event::Spawned { child, pid });
        true
    }

    /// Whether the pid of this child is not known yet.
    pub(in crate::master) fn is_ordered(&self, child: ChildId) -> bool {
        self.templates.orders.contains_key(&child)
    }

    /// Nothing has the other end of the link of a child that was ordered.
    pub(in crate::master) fn on_order_link_closed(&mut self, child: ChildId) {
        self.templates.machine.link_ended(child);
        self.perform_for_templates();
    }

    /// Reaps children of an ended template whose pid nobody told.
    fn reap_unnamed(&mut self, template: ChildId) {
        let Some(pid) = self.templates.ended.get(&template).copied() else { return };
        sys::reap_group_of_template(pid);
        self.templates.forget_ended(template);
    }

    pub(super) fn kill_unnamed(&mut self, template: ChildId) {
        if let Some(pid) = self.templates.ended.get(&template) {
            sys::kill_group_of_template(*pid);
        }
    }
}

/// The same error, for another child.
pub(super) fn copy_of(error: &io::Error) -> io::Error {
    let copy = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(copy, io::Error::from_raw_os_error)
}
