//! The master's log messages, one line each. A message names the thing and the value first.

use std::time::{Duration, Instant};

use super::children::ChildEntry;
use super::{Master, Plan};
use crate::error::Failure;
use crate::supervisor::{ChildId, Remark};
use crate::sys;

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
        if sys::ignores_hangup() {
            let event = logger.event("hangup_ignored");
            event.info("SIGHUP stays ignored, as it was at the start (nohup): reload with SIGUSR2");
        }
    }

    pub(super) fn warn_of_certificate(&self, generation: u32) {
        if let Some(warning) = self.store.validity_warning(generation) {
            self.plan.logger.event("certificate").generation(generation).warn(warning);
        }
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

    /// Reports a ready child. The children of the start are reported together, in one line.
    pub(super) fn report_ready(&self, child: ChildId) {
        let Some(ChildEntry { slot, pid, generation, .. }) = self.children.get(&child) else { return };
        if self.supervisor.has_been_complete() {
            let event = self.plan.logger.event("child_ready").child(*slot, *pid).generation(*generation);
            event.info(format_args!("child {slot} (pid {pid}) is ready"));
        }
    }

    /// Reports a child that received a signal, unless the fleet stops: then every process may have
    /// received it.
    pub(super) fn report_signalled(&self, child: ChildId) {
        let Some(ChildEntry { slot, pid, generation, .. }) = self.children.get(&child) else { return };
        if self.supervisor.is_active() {
            let event = self.plan.logger.event("child_signalled").child(*slot, *pid).generation(*generation);
            event.info(format_args!(
                "child {slot} (pid {pid}) received SIGTERM; replacing it, new before old"
            ));
        }
    }

    pub(super) fn report_replaced(&self, old: u32, new: u32) {
        let Some(ChildEntry { slot, generation, .. }) = self.children.values().find(|entry| entry.pid == new)
        else {
            return;
        };
        let event = self.plan.logger.event("child_replaced").child(*slot, new).generation(*generation);
        event.info(format_args!("child {slot} (pid {new}) started in place of pid {old}"));
    }

    pub(super) fn log(&mut self, remark: &Remark) {
        let logger = &self.plan.logger;
        let grace = readable(self.plan.settings.grace);
        match remark {
            Remark::RespawnIn { slot, delay } => {
                let event = logger.event("child_delayed").slot(*slot);
                event.info(format_args!("child {slot} restarts in {}", readable(*delay)));
            }
            Remark::StartRetried { slot } => {
                let event = logger.event("start_retried").slot(*slot);
                event.warn(format_args!(
                    "child {slot} will be started once that works; trying ever more slowly"
                ));
            }
            Remark::BootTimeout(child) => self.boot_timed_out(*child),
            Remark::GraceOver(child) => {
                if let Some(ChildEntry { slot, pid, generation, .. }) = self.children.get(child) {
                    let event = logger.event("child_killed").child(*slot, *pid).generation(*generation);
                    event.warn(format_args!(
                        "child {slot} (pid {pid}) did not stop within {grace}; killing it"
                    ));
                }
            }
            Remark::LinkClosed(child) => {
                if let Some(ChildEntry { slot, pid, generation, .. }) = self.children.get(child) {
                    let event = logger.event("child_unlinked").child(*slot, *pid).generation(*generation);
                    event.warn(format_args!(
                        "child {slot} (pid {pid}) closed its link to the master and has not exited; killing it"
                    ));
                }
            }
            Remark::StoppingIn(delay) => logger.event("stop_delayed").info(format_args!(
                "stopping in {}: accepting until then; ask again to stop at once",
                readable(*delay)
            )),
            Remark::Stopping => logger.event("stopping").info(format_args!(
                "stopping: {} may take {grace} to finish; ask again to stop at once",
                children(self.children.len())
            )),
            Remark::NotEmptied => {
                let event = logger.event("queue_left");
                event.warn("closing with connections still queued; they are reset");
            }
            Remark::StoppingAtOnce => {
                let event = logger.event("stopping_at_once");
                event.warn(format_args!("stopping at once: killing {}", children(self.children.len())));
            }
            Remark::Reloading { generation } => {
                logger.event("reloading").generation(*generation).info(format_args!(
                    "reloading: generation {generation} of {} replaces {}, new before old",
                    self.path_of(*generation),
                    children(self.supervisor.fleet_size())
                ))
            }
            Remark::Reloaded { generation } => {
                let event = logger.event("reloaded").generation(*generation);
                event.info(format_args!("reloaded: every child is of generation {generation}"));
            }
            Remark::ReloadAborted { slot, replaced, of } => {
                self.observers.reload_failed("reload aborted");
                logger.event("reload_aborted").slot(*slot).error(format_args!(
                    "reload aborted: new child {slot} failed; {replaced} of {of} children replaced, \
                     the others keep running"
                ))
            }
            Remark::Upgrading { generation } => logger.event("upgrading").generation(*generation).info(
                format_args!("upgrading to {}: starting a trial child first", self.path_of(*generation)),
            ),
            Remark::UpgradeAborted => {
                self.observers.reload_failed("upgrade aborted");
                let event = logger.event("upgrade_aborted");
                event.error("upgrade aborted: the trial child did not become ready; the fleet is unchanged");
            }
            Remark::Recycling { slot } => {
                let event = logger.event("child_beyond_limit").slot(*slot);
                event.info(format_args!("child {slot} reached its limit; replacing it"));
            }
            Remark::RecyclingFailed { slot } => logger.event("child_not_replaced").slot(*slot).warn(
                format_args!("child {slot} stays beyond its limit; its replacement did not become ready"),
            ),
            Remark::Resized { from, to } => {
                let event = logger.event("resized");
                event.info(format_args!("resized from {from} to {}", children(*to)));
            }
            Remark::GrowUndone { slot, from, to } => {
                let event = logger.event("grow_undone").slot(*slot);
                event.error(format_args!(
                    "resize from {to} to {} undone: child {slot} could not be started",
                    children(*from)
                ));
            }
            Remark::NotResized(size) => {
                let reason = match *size {
                    0 | 1 => "the minimum",
                    size if size >= self.plan.settings.most_workers => "the maximum",
                    _ => "as close as its limits allow",
                };
                let event = logger.event("not_resized");
                event.warn(format_args!("not resized: {} is {reason}", children(*size)));
            }
            Remark::Unexpected(event) => {
                logger.event("bug").error(format_args!("a bug in prefork: unexpected {event:?}"))
            }
        }
    }

    fn path_of(&self, generation: u32) -> String {
        self.programs
            .get(&generation)
            .map_or_else(String::new, |program| program.path().display().to_string())
    }

    fn boot_timed_out(&mut self, child: ChildId) {
        if let Some(entry) = self.children.get(&child) {
            let timeout = self.plan.settings.start_timeout;
            let failure = Failure::NotReady { slot: entry.slot, pid: entry.pid, timeout };
            let event = self.plan.logger.event("child_not_ready").child(entry.slot, entry.pid);
            event.generation(entry.generation).warn(format_args!("{failure}; killing it"));
            self.last_failure = Some(failure);
            self.check_handshake(Instant::now(), child);
        }
    }
}

pub(super) fn children(count: usize) -> String {
    if count == 1 { "1 child".to_owned() } else { format!("{count} children") }
}

/// A duration, rounded down to milliseconds.
pub(super) fn readable(duration: Duration) -> humantime::FormattedDuration {
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
