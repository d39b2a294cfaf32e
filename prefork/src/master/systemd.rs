//! Notifications to the service manager (systemd's `sd_notify`): ready, reloading, stopping, a status
//! line, requests for more time, and watchdog pings.
//!
//! The notifications follow from the state of the fleet, which this module sees after each turn of the
//! supervisor's loop in which that is another one, so that no history can leave one out. Only the request for a reload is an event:
//! the service manager waits for an answer to each request, also to one that is refused.
//!
//! The loop itself sends the watchdog pings. No other thread could be alive while the loop is not.
//!
//! No notification names the main process: an upgrade in place keeps its pid.
//!
//! - `outbox.rs`: what could not be sent, and when it is sent again

mod outbox;

use std::time::{Duration, Instant};

use outbox::{Outbox, StateChange};

use super::messages::{self, children, readable};
use crate::logging::Logger;
use crate::supervisor::{FleetState, FleetStatus};
use crate::sys;

/// Least interval between status lines without a change of state.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How much more time is asked for than the fleet's next deadline leaves.
const MARGIN: Duration = Duration::from_secs(10);

/// A service manager that receives notifications.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    logger: Logger,
    /// Whether children serve, and not this process (`workers = 0`).
    has_children: bool,
    announced: Announced,
    status: String,
    /// When the status may change again.
    status_at: Instant,
    /// How the last reload or upgrade failed, if it did.
    reload_failure: Option<&'static str>,
    /// The time until which the service manager waits, as it was asked to.
    extended_until: Option<Instant>,
    watchdog: Option<SystemdWatchdog>,
    outbox: Outbox,
    /// Whether the last notification could not be sent.
    send_failed: bool,
}

/// The last state that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Starting,
    Ready,
    Reloading,
    Stopping,
}

#[derive(Debug)]
struct SystemdWatchdog {
    interval: Duration,
    next: Instant,
}

impl ServiceManager {
    /// `None` without a service manager.
    pub(super) fn new(logger: &Logger) -> Option<Self> {
        Self::with_state(Announced::Starting, logger)
    }

    /// The same for a process that serves by itself.
    pub(crate) fn without_children(logger: &Logger) -> Option<Self> {
        Some(Self { has_children: false, ..Self::new(logger)? })
    }

    /// After an upgrade in place, which the previous program announced as a reload.
    pub(super) fn after_upgrade(logger: &Logger) -> Option<Self> {
        Self::with_state(Announced::Reloading, logger)
    }

    fn with_state(announced: Announced, logger: &Logger) -> Option<Self> {
        let now = Instant::now();
        // Twice in each timeout, as systemd advises.
        let watchdog = sys::watchdog().map(|timeout| SystemdWatchdog { interval: timeout / 2, next: now });
        sys::is_managed().then(|| Self {
            logger: logger.clone(),
            has_children: true,
            announced,
            status: String::new(),
            status_at: now,
            reload_failure: None,
            extended_until: None,
            watchdog,
            outbox: Outbox::default(),
            send_failed: false,
        })
    }

    /// A reload or an upgrade was requested.
    pub(super) fn reload_begins(&mut self) {
        if matches!(self.announced, Announced::Ready | Announced::Reloading) {
            self.announced = Announced::Reloading;
            self.reload_failure = None;
            self.outbox.change(StateChange::Reloading);
            self.send(Instant::now());
        }
    }

    /// A reload or an upgrade was refused or aborted.
    pub(super) fn reload_failed(&mut self, how: &'static str) {
        self.reload_failure = Some(how);
    }

    /// Sends what has changed; `deadline` is the fleet's next. Returns the latest time of the next
    /// call.
    pub(super) fn update(
        &mut self,
        now: Instant,
        fleet: &FleetStatus,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        // Without children, nothing limits the time of a start: a debugger may hold it.
        let deadline = deadline.filter(|_| self.has_children || fleet.state != FleetState::Starting);
        let status = self.status_of(fleet);
        let change = self.transition(fleet.state);
        if let Some(change) = change {
            self.outbox.change(change);
        }
        let pending = status != self.status;
        let send_status = pending && (change.is_some() || self.status_at <= now);
        if send_status {
            self.outbox.set_status(status.clone());
            self.status_at = now + STATUS_INTERVAL;
            self.status = status;
        }
        self.extend_timeout(now, fleet.state, deadline);
        self.ping(now);
        self.send(now);
        let status_due = (pending && !send_status).then_some(self.status_at);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status_due, fleet.failure_expires_at, watchdog, self.outbox.retry_at()].into_iter().flatten().min()
    }

    /// Reports the error that ended the fleet.
    pub(super) fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.outbox.set_status(format!("failed: {error}"));
        self.send(Instant::now());
    }

    fn transition(&mut self, state: FleetState) -> Option<StateChange> {
        let (announced, change) = match (self.announced, state) {
            // A reload that holds has done what it was asked for.
            (Announced::Starting | Announced::Reloading, FleetState::Serving | FleetState::Holding) => {
                (Announced::Ready, StateChange::Ready)
            }
            (Announced::Ready, FleetState::Reloading) => (Announced::Reloading, StateChange::Reloading),
            (
                Announced::Starting | Announced::Ready | Announced::Reloading,
                FleetState::StopDelay | FleetState::Stopping,
            ) => (Announced::Stopping, StateChange::Stopping),
            _ => return None,
        };
        self.announced = announced;
        Some(change)
    }

    fn status_of(&self, fleet: &FleetStatus) -> String {
        if !self.has_children {
            let failure = self.reload_failure.filter(|_| fleet.state == FleetState::Serving);
            let prefix = failure.map(|failure| format!("{failure}: ")).unwrap_or_default();
            return format!("{prefix}{}, in one process", fleet.state);
        }
        let prefix = match (fleet.state, self.reload_failure) {
            (FleetState::Stopping | FleetState::Ended, _) => {
                return format!("stopping: {} left", children(fleet.children.len()));
            }
            (FleetState::NotStarted | FleetState::Starting, _) => "starting: ",
            (FleetState::StopDelay, _) => "stop delay: ",
            (FleetState::Reloading, _) => "reloading: ",
            (FleetState::Holding, _) => "holding: ",
            (FleetState::Serving, Some(reload_failure)) => &format!("{reload_failure}: "),
            (FleetState::Serving, None) => "",
        };
        let of = children(fleet.slots);
        let mut text = format!("{prefix}{} of {of} ready, generation {}", fleet.ready, fleet.generation);
        if fleet.failures > 0 {
            let noun = if fleet.failures == 1 { "failure" } else { "failures" };
            text += &format!(", {} {noun}", fleet.failures);
            if let Some(window) = fleet.failure_window {
                text += &format!(" within {}", readable(window));
            }
        }
        text
    }

    /// While the fleet starts, reloads or stops, asks for time until the fleet's next deadline,
    /// whatever the unit's own timeouts are.
    fn extend_timeout(&mut self, now: Instant, state: FleetState, deadline: Option<Instant>) {
        if matches!(state, FleetState::Serving | FleetState::Holding) {
            self.extended_until = None;
            return self.outbox.forget_extension();
        }
        let wait = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if self.extended_until.is_none_or(|until| now + wait + MARGIN / 2 > until) {
            let until = now + wait + MARGIN;
            self.extended_until = Some(until);
            self.outbox.extend_until(until);
        }
    }

    fn ping(&mut self, now: Instant) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else { return };
        watchdog.next = now + watchdog.interval;
        self.outbox.ping();
    }

    /// Sends what has not been sent, without waiting.
    fn send(&mut self, now: Instant) {
        match self.outbox.send(now, sys::notify) {
            None => {}
            Some(Ok(())) => self.send_failed = false,
            // Logged once, until a notification is sent again.
            Some(Err(_)) if self.send_failed => {}
            Some(Err(error)) => {
                self.send_failed = true;
                messages::report_not_notified(&self.logger, &error);
            }
        }
    }
}
