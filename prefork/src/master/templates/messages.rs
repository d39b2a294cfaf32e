//! What the master logs about its templates.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::TemplateEntry;
use crate::error::{Status, plain};
use crate::logging::{LogEvent, Logger};
use crate::master::Master;
use crate::master::messages::readable;
use crate::supervisor::{Order, TemplateId, TemplateRemark};

/// `template of generation 2 (pid 4711)`.
impl fmt::Display for TemplateEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template of generation {} (pid {})", self.generation, self.pid)
    }
}

impl TemplateEntry {
    pub(super) fn event<'a>(&self, name: &'static str, logger: &'a Logger) -> LogEvent<'a> {
        logger.event(name).pid(self.pid).generation(self.generation)
    }

    pub(super) fn describe_exit(&self, status: ExitStatus) -> String {
        let state = if self.ready { "" } else { " before it was ready" };
        format!("{self} exited{state}: {}", Status(status))
    }
}

impl Master {
    pub(super) fn log_template(&mut self, remark: TemplateRemark) {
        match remark {
            TemplateRemark::Awaited(order) => self.report_awaited(order),
            TemplateRemark::StillLoading { template, time } => self.report_long_load(template, time),
            TemplateRemark::LoadTimeout(template) => {
                self.report_late(template, "was not ready");
                self.check_producer_of(template);
            }
            TemplateRemark::Unanswered(template) => self.report_late(template, "did not fork a child"),
            TemplateRemark::StartedAgain { generation } => {
                let event = self.plan.logger.event("template_again").generation(generation);
                event.info(format_args!(
                    "starting the template of generation {generation} again; its children serve on"
                ));
            }
            TemplateRemark::AgainIn { generation, delay, when_needed } => {
                let event = self.plan.logger.event("template_again").generation(generation);
                event.info(format_args!(
                    "the template of generation {generation} is started again in {}{}",
                    readable(delay),
                    if when_needed { ", or when a child needs it" } else { "" }
                ));
            }
        }
    }

    /// In a start and in a reload, every child waits.
    fn report_awaited(&self, Order { child, slot, generation }: Order) {
        if self.supervisor.has_announced_ready() && !self.supervisor.is_successor(child) {
            let event = self.plan.logger.event("template_awaited").slot(slot).generation(generation);
            event.info(format_args!(
                "child for slot {slot} waits for the template of generation {generation}"
            ));
        }
    }

    fn report_long_load(&self, template: TemplateId, time: Duration) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let event = entry.event("template_loads", &self.plan.logger);
        let (time, limit) = (readable(time), readable(self.plan.settings.start_timeout));
        event.info(format_args!("{entry} is still loading after {time}, of {limit} (`start_timeout`)"));
    }

    /// A template that has not done its work in time is about to be killed. The option is named: that it limits these
    /// as well is not plain.
    fn report_late(&mut self, template: TemplateId, what: &str) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let timeout = readable(self.plan.settings.start_timeout);
        let reason = format!("{entry} {what} within {timeout} (`start_timeout`)");
        let event = entry.event("template_killed", &self.plan.logger);
        event.warn(format_args!("{reason}; killing it"));
        self.templates.failures.insert(entry.generation, io::Error::other(reason));
    }

    pub(super) fn report_template_ready(&self, now: Instant, template: TemplateId) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let after = now.saturating_duration_since(entry.started_at).max(Duration::from_millis(1));
        let after = readable(after);
        let event = entry.event("template_ready", &self.plan.logger);
        event.info(format_args!("{entry} is ready after {after}"));
    }

    pub(super) fn report_template_exited(&self, entry: &TemplateEntry, status: ExitStatus) {
        let event = entry.event("template_ended", &self.plan.logger);
        let text = entry.describe_exit(status);
        if entry.killed { event.debug(text) } else { event.warn(text) }
    }

    pub(super) fn report_template_not_started(&self, generation: u32, source: &io::Error) {
        let event = self.plan.logger.event("template_not_started").generation(generation);
        event.error(format_args!("cannot start the template of generation {generation}: {}", plain(source)));
    }
}
