//! What the master logs about its templates.

use std::fmt;
use std::io;

use super::TemplateEntry;
use crate::logging::{LogEvent, Logger};
use crate::master::Master;
use crate::master::messages::readable;
use crate::supervisor::{ChildId, TemplateRemark};

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
}

impl Master {
    pub(super) fn log_template(&mut self, remark: TemplateRemark) {
        let logger = &self.plan.logger;
        match remark {
            TemplateRemark::LoadTimeout(template) => {
                self.report_late(template, "was not ready");
                self.check_producer_of(template);
            }
            TemplateRemark::Unanswered(template) => self.report_late(template, "did not fork a child"),
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
                    readable(delay)
                ));
            }
        }
    }

    /// A template that has not done its work in time is about to be killed.
    fn report_late(&mut self, template: ChildId, what: &str) {
        let Some(entry) = self.templates.entries.get(&template) else { return };
        let reason = format!("{entry} {what} within {}", readable(self.plan.settings.start_timeout));
        let event = entry.event("template_killed", &self.plan.logger);
        event.warn(format_args!("{reason}; killing it"));
        self.last_template_failure = Some(io::Error::other(reason));
    }
}
