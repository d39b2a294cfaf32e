//! An upgrade: the master executes the new program in its own process, and the new program takes over.
//!
//! The listening sockets (the health endpoint's as well) and the channels to the children stay open over
//! the exec; an [`UpgradeSnapshot`] passes in a file that has no name. The process keeps its pid and its
//! children. Signals are blocked until the new program handles them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use socket2::Socket;

use super::observers::Observers;
use super::systemd::Service;
use super::{ChildEntry, FleetHandle, GenerationOptions, Master, Plan, create_pid_file, messages};
use crate::error::{Error, chain};
use crate::listen::{self, Endpoint, PassedSockets, SocketSet};
use crate::logging;
use crate::protocol::{HealthSocket, Secrets, UpgradeSnapshot};
use crate::supervisor::{Event, SlotRole, Supervisor};
use crate::sys::{Channel, HeldSignals, Inheritance, PidFile, Program, Reactor};
use crate::tls::{TlsSecrets, TlsStore};

/// A request came before the exec.
struct Interrupted;

impl Master {
    /// Executes the newest program in this process. Returns if that fails, and if a request has arrived: it
    /// is noted before the exec, which it may cancel. From then on signals wait for the new program.
    pub(super) fn exec(&mut self) {
        let newest = self.supervisor.next_generation() - 1;
        if let Some(program) = self.programs.get(&newest) {
            self.report_exec(program.path());
            // The thread that writes messages does not outlive the exec.
            logging::flush();
        }
        let error = match self.try_exec(newest) {
            Ok(Interrupted) => return,
            Err(error) => error,
        };
        self.report_exec_failed(&error);
        self.supervisor.handle(Instant::now(), Event::ExecFailed);
    }

    fn try_exec(&mut self, newest: u32) -> io::Result<Interrupted> {
        let held = HeldSignals::begin()?;
        // What the old program has noted of signals does not outlive the exec.
        if self.take_requests()? {
            return Ok(Interrupted);
        }
        // A request that another thread makes from here on waits for the lock, and ends with its thread.
        let handle = self.plan.handle.clone();
        let requests = handle.as_ref().map(FleetHandle::hold);
        if requests.as_ref().is_some_and(|requests| !requests.is_empty()) {
            return Ok(Interrupted);
        }
        let fleet = self.supervisor.snapshot(Instant::now());
        let file = self.options_of(newest).file;
        let secrets = Secrets { config: file, ..self.store.secrets(newest) };
        let (snapshot, listeners, channels) = self.hand_over(UpgradeSnapshot {
            fleet,
            secrets,
            sockets: self.sockets.passed(),
            privileges: self.plan.privileges.clone(),
            cpus: self.plan.cpus.clone(),
            pid_file: self.plan.pid_file.clone().zip(self.pid_file.as_ref().map(PidFile::number)),
            ..UpgradeSnapshot::default()
        });
        let pid_file = self.pid_file.as_ref();
        let lost = || io::Error::other("its program was lost, which is a bug in prefork");
        let program = self.programs.get(&newest).ok_or_else(lost)?;
        Err(program.exec(&held, &snapshot.to_text(), &listeners, &channels, pid_file))
    }

    /// Adds to the snapshot what is handed over with it: the listeners, numbered as
    /// [`SocketSet::passed`] does, and the channels.
    fn hand_over(&self, mut snapshot: UpgradeSnapshot) -> (UpgradeSnapshot, Vec<&Socket>, Vec<&Channel>) {
        let mut listeners = self.sockets.all();
        if let Some((listener, addr)) = self.observers.health_listener().zip(self.plan.health.clone()) {
            snapshot.health = Some(HealthSocket { addr, listener: listeners.len() });
            listeners.push(listener);
        }
        let mut channels = Vec::new();
        for child in &snapshot.fleet.children {
            if let Some(channel) = self.reactor.channel(child.id) {
                snapshot.channels.insert(child.id, channels.len());
                channels.push(channel);
            }
        }
        (snapshot, listeners, channels)
    }

    /// Takes over from the program that this process ran before.
    pub(super) fn resume(plan: Plan, inheritance: Inheritance) -> Result<Self, Error> {
        let broken = |source| Error::Handshake { source };
        let os = |operation| move |source| Error::Os { operation, source };
        let last = UpgradeSnapshot::from_text(&inheritance.text).map_err(broken)?;
        let mut listeners: Vec<_> = inheritance.listeners.into_iter().map(Some).collect();
        let store =
            TlsStore::inherit(plan.tls.clone(), last.fleet.generation, TlsSecrets::from(last.secrets))?;
        let (sockets, moved) = take_sockets(&plan, &last.sockets, &mut listeners)?;
        let program = Program::current().map_err(os("find this program's own file"))?;
        let mut reactor = Reactor::new().map_err(os("send and receive signals"))?;
        let mut children = BTreeMap::new();
        let mut channels: Vec<_> = inheritance.channels.into_iter().map(Some).collect();
        for child in &last.fleet.children {
            let channel = last.channels.get(&child.id);
            let channel = channel.and_then(|number| channels.get_mut(*number)?.take());
            reactor.adopt(child.id, child.pid, channel).map_err(broken)?;
            let asked_to_stop = child.role == SlotRole::Leftover;
            let (slot, pid, ready) = (child.slot, child.pid, child.ready);
            let generation = child.generation;
            children.insert(
                child.id,
                ChildEntry { slot, pid, generation, took_handshake: true, ready, asked_to_stop },
            );
        }
        // The last program started the trial child, on its own sockets and with its own privileges.
        let everyone = moved || last.privileges != plan.privileges || last.cpus != plan.cpus;
        let supervisor = Supervisor::resume(plan.settings, &last.fleet, everyone, Instant::now());
        let programs = [(last.fleet.generation, program)].into();
        let options = [(last.fleet.generation, GenerationOptions::new(&plan))].into();
        let mut master = Self {
            observers: Observers::new(Service::after_upgrade(&plan.logger)),
            supervisor,
            plan,
            programs,
            store,
            options,
            reactor,
            sockets,
            pid_file: None,
            children,
            last_failure: None,
            start_problems: BTreeMap::new(),
            cause: None,
        };
        master.announce_upgraded(last.fleet.generation);
        let health = last.health;
        master.resume_health(
            health.and_then(|HealthSocket { addr, listener }| {
                Some((addr, listeners.get_mut(listener)?.take()?))
            }),
        );
        master.resume_pid_file(last.pid_file);
        for event in master.reactor.catch_up().map_err(os("wait for children"))? {
            master.on_event(event);
        }
        // The last program may have been about to kill such a child.
        let unlinked = master.children.keys().filter(|child| master.reactor.channel(**child).is_none());
        for child in unlinked.copied().collect::<Vec<_>>() {
            master.supervisor.handle(Instant::now(), Event::LinkClosed(child));
        }
        Ok(master)
    }

    /// Keeps the health endpoint of the last program, or opens the one that this program's options name.
    /// If that fails, the fleet serves without one: there is no way back to the old program.
    fn resume_health(&mut self, last: Option<(String, Socket)>) {
        let Some(wanted) = &self.plan.health else { return };
        let listener = match last {
            Some((addr, listener)) if addr == *wanted => Ok(listener),
            Some(_) | None => listen::listen_beside(wanted).map_err(|error| chain(&error).to_string()),
        };
        let started =
            listener.and_then(|listener| self.start_health(listener).map_err(|error| error.to_string()));
        if let Err(error) = started {
            self.report_no_health_endpoint(&error);
        }
    }

    /// Keeps the pid file of the last program, or creates the one that this program's options name. If that
    /// fails, the fleet serves without one: there is no way back to the old program.
    fn resume_pid_file(&mut self, last: Option<(PathBuf, i32)>) {
        // Dropping it removes the file.
        let kept = last.and_then(|(path, number)| PidFile::adopt(&path, number).ok());
        let Some(wanted) = &self.plan.pid_file else { return };
        let kept = kept.and_then(|file| file.at(wanted));
        let pid_file = kept.map_or_else(|| create_pid_file(wanted), Ok);
        match pid_file {
            Ok(file) => self.pid_file = Some(file),
            Err(error) => self.report_no_pid_file(&error),
        }
    }
}

/// The last program's sockets, where the options still name their addresses, and new ones for the other
/// addresses. If those cannot be opened, the fleet stays on the old sockets: there is no way back to the
/// old program. Also whether the fleet moved.
fn take_sockets(
    plan: &Plan,
    last: &[PassedSockets],
    listeners: &mut [Option<Socket>],
) -> Result<(SocketSet, bool), Error> {
    let broken = |source| Error::Handshake { source };
    let sockets = SocketSet::adopt(last, listeners, plan.sockets).map_err(broken)?;
    let workers = plan.settings.workers;
    // The service manager's sockets stay, whatever address the options name, unless they name some of
    // the service manager's.
    let stays = sockets.are_activated() && !plan.endpoints.iter().any(Endpoint::is_activated);
    let rearranged = if stays {
        Ok(sockets)
    } else {
        sockets.rearranged(&plan.endpoints, plan.sharing, workers, plan.sockets)
    };
    let sockets = rearranged.unwrap_or_else(|(sockets, error)| {
        messages::report_not_moved(&plan.logger, &sockets, &error);
        sockets
    });
    if let Err(error) = sockets.set_options() {
        messages::report_options_not_set(&plan.logger, &error);
    }
    let endpoints =
        |all: &[PassedSockets]| all.iter().map(|passed| passed.endpoint.clone()).collect::<Vec<_>>();
    let moved = endpoints(&sockets.passed()) != endpoints(last);
    Ok((sockets, moved))
}
