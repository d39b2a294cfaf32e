//! What a process is started with.

use std::io;
use std::sync::Arc;

use socket2::Socket;

use super::{Master, NextProgram};
use crate::privileges::Privileges;
use crate::protocol::{Handshake, SecretFile, Secrets};
use crate::supervisor::ChildId;
use crate::sys;

/// What a child is given when it is started.
pub(super) struct Provision {
    pub(super) handshake: Handshake,
    pub(super) listeners: Vec<Arc<Socket>>,
    pub(super) secrets: String,
}

impl Provision {
    pub(super) fn new(handshake: Handshake, listeners: Vec<Arc<Socket>>, secrets: &Secrets) -> Self {
        let handshake = Handshake { secrets: !secrets.is_empty(), ..handshake };
        let secrets = if secrets.is_empty() { String::new() } else { secrets.to_text() };
        Self { handshake, listeners, secrets }
    }
}

impl Master {
    /// What the child is given.
    pub(super) fn provide(&mut self, child: ChildId, slot: usize, generation: u32) -> io::Result<Provision> {
        let options = self.options_of(generation)?;
        let privileges = Privileges { cpu: options.cpu_of(slot), ..options.privileges.clone() };
        let trial = self.supervisor.is_successor(child);
        let handshake = Handshake { trial, ..self.handshake(slot, generation, privileges) };
        if self.supervisor.is_upgrade_check(child) {
            return self.provide_for_check(handshake, options.file);
        }
        let secrets = Secrets { config: options.file.clone(), ..self.store.secrets(generation) };
        self.restore_sockets(slot)?;
        if self.supervisor.is_upgrade_trial(child) {
            let next = self.next.as_ref().ok_or_else(NextProgram::lost)?;
            let handshake = next.handshake(handshake);
            let listeners = self.sockets.of_first_slot(&next.arrangement)?;
            return Ok(Provision::new(handshake, listeners, &secrets));
        }
        let listeners = self.sockets.for_slot(slot)?;
        self.hint_cpu(slot, options.cpu_of(slot));
        Ok(Provision::new(handshake, listeners, &secrets))
    }

    /// That of a child that is no part of a reload or an upgrade, before it is given anything.
    pub(super) fn handshake(&self, slot: usize, generation: u32, privileges: Privileges) -> Handshake {
        Handshake {
            slot,
            fleet: self.supervisor.fleet_size(),
            generation,
            grace: self.plan.settings.grace,
            master: std::process::id(),
            trial: false,
            upgrade: false,
            check: None,
            template: false,
            title: self.plan.title.clone(),
            privileges,
            secrets: false,
            lane: None,
        }
    }

    /// A child that checks the next program serves nothing. It runs as the user of the present children, but
    /// is not limited to the files and CPUs of this program's options, and sees of the sockets those that the
    /// service manager has passed.
    fn provide_for_check(&self, handshake: Handshake, config: Option<SecretFile>) -> io::Result<Provision> {
        let (names, listeners): (Vec<_>, Vec<_>) = self.sockets.activated().unzip();
        let names = names.into_iter().map(str::to_owned).collect();
        let Privileges { identity, no_new_privs, .. } = handshake.privileges;
        let privileges = Privileges { identity, no_new_privs, ..Privileges::default() };
        let handshake = Handshake { upgrade: true, check: Some(names), privileges, ..handshake };
        let secrets = Secrets { config, ..Secrets::default() };
        Ok(Provision::new(handshake, listeners.into_iter().cloned().collect(), &secrets))
    }

    /// Tells the kernel the slot's CPU. A failure is no error: connections are spread as without it.
    pub(super) fn hint_cpu(&self, slot: usize, cpu: Option<usize>) {
        for socket in self.sockets.own_of(slot) {
            if let Err(error) = sys::prefer_cpu(socket, cpu) {
                self.report_no_preferred_cpu(slot, &error);
            }
        }
    }

    /// Undoes what an earlier child may have done to the sockets of a slot.
    fn restore_sockets(&mut self, slot: usize) -> io::Result<()> {
        for addr in self.sockets.restore(slot)? {
            self.report_restored_listener(slot, &addr);
        }
        Ok(())
    }
}
