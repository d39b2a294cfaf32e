//! The master's own exec into a new program, and how that one finds itself at home.
//!
//! What passes over: the listening sockets (that of health too) and the channels to the children, as
//! descriptors that stay open; the snapshot of the fleet and the secrets of its TLS, as text in a file
//! without a name. The process, and so its pid and its children, stay what they are. Signals wait until
//! the new program can take them.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use socket2::Socket;

use super::observers::Observers;
use super::systemd::Service;
use super::{ChildEntry, Master, Plan};
use crate::error::{Error, chain};
use crate::listen::{self, Endpoint, Passed, SocketSet};
use crate::protocol::{Inherited, Secrets, Upgrade};
use crate::supervisor::{SlotRole, Snapshot, Supervisor};
use crate::sys::{Inheritance, Program, Reactor};
use crate::tls::TlsStore;

impl Master {
    /// Executes the newest program in this process. Returns only if that fails.
    pub(super) fn exec(&mut self) {
        let newest = self.supervisor.next_generation() - 1;
        let snapshot = self.supervisor.snapshot(Instant::now());
        let secrets = self.store.secrets(newest);
        let error = match self.programs.get(&newest) {
            Some(program) => self.try_exec(program, &snapshot, &secrets),
            None => io::Error::other("its program was lost, which is a bug in prefork"),
        };
        self.plan
            .logger
            .event("cannot_execute")
            .error(format_args!("cannot execute the new program: {error}"));
    }

    fn try_exec(&self, program: &Program, snapshot: &Snapshot, secrets: &Secrets) -> io::Error {
        let channels: Vec<_> = snapshot.children.iter().map(|child| self.reactor.channel(child.id)).collect();
        let open: Vec<bool> = channels.iter().map(Option::is_some).collect();
        let health = self.observers.health_listener().zip(self.plan.health.as_deref());
        let state = Upgrade {
            fleet: snapshot,
            channels: &open,
            sockets: &self.sockets.passed(),
            privileges: &self.plan.privileges,
            cpus: &self.plan.cpus,
            health: health.map(|(_, addr)| addr),
            secrets,
        };
        let mut listeners = self.sockets.all();
        // The last one, if there is one.
        listeners.extend(health.map(|(listener, _)| listener));
        let event = self.plan.logger.event("executing");
        event.info(format_args!("executing {} in place of this master", program.path().display()));
        let channels: Vec<_> = channels.into_iter().flatten().collect();
        program.exec(&state.to_text(), &listeners, &channels)
    }

    /// Takes over from the program that this process ran before.
    pub(super) fn resume(plan: Plan, inheritance: Inheritance) -> Result<Self, Error> {
        let broken = |source| Error::Handshake { source };
        let os = |operation| move |source| Error::Os { operation, source };
        let Inheritance { text, mut listeners, channels } = inheritance;
        let last = Inherited::from_text(&text).map_err(broken)?;
        let health = last.health.as_ref().and_then(|_| listeners.pop());
        let store = TlsStore::inherit(plan.tls.clone(), last.fleet.generation, last.secrets.into())?;
        let (sockets, moved) = take_addresses(&plan, &last.sockets, listeners)?;
        let program = Program::current().map_err(os("find this program's own file"))?;
        let mut reactor = Reactor::new().map_err(os("receive signals"))?;
        let mut children = BTreeMap::new();
        let mut channels = channels.into_iter();
        for (child, has_channel) in last.fleet.children.iter().zip(&last.channels) {
            let channel = if *has_channel { channels.next() } else { None };
            reactor.adopt(child.id, child.pid, channel).map_err(broken)?;
            let dismissed = child.role == SlotRole::Leftover;
            let (slot, pid, ready) = (child.slot, child.pid, child.ready);
            let generation = child.generation;
            children.insert(child.id, ChildEntry { slot, pid, generation, here: true, ready, dismissed });
        }
        // The trial child was started by the last program, in that one's place and with its privileges.
        let everyone = moved || (&last.privileges, &last.cpus) != (&plan.privileges, &plan.cpus);
        let snapshot = last.fleet;
        let supervisor = Supervisor::resume(plan.settings, &snapshot, everyone, Instant::now());
        let programs = [(snapshot.generation, program)].into();
        let mut master = Self {
            observers: Observers::new(Service::after_upgrade(&plan.logger)),
            supervisor,
            plan,
            programs,
            store,
            reactor,
            sockets,
            children,
            last_failure: None,
            cause: None,
        };
        master.plan.logger.event("upgraded").generation(snapshot.generation).info(format_args!(
            "upgraded: this program is master now, of {}, on {}; master pid {}",
            super::messages::children(master.children.len()),
            master.sockets,
            std::process::id()
        ));
        master.resume_health(last.health.zip(health));
        for event in master.reactor.catch_up().map_err(os("wait for children"))? {
            master.note(event);
        }
        Ok(master)
    }
}

impl Master {
    /// Goes on answering questions of health where the last program did, or where this one is told
    /// to. The fleet does without if that cannot be: there is no way back to the old program.
    fn resume_health(&mut self, last: Option<(String, Socket)>) {
        let Some(wanted) = &self.plan.health else { return };
        let listener = match last {
            Some((addr, listener)) if addr == *wanted => Ok(listener),
            Some(_) | None => listen::listen_beside(wanted).map_err(|error| chain(&error).to_string()),
        };
        let started =
            listener.and_then(|listener| self.answer_health_on(listener).map_err(|error| error.to_string()));
        if let Err(error) = started {
            let event = self.plan.logger.event("cannot_tell_health");
            event.error(format_args!("{error}; nobody is told of the fleet's health"));
        }
    }
}

/// The sockets, as far as the options still name their addresses, and new ones for the others. If
/// those cannot be had the fleet stays where it is: there is no way back to the old program.
fn take_addresses(plan: &Plan, last: &[Passed], inherited: Vec<Socket>) -> Result<(SocketSet, bool), Error> {
    let broken = |source| Error::Handshake { source };
    let sockets = SocketSet::adopt(last, inherited, plan.sockets).map_err(broken)?;
    let workers = plan.settings.workers;
    // What the service manager opened stays in place of whatever the program says, unless it says names.
    let stays = sockets.are_activated() && !plan.endpoints.iter().any(Endpoint::is_activated);
    let rearranged = if stays {
        Ok(sockets)
    } else {
        sockets.rearranged(&plan.endpoints, plan.sharing, workers, plan.sockets)
    };
    let sockets = rearranged.unwrap_or_else(|(sockets, error)| {
        plan.logger.event("cannot_move").error(format_args!("{}; staying on {sockets}", chain(&error)));
        sockets
    });
    if let Err(error) = sockets.set_options() {
        plan.logger
            .event("cannot_set")
            .error(format_args!("{}; the sockets stay as they were", chain(&error)));
    }
    let endpoints = |all: &[Passed]| all.iter().map(|passed| passed.endpoint.clone()).collect::<Vec<_>>();
    let moved = endpoints(&sockets.passed()) != endpoints(last);
    Ok((sockets, moved))
}
