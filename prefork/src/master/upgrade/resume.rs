//! The new program takes over.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use crate::error::{Error, chain};
use crate::listen::{self, Holders, Holding, ResolvedEndpoint, SocketSet};
use crate::master::canary::CanaryWatch;
use crate::master::children::{ChildEntry, StartedChild, StopOrder};
use crate::master::control::{Control, ControlSocket};
use crate::master::metrics::History;
use crate::master::observers::Observers;
use crate::master::systemd::ServiceManager;
use crate::master::templates::TemplateSet;
use crate::master::{GenerationOptions, Master, Plan, create_pid_file, messages};
use crate::protocol::{HealthSocket, PassedControl, SecretFile, UpgradeSnapshot};
use crate::shared::{FleetValues, PassedValues};
use crate::supervisor::{ChildSnapshot, Event, FleetTotals, SlotRole, Supervisor};
use crate::sys::{Activated, Channel, Inheritance, PidFile, Program, Reactor, SocketFile};
use crate::tls::{TlsSecrets, TlsStore};

/// The program before this one in this process, and what it handed over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    snapshot: UpgradeSnapshot,
    listeners: Vec<Arc<Socket>>,
    channels: Vec<Option<Channel>>,
}

impl Predecessor {
    /// # Errors
    ///
    /// [`Error::Handshake`] if its text cannot be read.
    pub(crate) fn read(inheritance: Inheritance) -> Result<Self, Error> {
        let snapshot = UpgradeSnapshot::from_text(&inheritance.text);
        Ok(Self {
            snapshot: snapshot.map_err(|source| Error::Handshake { source })?,
            listeners: inheritance.listeners.into_iter().map(Arc::new).collect(),
            channels: inheritance.channels.into_iter().map(Some).collect(),
        })
    }

    /// The sockets that the service manager has passed to the first program in this process.
    pub(crate) fn activated(&self) -> io::Result<Vec<Activated>> {
        let mut activated = Vec::new();
        for passed in &self.snapshot.sockets.sockets {
            let first = passed.listeners.first().and_then(|number| self.listeners.get(*number));
            if let Some((name, socket)) = passed.endpoint.activated_name().zip(first) {
                activated.push(Activated { name: name.to_owned(), socket: socket.try_clone()? });
            }
        }
        Ok(activated)
    }

    /// The configuration file of the children that the last program has started for this one.
    pub(crate) fn config_file(&self) -> Option<SecretFile> {
        self.snapshot.secrets.config.clone()
    }

    fn channel_of(&mut self, child: &ChildSnapshot) -> Option<Channel> {
        let number = self.snapshot.channels.get(&child.id)?;
        self.channels.get_mut(*number)?.take()
    }

    fn entry_of(&self, child: &ChildSnapshot, values: &FleetValues, holders: &Holders) -> ChildEntry {
        let held = self.snapshot.held.get(&child.id).into_iter().flatten();
        let listeners = held.filter_map(|number| self.listeners.get(*number)).map(Arc::downgrade);
        let mut entry = ChildEntry::new(StartedChild {
            slot: child.slot,
            pid: child.pid,
            generation: child.generation,
            listeners: holders.add(listeners.collect(), Holding::Idle),
            lane: self.snapshot.lanes.get(&child.id).and_then(|lane| values.adopted(*lane, child.pid)),
        });
        entry.took_handshake = true;
        if child.ready {
            entry.note_ready();
        }
        if child.role == SlotRole::Leftover {
            entry.note_order(StopOrder::Given);
        }
        entry
    }
}

impl Master {
    /// Takes over from the program that this process ran before.
    pub(in crate::master) fn resume(plan: Plan, mut last: Predecessor) -> Result<Self, Error> {
        let broken = |source| Error::Handshake { source };
        let generation = last.snapshot.fleet.generation;
        let secrets = TlsSecrets::from(std::mem::take(&mut last.snapshot.secrets));
        let store = TlsStore::inherit(plan.tls.clone(), generation, secrets)?;
        let sockets = take_sockets(&plan, &last)?;
        let program = Program::current().map_err(Error::os("find this program's own file"))?;
        let mut reactor = Reactor::new().map_err(Error::os("send and receive signals"))?;
        let passed = last.snapshot.values.take();
        let joins = passed.as_ref().is_none_or(PassedValues::has_this_layout);
        let values = FleetValues::resume(&plan.logger, passed, last.snapshot.lanes.values().copied());
        let (mut children, holders) = (BTreeMap::new(), Holders::default());
        for child in std::mem::take(&mut last.snapshot.fleet.children) {
            reactor.adopt(child.id.into(), child.pid, last.channel_of(&child)).map_err(broken)?;
            children.insert(child.id, last.entry_of(&child, &values, &holders));
            last.snapshot.fleet.children.push(child);
        }
        let Predecessor { snapshot, listeners, .. } = last;
        let options = GenerationOptions::new(&plan);
        let first_cpu = options.cpu_of(0);
        // The trial child was started as this program's children are, unless its options have changed since, or it
        // could not join the shared values.
        // With `preload`, it has loaded for itself alone.
        let everyone = plan.has_templates()
            || !joins
            || snapshot.privileges != plan.privileges
            || snapshot.cpus != plan.cpus;
        let supervisor = Supervisor::resume(plan.settings, &snapshot.fleet, everyone, Instant::now());
        let mut master = Self {
            observers: Observers::new(ServiceManager::after_upgrade(&plan.logger), plan.handle.clone())
                .with_history(History::resume(snapshot.totals, &snapshot.fleet.totals)),
            values,
            supervisor,
            templates: TemplateSet::new(plan.settings.start_timeout),
            plan,
            programs: [(generation, program)].into(),
            store,
            options: [(generation, options)].into(),
            reactor,
            sockets,
            holders,
            next: None,
            pid_file: None,
            children,
            last_failure: None,
            trial_failure: None,
            canary: CanaryWatch::default(),
            start_problems: BTreeMap::new(),
            cause: None,
        };
        // Clients that follow the events are told of the upgrade.
        let before = (snapshot.fleet.totals, snapshot.fleet.slots);
        master.resume_control(&snapshot.control, &listeners, before);
        master.announce_upgraded(generation);
        master.warn_of_certificate(generation);
        // The last program started the child in slot 0.
        master.hint_cpu(0, first_cpu);
        master.resume_health(snapshot.health, listeners);
        master.resume_pid_file(snapshot.pid_files);
        let looked_at = Instant::now();
        for event in master.reactor.catch_up().map_err(Error::os("wait for children"))? {
            master.on_event(event);
        }
        // The last child that held a removed address may have ended before the exec.
        master.close_vacated_sockets();
        // The last program may have been about to kill such a child.
        let unlinked =
            master.children.keys().filter(|child| master.reactor.channel((**child).into()).is_none());
        for child in unlinked.copied().collect::<Vec<_>>() {
            master.supervisor.handle(Instant::now(), Event::LinkClosed(child));
        }
        // Whatever has happened is known: the upgrade continues.
        master.supervisor.handle(looked_at, Event::DeadlinePassed);
        Ok(master)
    }

    /// Takes over the health endpoint. If the options have changed since they were checked, opens the one
    /// that they name; if that fails, the fleet serves without one, because there is no way back.
    fn resume_health(&mut self, last: Option<HealthSocket>, mut listeners: Vec<Arc<Socket>>) {
        let Some(wanted) = &self.plan.health else { return };
        let kept = last.filter(|last| last.addr == *wanted && last.listener < listeners.len());
        let kept = kept.and_then(|last| Arc::into_inner(listeners.swap_remove(last.listener)));
        let listener = kept.map_or_else(
            || ResolvedEndpoint::beside(wanted).and_then(|wanted| listen::listen_beside(&wanted, &[])),
            Ok,
        );
        let listener = listener.map_err(|error| chain(&error).to_string());
        let started =
            listener.and_then(|listener| self.start_health(listener).map_err(|error| error.to_string()));
        if let Err(error) = started {
            self.report_no_health_endpoint(&error);
        }
    }

    /// Takes over the control socket with its clients, and removes the last program's if it had another one. If the
    /// options have changed since they were checked, opens the one that they name; if that fails, the fleet serves
    /// without one, because there is no way back.
    fn resume_control(
        &mut self,
        last: &PassedControl,
        listeners: &[Arc<Socket>],
        before: (FleetTotals, usize),
    ) {
        let Some(wanted) = &self.plan.control else {
            last.files.iter().for_each(|(path, identity)| drop(SocketFile::adopt(path, *identity)));
            return;
        };
        let started = match ControlSocket::take_over(wanted, last, listeners) {
            Ok(socket) => {
                let Self { observers, reactor, supervisor, sockets, plan, .. } = self;
                let board = observers.board(reactor, supervisor, sockets);
                board
                    .and_then(|board| Control::resume(socket, last, listeners, before, board, &plan.logger))
                    .map(|control| observers.set_control(control))
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(chain(&error).to_string()),
        };
        if let Err(error) = started {
            self.report_no_control_socket(&error);
        }
    }

    /// Takes over the pid file, and removes the last program's if it had another one. If the options have
    /// changed since they were checked, creates the file that they name; if that fails, the fleet serves
    /// without one, because there is no way back.
    fn resume_pid_file(&mut self, last: Vec<(PathBuf, i32)>) {
        // Dropping a file removes it.
        let adopted = last.into_iter().filter_map(|(path, number)| PidFile::adopt(&path, number).ok());
        let adopted: Vec<PidFile> = adopted.collect();
        let Some(wanted) = &self.plan.pid_file else { return };
        let kept = adopted.into_iter().find_map(|file| file.at(wanted));
        match kept.map_or_else(|| create_pid_file(wanted), Ok) {
            Ok(file) => self.pid_file = Some(file),
            Err(error) => self.report_no_pid_file(&error),
        }
    }
}

/// The sockets that the last program has prepared.
fn take_sockets(plan: &Plan, last: &Predecessor) -> Result<SocketSet, Error> {
    let sockets = SocketSet::adopt(&last.snapshot.sockets, &last.listeners, plan.sockets);
    let sockets = sockets.map_err(|source| Error::Handshake { source })?;
    if !sockets.are_at(&plan.endpoints) {
        messages::report_not_moved(&plan.logger, &sockets);
    }
    if let Err(error) = sockets.replace_options() {
        messages::report_options_not_set(&plan.logger, &error);
    }
    Ok(sockets)
}
