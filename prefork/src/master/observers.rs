//! The observers of the fleet's state, updated after each turn of the loop: service manager and health
//! endpoint.

use std::fmt;
use std::io;
use std::time::Instant;

use socket2::Socket;

use super::health::HealthServer;
use super::messages;
use super::systemd::Service;
use crate::logging::Logger;
use crate::supervisor::{ChildId, Supervisor};
use crate::sys::Reactor;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Observers {
    service: Option<Service>,
    health: Option<HealthServer>,
}

impl Observers {
    pub(crate) fn new(service: Option<Service>) -> Self {
        Self { service, health: None }
    }

    /// Starts the health endpoint on this listener.
    pub(crate) fn start_health(
        &mut self,
        listener: Socket,
        reactor: &mut Reactor<ChildId>,
        supervisor: &Supervisor,
        logger: &Logger,
    ) -> io::Result<()> {
        let addr = listener.local_addr()?.as_socket();
        let addr = addr.ok_or_else(|| io::Error::other("not a TCP address"))?;
        let fleet = supervisor.status(Instant::now());
        self.health = Some(HealthServer::start(listener, reactor.waker()?, fleet)?);
        messages::announce_health(logger, addr);
        Ok(())
    }

    /// The listener that an upgraded program keeps.
    pub(super) fn health_listener(&self) -> Option<&Socket> {
        self.health.as_ref().map(HealthServer::listener)
    }

    /// Updates the observers. Returns the latest time of the next update.
    pub(crate) fn update(&mut self, supervisor: &Supervisor) -> Option<Instant> {
        if self.service.is_none() && self.health.is_none() {
            return None;
        }
        let now = Instant::now();
        let fleet = supervisor.status(now);
        let deadline = supervisor.next_deadline();
        let next = self.service.as_mut().and_then(|service| service.update(now, &fleet, deadline));
        if let Some(health) = &self.health {
            health.post(fleet);
        }
        next
    }

    /// See [`Service::reload_begins`].
    pub(crate) fn reload_begins(&mut self) {
        if let Some(service) = &mut self.service {
            service.reload_begins();
        }
    }

    /// See [`Service::reload_failed`].
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
