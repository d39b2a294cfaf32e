//! The messages of a process that serves without children.

use std::io;

use super::master::OneProcess;
use crate::logging::Logger;
use crate::master::any_fleet::{self, readable};
use crate::protocol::ToChild;
use crate::supervisor::Remark;
use crate::sys;

/// Why something is refused.
const NO_CHILDREN: &str = "there are no children (workers = 0)";

impl OneProcess {
    pub(super) fn announce_start(&self) {
        self.logger.event("start").info(format_args!(
            "listening on {} (workers = 0), serving in this process, without children; pid {}",
            self.sockets,
            std::process::id()
        ));
    }

    pub(super) fn announce_ready(&self) {
        let how = sys::how_to_stop(std::process::id());
        self.logger.event("ready").info(format_args!("ready; stop with {how}"));
    }

    pub(super) fn warn_of_certificate(&self, warning: &str) {
        self.logger.event("certificate").warn(warning);
    }

    /// Reports that a reload or an upgrade is refused.
    pub(super) fn report_refused(&self, purpose: &str) {
        any_fleet::report_refused(&self.logger, &[format!("cannot {purpose}: {NO_CHILDREN}")]);
    }

    pub(super) fn report_not_resized(&self) {
        self.logger.event("not_resized").warn(format_args!("not resized: {NO_CHILDREN}"));
    }

    /// Reports once that the server asked for its replacement.
    pub(super) fn report_no_replacement(&mut self) {
        if !std::mem::replace(&mut self.recycling_reported, true) {
            let event = self.logger.event("child_retires");
            event.info(format_args!("this process asked to be replaced, and serves on: {NO_CHILDREN}"));
        }
    }

    /// Returns the message.
    pub(super) fn report_logs_reopened(&self) -> String {
        let message = "logs reopened";
        self.logger.event("logs_reopened").info(message);
        message.to_owned()
    }

    pub(super) fn report_leader(&self) {
        self.logger.event("leader").info("this process is the leader");
    }

    pub(super) fn report_unsent(&self, message: &ToChild, error: &io::Error) {
        let event = self.logger.event("cannot_send");
        event.warn(format_args!("this process could not be sent `{}`: {error}", message.kind()));
    }

    pub(super) fn report_returned(&self) {
        self.logger.event("returned").info("the serve function returned without a request to stop");
    }

    /// Logs what the supervisor has to say.
    pub(super) fn log(&self, remark: &Remark) {
        let logger = &self.logger;
        let grace = readable(self.grace);
        match remark {
            Remark::StoppingIn(delay) => any_fleet::report_stop_delay(logger, *delay),
            Remark::Stopping => logger.event("stopping").info(format_args!(
                "stopping: this process may take {grace} to finish; ask again to stop at once"
            )),
            Remark::NotEmptied => any_fleet::report_queue_left(logger),
            Remark::StoppingAtOnce => {
                logger.event("stopping_at_once").warn("stopping at once: ending this process");
            }
            Remark::GraceOver(_) => {
                let event = logger.event("child_killed");
                event.warn(format_args!("this process did not stop within {grace}; ending it"));
            }
            Remark::NothingHeld(request, reason) => any_fleet::report_nothing_held(logger, *request, *reason),
            Remark::Unexpected(event) => any_fleet::report_unexpected(logger, event),
            // No child is started again, replaced, or killed for another reason than the end of its grace.
            Remark::RespawnIn { .. }
            | Remark::StartRetried { .. }
            | Remark::BootTimeout(_)
            | Remark::LinkClosed(_)
            | Remark::Reloading { .. }
            | Remark::ReloadingCanary { .. }
            | Remark::Holding { .. }
            | Remark::Promoted { .. }
            | Remark::RollingBack { .. }
            | Remark::RolledBack { .. }
            | Remark::RestoringFailed { .. }
            | Remark::ReloadResumed { .. }
            | Remark::Reloaded { .. }
            | Remark::ReloadAborted { .. }
            | Remark::ReloadReplaced { .. }
            | Remark::Upgrading { .. }
            | Remark::CheckFailed
            | Remark::TrialFailed
            | Remark::UpgradeAborted
            | Remark::UpgradeReplaced
            | Remark::Recycling { .. }
            | Remark::RecyclingFailed { .. }
            | Remark::Resized { .. }
            | Remark::GrowUndone { .. }
            | Remark::NotResized(_) => {}
        }
    }
}

pub(super) fn report_lost(logger: &Logger, error: &io::Error) {
    let event = logger.event("cannot_watch");
    event.error(format_args!("this process cannot wait for requests any more, and ends: {error}"));
}
