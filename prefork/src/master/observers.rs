//! The observers of the fleet's state, updated after each turn of the loop: service manager, health endpoint,
//! and the program's own handle.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::health::HealthServer;
use super::metrics::History;
use super::systemd::ServiceManager;
use super::{FleetHandle, messages};
use crate::listen::{SocketSet, WatchedListeners};
use crate::logging::Logger;
use crate::supervisor::{ChildId, FleetState, Supervisor};
use crate::sys::Reactor;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Observers {
    service: Option<ServiceManager>,
    health: Option<HealthServer>,
    handle: Option<FleetHandle>,
    /// The state that the health endpoint and the handle tell.
    posted: Option<FleetState>,
    /// The listeners that the health endpoint knows of.
    watched: Vec<WatchedListeners>,
    history: History,
}

impl Observers {
    pub(crate) fn new(service: Option<ServiceManager>, handle: Option<FleetHandle>) -> Self {
        Self { service, health: None, handle, posted: None, watched: Vec::new(), history: History::new() }
    }

    /// Goes on with what the last program has noted.
    pub(super) fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// What metrics need beside the state of the fleet.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Starts the health endpoint on this listener.
    pub(crate) fn start_health(
        &mut self,
        listener: Socket,
        reactor: &mut Reactor<ChildId>,
        supervisor: &Supervisor,
        sockets: &SocketSet,
        logger: &Logger,
    ) -> io::Result<()> {
        let addr = listener.local_addr()?.as_socket();
        let addr = addr.ok_or_else(|| io::Error::other("not a TCP address"))?;
        let fleet = supervisor.status(Instant::now());
        self.watched = sockets.watched();
        let (listeners, history) = (self.watched.clone(), self.history.clone());
        self.health = Some(HealthServer::start(listener, reactor.waker()?, fleet, listeners, history)?);
        messages::announce_health(logger, addr);
        Ok(())
    }

    /// Notes that a child of the slot has ended, which had used so much CPU time.
    pub(super) fn child_ended(&self, slot: usize, cpu: Duration) {
        self.history.child_ended(slot, cpu);
    }

    /// The listener that an upgraded program keeps.
    pub(super) fn health_listener(&self) -> Option<&Socket> {
        self.health.as_ref().map(HealthServer::listener)
    }

    /// Updates the observers. Returns the latest time of the next update.
    pub(crate) fn update(&mut self, supervisor: &Supervisor, sockets: &SocketSet) -> Option<Instant> {
        self.history.note_changes(supervisor.totals());
        if self.service.is_none() && self.health.is_none() && self.handle.is_none() {
            return None;
        }
        let now = Instant::now();
        let fleet = supervisor.status(now);
        let deadline = supervisor.next_deadline();
        let next = self.service.as_mut().and_then(|service| service.update(now, &fleet, deadline));
        self.posted = Some(fleet.state);
        if let Some(handle) = &self.handle {
            handle.post(fleet.clone());
        }
        if let Some(health) = &self.health {
            if !sockets.are_watched(&self.watched) {
                self.watched = sockets.watched();
                health.watch(self.watched.clone());
            }
            health.end_turn(fleet);
        }
        next
    }

    /// Posts a new state of the fleet during a turn, before the log and hooks tell of it. The service manager
    /// waits for the end of the turn: a hook may end the fleet that has just started.
    pub(crate) fn post_change(&mut self, supervisor: &Supervisor) {
        let is_observed = self.health.is_some() || self.handle.is_some();
        if !is_observed || self.posted == Some(supervisor.state()) {
            return;
        }
        self.history.note_changes(supervisor.totals());
        let fleet = supervisor.status(Instant::now());
        self.posted = Some(fleet.state);
        if let Some(handle) = &self.handle {
            handle.post(fleet.clone());
        }
        if let Some(health) = &self.health {
            health.post(fleet);
        }
    }

    /// See [`ServiceManager::reload_begins`].
    pub(crate) fn reload_begins(&mut self) {
        if let Some(service) = &mut self.service {
            service.reload_begins();
        }
    }

    /// See [`ServiceManager::reload_failed`].
    pub(crate) fn reload_failed(&mut self, how: &'static str) {
        if let Some(service) = &mut self.service {
            service.reload_failed(how);
        }
    }

    /// Reports the error that ended the fleet.
    pub(crate) fn failed(&mut self, error: &dyn fmt::Display) {
        if let Some(service) = &mut self.service {
            service.failed(error);
        }
    }
}

/// How long a master's loop may wait from now on: until the first of these; `None` is for ever.
pub(crate) fn time_to_first(deadlines: [Option<Instant>; 2]) -> Option<Duration> {
    let first = deadlines.into_iter().flatten().min()?;
    Some(first.saturating_duration_since(Instant::now()))
}
