//! What the master logs about its templates.

use std::fmt;
use std::io;

use super::TemplateEntry;
use crate::logging::{LogEvent, Logger};
use crate::master::Master;
use crate::master::messages::readable;
use crate::supervisor::TemplateRemark;

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
        let timeout = readable(self.plan.settings.start_timeout);
        let entry = |template| self.templates.entries.get(template);
        match remark {
            TemplateRemark::LoadTimeout(template) => {
                let Some(entry) = entry(&template) else { return };
                let reason = format!("{entry} was not ready within {timeout}");
                let event = entry.event("template_killed", logger);
                event.warn(format_args!("{reason}; killing it"));
                self.last_template_failure = Some(io::Error::other(reason));
                self.check_producer_of(template);
            }
            TemplateRemark::Unanswered(template) => {
                let Some(entry) = entry(&template) else { return };
                let reason = format!("{entry} did not fork a child within {timeout}");
                let event = entry.event("template_killed", logger);
                event.warn(format_args!("{reason}; killing it"));
                self.last_template_failure = Some(io::Error::other(reason));
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
                    readable(delay)
                ));
            }
        }
    }
}
