//! Messages about one child, or about one slot.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::readable;
use crate::error::{Error, Failure, Status, chain};
use crate::logging::{LogEvent, Logger};
use crate::master::Master;
use crate::master::children::ChildEntry;
use crate::protocol::ToChild;
use crate::supervisor::{ChildId, RecycleReason};

/// `child 3 (pid 4711)`.
impl fmt::Display for ChildEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child {} (pid {})", self.slot, self.pid)
    }
}

impl ChildEntry {
    fn event<'a>(&self, name: &'static str, logger: &'a Logger) -> LogEvent<'a> {
        logger.event(name).child(self.slot, self.pid).generation(self.generation)
    }

    pub(in crate::master) fn report_started(&self, logger: &Logger) {
        self.event("child_started", logger).debug(format_args!("{self} started"));
    }

    pub(in crate::master) fn report_leader(&self, logger: &Logger) {
        self.event("leader", logger).info(format_args!("{self} is the leader"));
    }

    pub(in crate::master) fn report_resignation_ordered(&self, logger: &Logger) {
        self.event("leader_resigns", logger).debug(format_args!("{self} is asked to give up the leadership"));
    }

    pub(in crate::master) fn report_resigned(&self, logger: &Logger) {
        self.event("leader_resigned", logger).debug(format_args!("{self} has given up the leadership"));
    }

    pub(in crate::master) fn report_unknown_message(&self, logger: &Logger, line: &str) {
        let event = self.event("unknown_message", logger);
        event.debug(format_args!("{self} sent an unknown message: {line:?}"));
    }

    pub(in crate::master) fn report_abuse(&self, logger: &Logger, reason: &str) {
        let event = self.event("child_floods", logger);
        event.warn(format_args!("{self} sent its master {reason}; killing it"));
    }

    pub(in crate::master) fn report_unsignalled(&self, logger: &Logger, error: &io::Error) {
        let event = self.event("cannot_signal", logger);
        event.warn(format_args!("{self} could not be signalled: {error}"));
    }

    pub(in crate::master) fn report_unsent(&self, logger: &Logger, message: &ToChild, error: &io::Error) {
        let event = self.event("cannot_send", logger);
        event.warn(format_args!("{self} could not be sent `{}`: {error}", message.kind()));
    }

    /// Reports the exit of a child that was asked to stop.
    pub(in crate::master) fn report_stopped(&self, logger: &Logger, status: ExitStatus) {
        self.event("child_stopped", logger).debug(format_args!("{self} stopped: {}", Status(status)));
    }

    /// Reports the exit of a child that was not asked to stop.
    pub(in crate::master) fn report_exit(&self, logger: &Logger, status: ExitStatus) {
        let Self { slot, pid, .. } = *self;
        let ready = self.is_ready();
        if ready && status.success() {
            let event = self.event("child_ended", logger);
            return event.info(format_args!("{self} exited by itself: {}", Status(status)));
        }
        let failure = Failure::Exited { slot, pid, ready, status };
        self.event("child_failed", logger).warn(chain(&failure));
    }
}

impl Master {
    /// Reports a ready child. The children of the start are reported together, in one line.
    pub(in crate::master) fn report_ready(&self, child: ChildId) {
        let Some(entry) = self.children.get(&child) else { return };
        if self.supervisor.has_announced_ready() {
            entry.event("child_ready", &self.plan.logger).info(format_args!("{entry} is ready"));
        }
    }

    pub(in crate::master) fn report_replaced(&self, old: u32, new: u32) {
        // It is one of the last that were started.
        let Some(entry) = self.children.values().rev().find(|entry| entry.pid == new) else { return };
        let event = entry.event("child_replaced", &self.plan.logger);
        event.info(format_args!("{entry} started in place of pid {old}"));
    }

    /// Reports why a child could not be started, unless the slot's last attempt failed likewise. Why a reload is
    /// aborted is always reported.
    pub(in crate::master) fn report_start_problem(
        &mut self,
        child: ChildId,
        slot: usize,
        transient: bool,
        problem: String,
    ) {
        if self.supervisor.is_successor(child) || self.start_problems.get(&slot) != Some(&problem) {
            let event = self.plan.logger.event("child_not_started").slot(slot);
            if transient {
                event.warn(&problem)
            } else {
                event.error(&problem)
            }
            self.start_problems.insert(slot, problem);
        }
    }

    pub(in crate::master) fn report_no_preferred_cpu(&self, slot: usize, error: &io::Error) {
        let event = self.plan.logger.event("cannot_hint").slot(slot);
        event.debug(format_args!("cannot set the preferred CPU of slot {slot}: {error}"));
    }

    pub(in crate::master) fn report_restored_listener(&self, slot: usize, addr: &str) {
        let event = self.plan.logger.event("listener_restored").slot(slot);
        event.warn(format_args!("a child shut down the socket on {addr}; listening on it again"));
    }

    pub(super) fn boot_timed_out(&mut self, child: ChildId) {
        if let Some(entry) = self.children.get(&child) {
            let timeout = self.plan.settings.start_timeout;
            let failure = Failure::NotReady { slot: entry.slot, pid: entry.pid, timeout };
            let event = entry.event("child_not_ready", &self.plan.logger);
            event.warn(format_args!("{failure}; killing it"));
            if self.supervisor.is_upgrade_trial(child) {
                self.trial_failure = Some(of_trial_child(entry.slot, &failure.to_string()));
            }
            self.last_failure = Some(failure);
            self.check_handshake(Instant::now(), child);
        }
    }

    /// Notes why the trial child of an upgrade has failed: in its own words, if it has told.
    pub(in crate::master) fn note_trial_failure(
        &mut self,
        child: ChildId,
        entry: &ChildEntry,
        failure: &Failure,
    ) {
        if self.supervisor.is_upgrade_trial(child) {
            let reason = entry.log.last_error.clone().unwrap_or_else(|| failure.to_string());
            self.trial_failure = Some(of_trial_child(entry.slot, &reason));
        }
    }

    pub(super) fn report_grace_over(&self, child: ChildId) {
        if let Some(entry) = self.children.get(&child) {
            let grace = readable(self.plan.settings.grace);
            let event = entry.event("child_killed", &self.plan.logger);
            event.warn(format_args!("{entry} did not stop within {grace}; killing it"));
        }
    }

    pub(super) fn report_link_closed(&self, child: ChildId) {
        if let Some(entry) = self.children.get(&child) {
            let event = entry.event("child_unlinked", &self.plan.logger);
            event.warn(format_args!("{entry} closed its link to the master and has not exited; killing it"));
        }
    }

    pub(super) fn report_respawn(&self, slot: usize, delay: Duration) {
        let event = self.plan.logger.event("child_delayed").slot(slot);
        event.info(format_args!("child {slot} restarts in {}", readable(delay)));
    }

    pub(super) fn report_start_retried(&self, slot: usize) {
        let event = self.plan.logger.event("start_retried").slot(slot);
        event.warn(format_args!("child {slot} will be started once that works; trying ever more slowly"));
    }

    pub(super) fn report_recycling(&self, child: ChildId, reason: RecycleReason) {
        let Some(entry) = self.children.get(&child) else { return };
        let logger = &self.plan.logger;
        let (event, reason) = match reason {
            RecycleReason::Lifetime => (entry.event("child_beyond_limit", logger), "reached `max_lifetime`"),
            RecycleReason::Size => (entry.event("child_beyond_limit", logger), "is larger than `max_rss`"),
            RecycleReason::Retired => (entry.event("child_retires", logger), "asked to be replaced"),
            RecycleReason::Signalled => (entry.event("child_signalled", logger), "received SIGTERM"),
            RecycleReason::Operator => (entry.event("child_recycled", logger), "is to be replaced"),
        };
        event.info(format_args!("{entry} {reason}; replacing it, new before old"));
    }

    pub(super) fn report_recycling_failed(&self, slot: usize) {
        let event = self.plan.logger.event("child_not_replaced").slot(slot);
        event.warn(format_args!("child {slot} is not replaced yet: the new child did not become ready"));
    }
}

/// A message about the trial child of an upgrade, which names it as what it is: child 0 is the one that serves.
pub(in crate::master) fn of_trial_child(slot: usize, message: &str) -> String {
    let rest = message.strip_prefix(&format!("child {slot} "));
    rest.map_or_else(
        || format!("the trial child failed: {message}"),
        |rest| format!("the trial child {rest}"),
    )
}

/// Why `command_producer` is the cause: the process that it returned takes no handshake.
pub(in crate::master) fn handshake_not_taken(pid: u32) -> io::Error {
    io::Error::other(format!(
        "the process that it returned (pid {pid}) did not take the handshake; it must run the command that it was given, \
         with its standard input and its environment"
    ))
}

/// Why `command_producer` could not start the slot's child.
pub(in crate::master) fn not_started_by_producer(slot: usize, error: &Error) -> String {
    format!("child {slot} could not be started: {}", chain(error))
}
