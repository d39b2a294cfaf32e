//! The templates: starting them, and letting them fork children. The decisions are in `supervisor/templates.rs`.
//!
//! A child that a template forks is a child of the master, as any other. What it is handed over waits in its link,
//! whose other end goes through the template. Its pid is told by the template and by itself, because either may be
//! killed before; both are checked.

mod messages;
mod orders;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitStatus;
use std::time::Instant;

use log::Level;

use self::orders::{ForkOrder, copy_of};
pub(super) use self::status::TemplateStatus;
use super::children::Panic;
use super::messages::{handshake_not_taken, readable};
use super::{Cause, Master};
use crate::error::{Error, Status, plain};
use crate::logging::{LoggedEvent, tell_followers};
use crate::privileges::Privileges;
use crate::protocol::{FromTemplate, Handshake, LogMessage, LogPart, LogParts, Secrets, ToMaster};
use crate::supervisor::{ChildId, Event, TemplateAction, Templates};
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
}

impl Master {
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
                TemplateAction::Fail { child, transient } => {
                    let is_refused = matches!(self.cause, Some(Cause::Error(Error::CommandProducer { .. })));
                    self.order_failed(child, transient && !is_refused);
                }
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
                let event = entry.event("template_started", &self.plan.logger);
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
                        let reason = format!("its template cannot fork: {}", plain(&source));
                        let source = io::Error::new(source.kind(), reason);
                        self.note_order_problem(child, slot, transient, source);
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
        let after = readable(now.saturating_duration_since(entry.started_at));
        let event = entry.event("template_ready", &self.plan.logger);
        event.info(format_args!("{entry} is ready after {after}"));
        self.templates.waiting.clear();
        self.last_template_failure = None;
        self.templates.machine.ready(now, template);
    }

    pub(super) fn on_template_abused(&mut self, template: ChildId, reason: &str) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let event = entry.event("template_killed", &self.plan.logger);
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
        let source = handshake_not_taken(entry.pid);
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
            let event = entry.event("template_ended", &self.plan.logger);
            event.warn(&reason);
            self.last_template_failure = Some(io::Error::other(entry.reason.unwrap_or(reason)));
        }
        self.templates.machine.exited(now, template, status.code().is_none() && !is_refused);
        for child in left {
            if self.reactor.channel_is_closed(child) {
                self.templates.machine.link_ended(child);
            }
        }
        self.perform_for_templates();
    }

    fn template_not_started(&mut self, generation: u32, source: io::Error, panic: Option<Panic>) {
        let event = self.plan.logger.event("template_not_started").generation(generation);
        event.error(format_args!("cannot start the template of generation {generation}: {}", plain(&source)));
        self.last_template_failure = Some(copy_of(&source));
        match panic {
            Some(panic) => self.record_cause(Cause::Panic(panic)),
            None if self.plan.hooks.command_producer.is_some() && !sys::is_transient(&source) => {
                self.record_cause(Cause::Error(Error::CommandProducer { source }));
            }
            None => {}
        }
    }
}
