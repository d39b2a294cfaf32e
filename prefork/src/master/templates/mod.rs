//! The templates: starting them, and letting them fork children. The decisions are in `supervisor/templates/`.
//!
//! A child that a template forks is a child of the master, as any other. What it is handed over waits in its link,
//! whose other end goes through the template. Its pid is told by the template and by itself, because either may be
//! killed before; both are checked.

mod messages;
mod orders;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::time::Instant;

use self::orders::{OrderedChild, copy_of};
pub(super) use self::status::TemplateStatus;
use super::children::Panic;
use super::messages::handshake_not_taken;
use super::process_log::ProcessLog;
use super::{Cause, Master};
use crate::error::Error;
use crate::privileges::Privileges;
use crate::protocol::{FromTemplate, Handshake, Secrets, ToMaster};
use crate::supervisor::{ChildId, Event, TemplateAction, TemplateId, Templates};
use crate::sys;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct TemplateSet {
    machine: Templates,
    entries: BTreeMap<TemplateId, TemplateEntry>,
    /// The children that a template is about to fork.
    ordered: BTreeMap<ChildId, OrderedChild>,
    /// Why the last template of a generation ended, or did not start, if none has become ready since.
    failures: BTreeMap<u32, io::Error>,
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
    log: ProcessLog,
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
            log: ProcessLog::default(),
        }
    }

    /// Notes a line that is a part of what the template logs.
    fn note_logged(&mut self, line: &str) {
        self.log.note(line, (None, self.pid, self.generation), true);
    }
}

impl TemplateSet {
    pub(super) fn new(timeout: std::time::Duration) -> Self {
        Self {
            machine: Templates::new(timeout),
            entries: BTreeMap::new(),
            ordered: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline()
    }

    pub(super) fn next_limit(&self) -> Option<Instant> {
        self.machine.next_limit()
    }
}

impl Master {
    /// Ends the templates that are not needed any more.
    pub(super) fn keep_templates(&mut self) {
        let supervisor = &self.supervisor;
        let is_needed = |generation| supervisor.is_active() && supervisor.needs_generation(generation);
        self.templates.machine.keep(is_needed);
        self.templates.failures.retain(|generation, _| is_needed(*generation));
        self.templates.machine.set_timeout(self.plan.settings.start_timeout);
        self.perform_for_templates();
    }

    pub(super) fn check_templates(&mut self, now: Instant) {
        self.templates.machine.on_deadline(now);
        self.perform_for_templates();
    }

    /// Kills and reaps every template: what a program that is executed in this process does not know of. If it is not
    /// executed, they are started again.
    pub(super) fn destroy_templates(&mut self) {
        self.templates.machine.restart(Instant::now());
        for template in std::mem::take(&mut self.templates.entries).into_keys() {
            self.reactor.destroy(template.into());
        }
    }

    pub(super) fn perform_for_templates(&mut self) {
        while let Some(action) = self.templates.machine.poll_action() {
            match action {
                TemplateAction::Start { template, generation } => self.start_template(template, generation),
                TemplateAction::Fork { template, order } => self.order_fork(template, order),
                TemplateAction::Kill(template) => self.kill_template(template),
                TemplateAction::KillForked(template) => self.reactor.kill_forked(template.into()),
                TemplateAction::TakeBack(child) => self.take_back(child),
                TemplateAction::Fail { order, reason, transient } => {
                    self.order_failed(order, reason, transient);
                }
                TemplateAction::Withdrawn(child) => {
                    self.take_back(child);
                    self.supervisor.handle(Instant::now(), Event::Withdrawn(child));
                }
                TemplateAction::Log(remark) => self.log_template(remark),
            }
        }
        // No child has waited for a template that could not be started.
        self.forget_harmless_cause();
    }

    fn start_template(&mut self, template: TemplateId, generation: u32) {
        let panicked = std::cell::RefCell::new(None);
        match self.try_start_template(template, generation, &panicked) {
            Ok(pid) => {
                let entry = TemplateEntry::new(pid, generation, Instant::now());
                let event = entry.event("template_started", &self.plan.logger);
                event.debug(format_args!("{entry} started"));
                self.templates.entries.insert(template, entry);
                self.templates.machine.started(Instant::now(), template);
            }
            Err(source) => {
                let transient = sys::is_transient(&source);
                self.report_template_not_started(generation, &source);
                self.templates.failures.insert(generation, copy_of(&source));
                self.note_producer_failure(source, panicked.into_inner());
                self.templates.machine.start_failed(Instant::now(), template, transient);
            }
        }
    }

    fn try_start_template(
        &mut self,
        template: TemplateId,
        generation: u32,
        panicked: &std::cell::RefCell<Option<Panic>>,
    ) -> io::Result<u32> {
        let options = self.options_of(generation)?;
        let secrets = Secrets { config: options.file.clone(), ..Secrets::default() };
        let privileges = Privileges { cpu: None, ..options.privileges };
        let handshake = Handshake { template: true, ..self.handshake(0, generation, privileges) };
        self.start_process(template.into(), generation, handshake, &secrets, panicked)
    }

    /// A line of a template.
    pub(super) fn on_template_message(&mut self, now: Instant, template: TemplateId, line: &str) {
        if let Some(answer) = FromTemplate::from_line(line) {
            self.on_answer(now, template, answer);
        } else {
            let Some(entry) = self.templates.entries.get_mut(&template) else { return };
            match ToMaster::from_line(line) {
                Some(ToMaster::Received) => entry.took_handshake = true,
                Some(ToMaster::Ready) => self.template_is_ready(now, template),
                // A newer program may send others.
                _ => entry.note_logged(line),
            }
        }
        self.perform_for_templates();
    }

    fn template_is_ready(&mut self, now: Instant, template: TemplateId) {
        let entry = self.templates.entries.get_mut(&template).filter(|entry| !entry.ready);
        let Some(entry) = entry else { return };
        entry.ready = true;
        let generation = entry.generation;
        self.templates.failures.remove(&generation);
        self.report_template_ready(now, template);
        self.templates.machine.ready(now, template);
        self.supervisor.handle(now, Event::TemplateReady { generation });
    }

    /// Kills a template that has sent what no template sends.
    pub(super) fn on_template_abused(&mut self, template: TemplateId, reason: &str) {
        let entry = self.templates.entries.get(&template).filter(|entry| !entry.killed);
        let Some(entry) = entry else { return };
        let reason = format!("{entry} sent its master {reason}");
        let event = entry.event("template_killed", &self.plan.logger);
        event.warn(format_args!("{reason}; killing it"));
        self.templates.failures.insert(entry.generation, io::Error::other(reason));
        self.kill_template(template);
    }

    /// Whether `command_producer` has returned a process that is no template. It is then the cause of the fleet's end.
    fn check_producer_of(&mut self, template: TemplateId) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let works = entry.took_handshake || self.supervisor.has_announced_ready();
        if !works && !entry.killed && self.plan.hooks.command_producer.is_some() {
            let source = handshake_not_taken(entry.pid);
            self.record_cause(Cause::Error(Error::CommandProducer { source }));
        }
    }

    fn kill_template(&mut self, template: TemplateId) {
        let Some(entry) = self.templates.entries.get_mut(&template) else { return };
        entry.killed = true;
        if let Err(error) = self.reactor.kill(template.into()) {
            let event = entry.event("cannot_signal", &self.plan.logger);
            event.warn(format_args!("{entry} could not be signalled: {error}"));
        }
    }

    pub(super) fn on_template_exited(&mut self, now: Instant, template: TemplateId, status: ExitStatus) {
        self.check_producer_of(template);
        let Some(entry) = self.templates.entries.remove(&template) else { return };
        self.report_template_exited(&entry, status);
        if !entry.killed {
            let reason = entry.log.last_error.clone().unwrap_or_else(|| entry.describe_exit(status));
            self.templates.failures.insert(entry.generation, io::Error::other(reason));
        }
        self.templates.machine.exited(now, template);
        let ordered = self.templates.ordered.iter().filter(|(_, child)| child.template == template);
        for child in ordered.map(|(child, _)| *child).collect::<Vec<_>>() {
            if self.reactor.channel_is_closed(child.into()) {
                self.templates.machine.link_ended(now, child);
            }
        }
        self.perform_for_templates();
    }

    /// Notes that a producer could not start a template, which may end the fleet.
    fn note_producer_failure(&mut self, source: io::Error, panic: Option<Panic>) {
        if let Some(panic) = panic {
            self.record_cause(Cause::Panic(panic));
        } else if self.plan.hooks.command_producer.is_some() && !sys::is_transient(&source) {
            self.record_cause(Cause::Error(Error::CommandProducer { source }));
        }
    }
}
