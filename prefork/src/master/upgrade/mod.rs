//! An upgrade: the master executes the new program in its own process, and the new program takes over.
//!
//! Before the exec, a child checks the new program's options and tells what it needs ([`UpgradePlan`]). The
//! master opens that with its own privileges, and starts the trial child as the new program will start its
//! children. So nothing is left that could fail after the exec, from which there is no way back.
//!
//! The listening sockets (the health endpoint's as well) and the channels to the children stay open over
//! the exec; an [`UpgradeSnapshot`] passes in a file that has no name. The process keeps its pid and its
//! children. Signals are blocked until the new program handles them.
//!
//! - `prepare.rs`: what the new program needs
//! - `mod.rs`: the exec
//! - `resume.rs`: the new program takes over
//!
//! [`UpgradePlan`]: crate::protocol::UpgradePlan

mod prepare;
mod resume;

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use socket2::Socket;

pub(super) use prepare::NextProgram;
pub(crate) use prepare::needs_of;
pub(crate) use resume::Predecessor;

use super::control::{ControlSocket, HaltedControl};
use super::{FleetHandle, Master};
use crate::logging;
use crate::protocol::{HealthSocket, PassedControl, Secrets, UpgradeSnapshot};
use crate::supervisor::Event;
use crate::sys::{Channel, HeldSignals, PidFile};

/// A request has arrived before the exec.
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
        let halted = self.observers.halt_control();
        // The thread that takes requests of the control socket does not outlive the exec either.
        let outcome = if self.observers.has_operation() {
            Ok(Interrupted)
        } else {
            self.exec_halted(newest, &held, halted.as_ref())
        };
        self.observers.go_on_with_control(halted, &self.plan.logger);
        outcome
    }

    /// Returns only if the exec fails.
    fn exec_halted(
        &mut self,
        newest: u32,
        held: &HeldSignals,
        halted: Option<&HaltedControl>,
    ) -> io::Result<Interrupted> {
        // The new program starts its own.
        self.destroy_templates();
        let secrets = Secrets { config: self.options_of(newest)?.file, ..self.store.secrets(newest) };
        let next = self.next.as_ref().ok_or_else(NextProgram::lost)?;
        let program = self.program_of(newest)?;
        let fleet = self.supervisor.snapshot(Instant::now());
        let snapshot = UpgradeSnapshot {
            fleet,
            secrets,
            totals: self.observers.history().passed(),
            privileges: next.plan.privileges.clone(),
            cpus: next.plan.cpus.clone(),
            values: self.values.passed(),
            lanes: self.children.iter().filter_map(|(id, entry)| Some((*id, entry.lane?.lane))).collect(),
            ..UpgradeSnapshot::default()
        };
        let (snapshot, listeners, channels, pid_files) = self.hand_over(next, snapshot, halted);
        let memory = self.values.memory();
        Err(program.exec(held, &snapshot.to_text(), &listeners, &channels, &pid_files, memory))
    }

    /// Adds to the snapshot what is handed over with it: the listeners, the channels and the pid files.
    fn hand_over<'a>(
        &'a self,
        next: &'a NextProgram,
        mut snapshot: UpgradeSnapshot,
        halted: Option<&'a HaltedControl>,
    ) -> (UpgradeSnapshot, Vec<&'a Socket>, Vec<&'a Channel>, Vec<&'a PidFile>) {
        let (sockets, shared) = self.sockets.passed(&next.arrangement);
        snapshot.sockets = sockets;
        let mut channels = Vec::new();
        for child in &snapshot.fleet.children {
            if let Some(channel) = self.reactor.channel(child.id.into()) {
                snapshot.channels.insert(child.id, channels.len());
                channels.push(channel);
            }
            let held = self.children.get(&child.id).into_iter().flat_map(|entry| entry.listeners.sockets());
            let number = |held: &Weak<Socket>| {
                shared.iter().position(|socket| std::ptr::eq(Arc::as_ptr(socket), held.as_ptr()))
            };
            snapshot.held.insert(child.id, held.filter_map(number).collect());
        }
        let mut listeners: Vec<&Socket> = shared.into_iter().map(|socket| &**socket).collect();
        if let Some((addr, listener)) = self.health_of(next) {
            snapshot.health = Some(HealthSocket { addr, listener: listeners.len() });
            listeners.push(listener);
        }
        snapshot.control = self.control_of(next, halted, &mut listeners);
        let pid_files = [(&self.plan.pid_file, &self.pid_file), (&next.plan.pid_file, &next.pid_file)];
        let pid_files = pid_files.into_iter().filter_map(|(path, file)| path.clone().zip(file.as_ref()));
        let pid_files: Vec<_> = pid_files.collect();
        snapshot.pid_files = pid_files.iter().map(|(path, file)| (path.clone(), file.number())).collect();
        let pid_files = pid_files.into_iter().map(|(_, file)| file).collect();
        (snapshot, listeners, channels, pid_files)
    }

    /// The control socket of the next program: the present one, or one that was opened for it; and the connections to
    /// the present one. Adds them to the listeners that are handed over.
    fn control_of<'a>(
        &'a self,
        next: &'a NextProgram,
        halted: Option<&'a HaltedControl>,
        listeners: &mut Vec<&'a Socket>,
    ) -> PassedControl {
        let present = self.observers.control_socket();
        let files = present.into_iter().chain(&next.control).map(ControlSocket::passed_file).collect();
        let mut passed = PassedControl { files, ..PassedControl::default() };
        let Some(path) = &next.plan.control else { return passed };
        passed.path.clone_from(path);
        if let Some(socket) = next.control.as_ref().or(present) {
            passed.listener = Some(listeners.len());
            listeners.push(socket.socket());
        }
        if let Some(halted) = halted {
            let (clients, sockets, operation) = halted.passed(listeners.len());
            (passed.clients, passed.operation) = (clients, operation);
            listeners.extend(sockets);
        }
        passed
    }

    /// The health listener of the next program: the present one, or one that was opened for it.
    fn health_of<'a>(&'a self, next: &'a NextProgram) -> Option<(String, &'a Socket)> {
        let addr = next.plan.health.as_ref()?.endpoint.addr.clone();
        let listener = next.health.as_ref().or(self.observers.health_listener())?;
        Some((addr, listener))
    }
}
