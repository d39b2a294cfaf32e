//! The templates: starting them, and letting them fork children. The decisions are in `supervisor/templates.rs`.
//!
//! A child that a template forks is a child of the master, as any other. What it is handed over waits in its link,
//! whose other end goes through the template. Its pid is told by the template and by itself, because either may be
//! killed before; both are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Weak;
use std::time::Instant;

use log::Level;
use socket2::Socket;

use super::children::{ChildEntry, Panic, StopOrder};
use super::{Cause, Master, messages};
use crate::error::{Error, Failure, Status, chain};
use crate::logging::{LoggedEvent, tell_followers};
use crate::privileges::Privileges;
use crate::protocol::{
    FromTemplate, Handshake, LogMessage, LogPart, LogParts, Secrets, ToMaster, ToTemplate,
};
use crate::shared::LanePlace;
use crate::supervisor::{ChildId, Event, TemplateAction, TemplateRemark, Templates};
use crate::sys;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct TemplateSet {
    machine: Templates,
    entries: BTreeMap<ChildId, TemplateEntry>,
    /// The children that are to be forked.
    orders: BTreeMap<ChildId, ForkOrder>,
    /// Templates that have ended, and may have forked a child whose pid is not known.
    ended: BTreeMap<ChildId, u32>,
    /// Slots whose wait for a template was logged.
    waiting: BTreeSet<usize>,
}

/// A template's entry in the master.
#[derive(Debug)]
struct TemplateEntry {
    pid: u32,
    generation: u32,
    started_at: Instant,
    /// Whether it took the handshake.
    took_handshake: bool,
    ready: bool,
    /// Whether the master has killed it.
    killed: bool,
    /// What it has sent of a message of its log.
    log_parts: LogParts,
    /// Why it ends, in its own words.
    reason: Option<String>,
}

impl TemplateEntry {
    fn new(pid: u32, generation: u32, started_at: Instant) -> Self {
        Self {
            pid,
            generation,
            started_at,
            took_handshake: false,
            ready: false,
            killed: false,
            log_parts: LogParts::default(),
            reason: None,
        }
    }

    /// Notes a line that is a part of what the template logs, as of a child. Returns whether it is one.
    fn note_logged(&mut self, line: &str) -> bool {
        match self.log_parts.add(line) {
            LogPart::Other => return false,
            LogPart::Part => {}
            LogPart::Whole(LogMessage { level, event, text }) => {
                let event = LoggedEvent::of_process((None, self.pid, self.generation), level, event, text);
                if level == Level::Error {
                    self.reason = Some(event.text.clone());
                }
                tell_followers(|| event);
            }
        }
        true
    }
}

/// `template of generation 2 (pid 4711)`.
impl fmt::Display for TemplateEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template of generation {} (pid {})", self.generation, self.pid)
    }
}

#[derive(Debug)]
struct ForkOrder {
    slot: usize,
    generation: u32,
    /// What the child was given, once it was ordered of this template.
    given: Option<(ChildId, Option<LanePlace>, Vec<Weak<Socket>>)>,
}

impl TemplateSet {
    pub(super) fn new(timeout: std::time::Duration) -> Self {
        Self {
            machine: Templates::new(timeout),
            entries: BTreeMap::new(),
            orders: BTreeMap::new(),
            ended: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline()
    }

    /// The listeners that children hold, or are about to, whose pid is not known.
    pub(super) fn listeners_of_orders(&self) -> impl Iterator<Item = &[Weak<Socket>]> {
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
    pub(super) fn is_forked(&self, child: ChildId) -> bool {
        let of_upgrade = self.supervisor.is_upgrade_check(child) || self.supervisor.is_upgrade_trial(child);
        self.plan.preloads && !of_upgrade
    }

    pub(super) fn order_child(&mut self, child: ChildId, slot: usize, generation: u32) {
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

    pub(super) fn withdraw_child(&mut self, child: ChildId) {
        self.templates.machine.withdraw(child);
        self.perform_for_templates();
    }

    /// Ends the templates that are not needed any more.
    pub(super) fn keep_templates(&mut self) {
        let supervisor = &self.supervisor;
        let is_needed = |generation| supervisor.is_active() && supervisor.needs_generation(generation);
        self.templates.machine.keep(is_needed);
        self.templates.machine.set_timeout(self.plan.settings.start_timeout);
        self.perform_for_templates();
    }

    pub(super) fn check_templates(&mut self) {
        self.templates.machine.on_deadline(Instant::now());
        self.perform_for_templates();
    }

    /// Kills and reaps every template: what a program that is executed in this process does not know of.
    pub(super) fn destroy_templates(&mut self) {
        self.templates.machine.keep(|_| false);
        while self.templates.machine.poll_action().is_some() {}
        for template in std::mem::take(&mut self.templates.entries).into_keys() {
            self.reactor.destroy(template);
        }
    }

    fn perform_for_templates(&mut self) {
        while let Some(action) = self.templates.machine.poll_action() {
            match action {
                TemplateAction::Start { template, generation } => self.start_template(template, generation),
                TemplateAction::Fork { template, child } => self.order_fork(template, child),
                TemplateAction::Kill(template) => self.kill_template(template),
                TemplateAction::KillUnnamed(template) => self.kill_unnamed(template),
                TemplateAction::Fail { child, transient } => self.order_failed(child, transient),
                TemplateAction::Withdrawn(child) => {
                    self.templates.orders.remove(&child);
                    self.supervisor.handle(Instant::now(), Event::Withdrawn(child));
                }
                TemplateAction::Log(remark) => self.log_template(remark),
            }
        }
    }

    fn start_template(&mut self, template: ChildId, generation: u32) {
        let panicked = std::cell::RefCell::new(None);
        match self.try_start_template(template, generation, &panicked) {
            Ok(pid) => {
                let started_at = Instant::now();
                let entry = TemplateEntry::new(pid, generation, started_at);
                let event = self.plan.logger.event("template_started").generation(generation);
                event.debug(format_args!("{entry} started"));
                self.templates.entries.insert(template, entry);
                self.templates.machine.started(started_at, template);
            }
            Err(source) => {
                let transient = sys::is_transient(&source);
                self.template_not_started(generation, source, panicked.into_inner());
                self.templates.machine.start_failed(Instant::now(), template, transient);
            }
        }
    }

    fn try_start_template(
        &mut self,
        template: ChildId,
        generation: u32,
        panicked: &std::cell::RefCell<Option<Panic>>,
    ) -> io::Result<u32> {
        let options = self.options_of(generation)?;
        let secrets = Secrets { config: options.file.clone(), ..Secrets::default() };
        let handshake = Handshake {
            slot: 0,
            fleet: self.supervisor.fleet_size(),
            generation,
            grace: self.plan.settings.grace,
            master: std::process::id(),
            trial: false,
            upgrade: false,
            check: None,
            template: true,
            title: self.plan.title.clone(),
            privileges: Privileges { cpu: None, ..options.privileges },
            secrets: false,
            lane: None,
        };
        self.start_process(template, generation, handshake, &secrets, panicked)
    }

    fn order_fork(&mut self, template: ChildId, child: ChildId) {
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
                self.note_order_problem(child, slot, source);
                self.templates.machine.fork_failed(child, transient);
            }
        }
    }

    fn note_order_problem(&mut self, child: ChildId, slot: usize, source: io::Error) {
        if self.supervisor.is_successor(child) {
            // The reason that a reload is aborted is always logged.
            self.start_problems.remove(&slot);
        }
        let transient = sys::is_transient(&source);
        let failure = Failure::NotStarted { slot, source };
        self.report_start_problem(slot, transient, chain(&failure).to_string());
        self.last_failure = Some(failure);
    }

    fn order_failed(&mut self, child: ChildId, transient: bool) {
        self.reactor.forget_order(child);
        if let Some(ForkOrder { slot, given, .. }) = self.templates.orders.remove(&child) {
            if let Some((template, lane, _)) = given {
                lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
                self.reap_unnamed(template);
            }
            self.templates.waiting.remove(&slot);
            let known = self.start_problems.contains_key(&slot);
            if !known && self.last_template_failure.is_some() {
                let reason = self.last_template_failure.clone().unwrap_or_default();
                self.note_order_problem(child, slot, io::Error::other(reason));
            }
        }
        self.supervisor.handle(Instant::now(), Event::SpawnFailed { child, transient });
        self.forget_harmless_cause();
        self.close_vacated_sockets();
    }

    /// A line of a template.
    pub(super) fn on_template_message(&mut self, now: Instant, template: ChildId, line: &str) {
        if let Some(answer) = FromTemplate::from_line(line) {
            match answer {
                FromTemplate::Forked { child, pid } => {
                    if self.is_ordered_of(child, template) && !self.note_pid(child, pid) {
                        self.on_template_abused(template, &format!("a pid that is none of a child ({pid})"));
                    }
                }
                FromTemplate::NotForked { child, error } if self.is_ordered_of(child, template) => {
                    let source = io::Error::from_raw_os_error(error);
                    let transient = sys::is_transient(&source);
                    if let Some(slot) = self.templates.orders.get(&child).map(|order| order.slot) {
                        self.note_order_problem(child, slot, source);
                    }
                    self.templates.machine.fork_failed(child, transient);
                }
                FromTemplate::NotForked { .. } => {}
            }
        } else {
            let Some(entry) = self.templates.entries.get_mut(&template) else { return };
            match ToMaster::from_line(line) {
                Some(ToMaster::Received) => entry.took_handshake = true,
                Some(ToMaster::Ready) => self.template_is_ready(now, template),
                // A newer program may send others.
                _ => {
                    entry.note_logged(line);
                }
            }
        }
        self.perform_for_templates();
    }

    fn template_is_ready(&mut self, now: Instant, template: ChildId) {
        let Some(entry) = self.templates.entries.get_mut(&template) else { return };
        entry.ready = true;
        let after = messages::readable(now.saturating_duration_since(entry.started_at));
        let event = self.plan.logger.event("template_ready").generation(entry.generation);
        event.info(format_args!("{entry} is ready after {after}"));
        self.templates.waiting.clear();
        self.last_template_failure = None;
        self.templates.machine.ready(now, template);
    }

    fn is_ordered_of(&self, child: ChildId, template: ChildId) -> bool {
        let order = self.templates.orders.get(&child).and_then(|order| order.given.as_ref());
        order.is_some_and(|(by, ..)| *by == template)
    }

    /// The pid of a child that was ordered. Returns whether it can be one.
    pub(super) fn note_pid(&mut self, child: ChildId, pid: u32) -> bool {
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
        self.start_problems.remove(&slot);
        self.templates.waiting.remove(&slot);
        let entry = ChildEntry {
            slot,
            pid,
            generation,
            took_handshake: false,
            ready: false,
            listeners,
            order: StopOrder::None,
            lane,
            log_parts: LogParts::default(),
        };
        entry.report_started(&self.plan.logger);
        self.children.insert(child, entry);
        self.supervisor.handle(Instant::now(), Event::Spawned { child, pid });
        true
    }

    /// Whether the pid of this child is not known yet.
    pub(super) fn is_ordered(&self, child: ChildId) -> bool {
        self.templates.orders.contains_key(&child)
    }

    /// Nothing has the other end of the link of a child that was ordered.
    pub(super) fn on_order_link_closed(&mut self, child: ChildId) {
        self.templates.machine.link_ended(child);
        self.perform_for_templates();
    }

    pub(super) fn on_template_abused(&mut self, template: ChildId, reason: &str) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let event = self.plan.logger.event("template_killed").generation(entry.generation);
        event.warn(format_args!("{entry} sent its master {reason}; killing it"));
        self.kill_template(template);
    }

    /// Whether `command_producer` has returned a process that is no template. It is then the cause of the fleet's end.
    fn check_producer_of(&mut self, template: ChildId) -> bool {
        let Some(entry) = self.templates.entries.get(&template) else { return false };
        let works = entry.took_handshake || self.supervisor.has_announced_ready();
        if works || entry.killed || self.plan.hooks.command_producer.is_none() {
            return false;
        }
        let source = messages::handshake_not_taken(entry.pid);
        self.record_cause(Cause::Error(Error::CommandProducer { source }));
        true
    }

    fn kill_template(&mut self, template: ChildId) {
        if let Some(entry) = self.templates.entries.get_mut(&template) {
            entry.killed = true;
        }
        if let Err(error) = self.reactor.kill(template) {
            let event = self.plan.logger.event("cannot_signal");
            event.warn(format_args!("a template could not be signalled: {error}"));
        }
    }

    pub(super) fn on_template_exited(&mut self, now: Instant, template: ChildId, status: ExitStatus) {
        let is_refused = self.check_producer_of(template);
        let Some(entry) = self.templates.entries.remove(&template) else { return };
        let orders = self.templates.orders.iter();
        let left = orders.filter(|(_, order)| order.given.as_ref().is_some_and(|(by, ..)| *by == template));
        let left: Vec<ChildId> = left.map(|(child, _)| *child).collect();
        if !left.is_empty() {
            self.templates.ended.insert(template, entry.pid);
        }
        if !entry.killed {
            let state = if entry.ready { "" } else { " before it was ready" };
            let reason = format!("{entry} exited{state}: {}", Status(status));
            let event = self.plan.logger.event("template_ended").generation(entry.generation);
            event.warn(&reason);
            self.last_template_failure = Some(entry.reason.unwrap_or(reason));
        }
        self.templates.machine.exited(now, template, status.code().is_none() && !is_refused);
        for child in left {
            if self.reactor.channel_is_closed(child) {
                self.templates.machine.link_ended(child);
            }
        }
        self.perform_for_templates();
    }

    /// Reaps children of an ended template whose pid nobody told.
    fn reap_unnamed(&mut self, template: ChildId) {
        let Some(pid) = self.templates.ended.get(&template).copied() else { return };
        sys::reap_group_of_template(pid);
        self.templates.forget_ended(template);
    }

    fn kill_unnamed(&mut self, template: ChildId) {
        if let Some(pid) = self.templates.ended.get(&template) {
            sys::kill_group_of_template(*pid);
        }
    }

    fn template_not_started(&mut self, generation: u32, source: io::Error, panic: Option<Panic>) {
        let reason = format!("cannot start the template of generation {generation}: {source}");
        let event = self.plan.logger.event("template_not_started").generation(generation);
        event.error(&reason);
        self.last_template_failure = Some(reason);
        match panic {
            Some(panic) => self.record_cause(Cause::Panic(panic)),
            None if self.plan.hooks.command_producer.is_some() && !sys::is_transient(&source) => {
                self.record_cause(Cause::Error(Error::CommandProducer { source }));
            }
            None => {}
        }
    }

    fn log_template(&mut self, remark: TemplateRemark) {
        let logger = &self.plan.logger;
        let timeout = messages::readable(self.plan.settings.start_timeout);
        let entry = |template| self.templates.entries.get(template);
        match remark {
            TemplateRemark::LoadTimeout(template) => {
                let Some(entry) = entry(&template) else { return };
                let reason = format!("{entry} was not ready within {timeout}");
                let event = logger.event("template_killed").generation(entry.generation);
                event.warn(format_args!("{reason}; killing it"));
                self.last_template_failure = Some(reason);
            }
            TemplateRemark::Unanswered(template) => {
                let Some(entry) = entry(&template) else { return };
                let reason = format!("{entry} did not fork a child within {timeout}");
                let event = logger.event("template_killed").generation(entry.generation);
                event.warn(format_args!("{reason}; killing it"));
                self.last_template_failure = Some(reason);
            }
            TemplateRemark::StartedAgain { generation } => {
                let event = logger.event("template_again").generation(generation);
                event.info(format_args!(
                    "starting the template of generation {generation} again; its children serve on"
                ));
            }
            TemplateRemark::AgainIn { generation, delay } => {
                let event = logger.event("template_again").generation(generation);
                event.info(format_args!(
                    "the template of generation {generation} is started again in {}, or when a child needs it",
                    messages::readable(delay)
                ));
            }
        }
    }
}
