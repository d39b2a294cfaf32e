//! The master's log messages, one line each: every sentence that it says. A message names the thing and the
//! value first.
//!
//! - `messages.rs`: the fleet
//! - `one_child.rs`: one child, or one slot
//! - `canary.rs`: a reload that holds
//! - `any_fleet.rs`: what is also said where the master itself serves (`workers = 0`)

pub(crate) mod any_fleet;
mod canary;
mod one_child;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Change, LoadedBy, Master, Plan};
use crate::error::{Error, Failure, chain, plain};
use crate::listen::SocketSet;
use crate::logging::Logger;
use crate::supervisor::Remark;
use crate::sys;

pub(super) use one_child::{handshake_not_taken, not_started_by_producer, of_trial_child};

impl Master {
    pub(super) fn announce_start(&self) {
        let Plan { settings, workers_reason, logger, .. } = &self.plan;
        let reason = workers_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        logger.event("start").info(format_args!(
            "listening on {} ({}), starting {}{reason}; master pid {}",
            self.sockets,
            self.sockets.kind(),
            children(settings.workers),
            std::process::id()
        ));
        if self.plan.loaded_by == Some(LoadedBy::Child) {
            let event = logger.event("no_template");
            event.info(
                "each child loads for itself what `preload` gives: there are no templates on this system",
            );
        }
        if sys::ignores_hangup() {
            let event = logger.event("hangup_ignored");
            event.info("SIGHUP stays ignored, as it was at the start (nohup): reload with SIGUSR2");
        }
    }

    pub(super) fn announce_upgraded(&self, generation: u32) {
        self.plan.logger.event("upgraded").generation(generation).info(format_args!(
            "upgraded: this program is master now, of {}, on {}; master pid {}",
            children(self.supervisor.fleet_size()),
            self.sockets,
            std::process::id()
        ));
    }

    pub(super) fn announce_ready(&self, pids: &[u32]) {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        self.plan.logger.event("ready").info(format_args!(
            "{} ready (pids {}); stop with {}",
            children(pids.len()),
            list.join(" "),
            sys::how_to_stop(std::process::id())
        ));
    }

    pub(super) fn warn_of_certificate(&self, generation: u32) {
        if let Some(warning) = self.store.validity_warning(generation) {
            self.plan.logger.event("certificate").generation(generation).warn(warning);
        }
    }

    pub(super) fn report_unsteered(&self, error: &io::Error) {
        self.plan.logger.event("cannot_steer").warn(format_args!(
            "cannot steer new connections to live slots, they wait for their slot's next child: {error}"
        ));
    }

    /// Reports what a configuration file that was read again changes.
    pub(super) fn report_changes(&self, changes: &[Change]) {
        for Change { text, is_applied } in changes {
            if *is_applied {
                self.plan.logger.event("option_changed").info(text);
            } else {
                let event = self.plan.logger.event("option_waits");
                event.warn(format_args!("{text}: only an upgrade applies it; the fleet keeps the old value"));
            }
        }
    }

    /// Returns the message.
    pub(super) fn report_logs_reopened(&self, told: usize) -> String {
        let message = format!("logs reopened in the master, and requested of {}", children(told));
        self.plan.logger.event("logs_reopened").info(&message);
        message
    }

    pub(super) fn report_exec(&self, program: &Path) {
        let event = self.plan.logger.event("executing");
        event.info(format_args!("executing {} in place of this master", program.display()));
    }

    pub(super) fn report_exec_failed(&self, error: &io::Error) {
        let event = self.plan.logger.event("cannot_execute");
        event.error(format_args!("cannot execute the new program: {error}"));
    }

    pub(super) fn report_no_health_endpoint(&self, reason: &str) {
        let event = self.plan.logger.event("cannot_tell_health");
        event.error(format_args!("{reason}; there is no health endpoint"));
    }

    pub(super) fn report_no_control_socket(&self, reason: &str) {
        let event = self.plan.logger.event("cannot_open_control");
        event.error(format_args!("{reason}; there is no control socket"));
    }

    pub(super) fn report_no_pid_file(&self, error: &Error) {
        let event = self.plan.logger.event("cannot_write_pid_file");
        event.error(format_args!("{}; there is no pid file", chain(error)));
    }

    /// Logs what the supervisor has to say.
    pub(super) fn log(&mut self, remark: &Remark) {
        match remark {
            Remark::RespawnIn { slot, delay } => self.report_respawn(*slot, *delay),
            Remark::StartRetried { slot } => self.report_start_retried(*slot),
            Remark::BootTimeout(child) => self.boot_timed_out(*child),
            Remark::GraceOver(child) => self.report_grace_over(*child),
            Remark::LinkClosed(child) => self.report_link_closed(*child),
            Remark::Recycling { child, reason } => self.report_recycling(*child, *reason),
            Remark::RecyclingFailed { slot } => self.report_recycling_failed(*slot),
            Remark::StoppingIn(delay) => any_fleet::report_stop_delay(&self.plan.logger, *delay),
            Remark::Stopping => self.report_stopping(),
            Remark::NotEmptied => any_fleet::report_queue_left(&self.plan.logger),
            Remark::StoppingAtOnce => self.report_stopping_at_once(),
            Remark::Reloading { generation } => self.report_reloading(*generation),
            Remark::ReloadResumed { generation } => self.report_reload_resumed(*generation),
            Remark::Reloaded { generation } => self.report_reloaded(*generation),
            Remark::ReloadAborted { slot, replaced, of } => {
                self.report_reload_aborted(*slot, *replaced, *of);
            }
            Remark::ReloadReplaced { generation } => report_reload_replaced(&self.plan.logger, *generation),
            Remark::Upgrading { generation } => self.report_upgrading(*generation),
            Remark::CheckFailed => self.report_upgrade_aborted("the new program failed its check"),
            Remark::TrialFailed => {
                let reason = self.trial_failure.take();
                let unknown = "the trial child did not become ready";
                self.report_upgrade_aborted(reason.as_deref().unwrap_or(unknown));
            }
            Remark::UpgradeAborted => self.report_upgrade_aborted("the new program is not executed"),
            Remark::UpgradeReplaced => report_upgrade_replaced(&self.plan.logger),
            Remark::Resized { from, to } => self.report_resized(*from, *to),
            Remark::GrowUndone { slot, from, to } => self.report_grow_undone(*slot, *from, *to),
            Remark::NotResized(size) => self.report_not_resized(*size),
            Remark::ReloadingCanary { .. }
            | Remark::Holding { .. }
            | Remark::Promoted { .. }
            | Remark::RollingBack { .. }
            | Remark::RolledBack { .. }
            | Remark::RestoringFailed { .. }
            | Remark::NothingHeld(..) => self.log_canary(remark),
            Remark::Unexpected(event) => any_fleet::report_unexpected(&self.plan.logger, event),
        }
    }

    fn report_stopping(&self) {
        let event = self.plan.logger.event("stopping");
        if self.children.is_empty() {
            return event.info("stopping: there is no child");
        }
        event.info(format_args!(
            "stopping: {} may take {} to finish; ask again to stop at once",
            children(self.children.len()),
            readable(self.plan.settings.grace)
        ));
    }

    pub(super) fn report_given_up(&self, addr: &str) {
        let event = self.plan.logger.event("address_given_up");
        event.info(format_args!("no longer listening on {addr}; what is queued there is accepted first"));
    }

    pub(super) fn report_socket_reset(&self, addr: &str) {
        let event = self.plan.logger.event("queue_left");
        event.warn(format_args!("closing a socket on {addr} with connections still queued; they are reset"));
    }

    fn report_stopping_at_once(&self) {
        let event = self.plan.logger.event("stopping_at_once");
        event.warn(format_args!("stopping at once: killing {}", children(self.children.len())));
    }

    fn report_reloading(&self, generation: u32) {
        self.plan.logger.event("reloading").generation(generation).info(format_args!(
            "reloading: generation {generation} of {} replaces {}, new before old",
            self.path_of(generation),
            children(self.supervisor.fleet_size())
        ));
    }

    fn report_reload_resumed(&self, generation: u32) {
        let event = self.plan.logger.event("reload_resumed").generation(generation);
        event.info(format_args!("reload resumed: to generation {generation}"));
    }

    fn report_reloaded(&self, generation: u32) {
        let event = self.plan.logger.event("reloaded").generation(generation);
        event.info(format_args!("reloaded: every child is of generation {generation}"));
    }

    fn report_reload_aborted(&mut self, slot: usize, replaced: usize, of: usize) {
        self.observers.reload_failed("reload aborted");
        let event = self.plan.logger.event("reload_aborted").slot(slot);
        let failed = match &self.last_failure {
            // There was no child that could have told more.
            Some(failure @ Failure::NotStarted { slot: of, .. }) if *of == slot => {
                format!("new {}", chain(failure))
            }
            _ => format!("new child {slot} failed"),
        };
        event.error(format_args!(
            "reload aborted: {failed}; {replaced} of {of} children replaced, the others keep running"
        ));
    }

    fn report_upgrading(&self, generation: u32) {
        let event = self.plan.logger.event("upgrading").generation(generation);
        event.info(format_args!("upgrading to {}: checking it first", self.path_of(generation)));
    }

    pub(super) fn report_upgrade_aborted(&mut self, reason: &str) {
        self.observers.reload_failed("upgrade aborted");
        let event = self.plan.logger.event("upgrade_aborted");
        event.error(format_args!("upgrade aborted: {reason}; the fleet is unchanged"));
    }

    fn report_resized(&self, from: usize, to: usize) {
        let event = self.plan.logger.event("resized");
        event.info(format_args!("resized from {from} to {}", children(to)));
    }

    fn report_grow_undone(&self, slot: usize, from: usize, to: usize) {
        let event = self.plan.logger.event("grow_undone").slot(slot);
        event.error(format_args!(
            "resize from {to} to {} undone: child {slot} could not be started",
            children(from)
        ));
    }

    fn report_not_resized(&self, size: usize) {
        let reason = if size <= 1 { "the minimum" } else { "the maximum" };
        let event = self.plan.logger.event("not_resized");
        event.warn(format_args!("not resized: {} is {reason}", children(size)));
    }

    fn path_of(&self, generation: u32) -> String {
        self.programs
            .get(&generation)
            .map_or_else(String::new, |program| program.path().display().to_string())
    }
}

pub(super) fn announce_health(logger: &Logger, addr: SocketAddr) {
    logger.event("health").info(format_args!("health endpoint on {addr}"));
}

pub(super) fn report_control_lost(logger: &Logger, error: &io::Error) {
    let event = logger.event("cannot_open_control");
    event.error(format_args!("cannot serve the control socket any more: {}", plain(error)));
}

pub(super) fn report_not_notified(logger: &Logger, error: &io::Error) {
    let event = logger.event("cannot_notify");
    event.warn(format_args!("cannot notify the service manager: {}", plain(error)));
}

fn report_reload_replaced(logger: &Logger, generation: u32) {
    let event = logger.event("reload_aborted").generation(generation);
    event.warn(format_args!("reload to generation {generation} aborted: a later request takes its place"));
}

fn report_upgrade_replaced(logger: &Logger) {
    logger.event("upgrade_aborted").warn("upgrade aborted: a later request takes its place");
}

/// Reports a program whose options name other addresses than they did when it was checked.
pub(super) fn report_not_moved(logger: &Logger, sockets: &SocketSet) {
    let event = logger.event("cannot_move");
    event.error(format_args!("the addresses have changed during the upgrade; staying on {sockets}"));
}

pub(super) fn report_options_not_set(logger: &Logger, error: &Error) {
    let outcome = "some sockets keep their options, and the next reload tries again";
    logger.event("cannot_set").error(format_args!("{}; {outcome}", chain(error)));
}

pub(super) fn children(count: usize) -> String {
    if count == 1 { "1 child".to_owned() } else { format!("{count} children") }
}

/// A duration, rounded down to milliseconds.
pub(crate) fn readable(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_milliseconds() {
        assert_eq!(readable(Duration::from_micros(337_500)).to_string(), "337ms");
    }
}
