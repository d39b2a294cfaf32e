//! What the service manager is told (systemd's `sd_notify`): that the fleet is ready, reloads or
//! stops, how it is, how long to be patient, and that the supervisor is alive.
//!
//! The messages follow from the state of the fleet, which this is shown after each turn of the
//! supervisor's loop, so no history can leave one out. Only the beginning of a reload is an event: the
//! service manager waits for an answer to each request, also to one that comes to nothing.
//!
//! The watchdog's signs of life are sent by the loop itself, when it comes around. There is no thread
//! that could be alive while the supervisor is not.
//!
//! No message names the main process: an upgrade in place keeps its pid.

use std::time::{Duration, Instant};

use super::messages::{children, readable};
use crate::error::plain;
use crate::logging::Logger;
use crate::supervisor::{FleetState, FleetStatus};
use crate::sys::{self, Notice};

/// A status that says only how many are ready by now can wait this long for the next change.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the service manager is to be patient beyond the time at which something has to happen.
const MARGIN: Duration = Duration::from_secs(10);

/// A service manager that listens.
#[derive(Debug)]
pub(super) struct Service {
    logger: Logger,
    told: Told,
    status: String,
    /// When the status may change again.
    status_at: Instant,
    /// How the last reload failed, if it did.
    setback: Option<&'static str>,
    /// Until when it was asked to be patient.
    patient_until: Option<Instant>,
    watchdog: Option<Watchdog>,
    /// Whether the last message could not be sent.
    unheard: bool,
}

/// What it takes the fleet to be at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Starting,
    Ready,
    Reloading,
    Stopping,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Service {
    /// `None` where nobody wants to be told.
    pub(super) fn new(logger: &Logger) -> Option<Self> {
        Self::that_was(Told::Starting, logger)
    }

    /// After an upgrade in place: the program before this one has announced it as a reload.
    pub(super) fn after_upgrade(logger: &Logger) -> Option<Self> {
        Self::that_was(Told::Reloading, logger)
    }

    fn that_was(told: Told, logger: &Logger) -> Option<Self> {
        let now = Instant::now();
        // Twice as often as it has to be, as systemd advises.
        let watchdog = sys::watchdog().map(|timeout| Watchdog { interval: timeout / 2, next: now });
        sys::is_managed().then(|| Self {
            logger: logger.clone(),
            told,
            status: String::new(),
            status_at: now,
            setback: None,
            patient_until: None,
            watchdog,
            unheard: false,
        })
    }

    /// Somebody has asked for a reload or an upgrade.
    pub(super) fn reload_begins(&mut self) {
        if matches!(self.told, Told::Ready | Told::Reloading) {
            self.told = Told::Reloading;
            self.setback = None;
            self.send(&[Notice::Reloading]);
        }
    }

    /// It has come to nothing, or to half of what it was to be.
    pub(super) fn reload_failed(&mut self, how: &'static str) {
        self.setback = Some(how);
    }

    /// Tells what has changed; `deadline` is when the supervisor will act by itself. Returns when this
    /// wants to be called again at the latest.
    pub(super) fn update(
        &mut self,
        now: Instant,
        fleet: &FleetStatus,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let status = self.status_of(fleet);
        let mut notices = Vec::new();
        notices.extend(self.transition(fleet.state));
        let pending = status != self.status;
        let tell_status = pending && (!notices.is_empty() || self.status_at <= now);
        if tell_status {
            notices.push(Notice::Status(&status));
            self.status_at = now + STATUS_INTERVAL;
        }
        notices.extend(self.plea(now, fleet.state, deadline));
        notices.extend(self.sign_of_life(now));
        self.send(&notices);
        let status_due = (pending && !tell_status).then_some(self.status_at);
        if tell_status {
            self.status = status;
        }
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status_due, fleet.forgets_at, watchdog].into_iter().flatten().min()
    }

    /// The fleet has come to its end with an error.
    pub(super) fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.send(&[Notice::Status(&format!("failed: {error}"))]);
    }

    fn transition(&mut self, state: FleetState) -> Option<Notice<'static>> {
        let (told, notice) = match (self.told, state) {
            (Told::Starting | Told::Reloading, FleetState::Serving) => (Told::Ready, Notice::Ready),
            (Told::Ready, FleetState::Reloading) => (Told::Reloading, Notice::Reloading),
            (
                Told::Starting | Told::Ready | Told::Reloading,
                FleetState::StopDelay | FleetState::Stopping,
            ) => (Told::Stopping, Notice::Stopping),
            _ => return None,
        };
        self.told = told;
        Some(notice)
    }

    fn status_of(&self, fleet: &FleetStatus) -> String {
        let prefix = match (fleet.state, self.setback) {
            (FleetState::Stopping, _) => return format!("stopping: {} left", children(fleet.children.len())),
            (FleetState::Starting, _) => "starting: ",
            (FleetState::StopDelay, _) => "about to stop: ",
            (FleetState::Reloading, _) => "reloading: ",
            (FleetState::Serving, Some(setback)) => &format!("{setback}: "),
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

    /// While something is under way, patience until the supervisor's next deadline, whatever the
    /// service's own timeouts say: at that time it gives up on a child, and there is other news.
    fn plea(
        &mut self,
        now: Instant,
        state: FleetState,
        deadline: Option<Instant>,
    ) -> Option<Notice<'static>> {
        if state == FleetState::Serving {
            self.patient_until = None;
            return None;
        }
        let wait = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if self.patient_until.is_some_and(|until| now + wait + MARGIN / 2 <= until) {
            return None;
        }
        self.patient_until = Some(now + wait + MARGIN);
        Some(Notice::ExtendTimeout(wait + MARGIN))
    }

    fn sign_of_life(&mut self, now: Instant) -> Option<Notice<'static>> {
        let watchdog = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now)?;
        watchdog.next = now + watchdog.interval;
        Some(Notice::Watchdog)
    }

    fn send(&mut self, notices: &[Notice<'_>]) {
        if notices.is_empty() {
            return;
        }
        match sys::notify(notices) {
            Ok(()) => self.unheard = false,
            // Said once: the next message will fare no better.
            Err(_) if self.unheard => {}
            Err(error) => {
                self.unheard = true;
                let error = plain(&error);
                let event = self.logger.event("cannot_notify");
                event.warn(format_args!("cannot tell the service manager how the fleet is: {error}"));
            }
        }
    }
}
