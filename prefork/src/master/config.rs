//! The configuration file in the master: what a reload applies, and what the children of each generation get.
//!
//! A reload reads the file again. If it is valid, the master's own options change at once, and the children of
//! the new generation get theirs. A child that replaces one of an older generation is started with the options of
//! that generation, whatever has become of the file: it gets the text of it from the master.

use std::fmt;
use std::io;
use std::time::Instant;

use super::{Master, Plan, messages};
use crate::error::{Error, chain};
use crate::listen::SocketOptions;
use crate::privileges::Privileges;
use crate::protocol::SecretFile;
use crate::supervisor::Event;
use crate::sys::Program;

/// The configuration file, and the other sources of options.
pub(crate) trait Configuration: fmt::Debug {
    /// The file in effect.
    fn file(&self) -> Option<SecretFile>;

    /// Reads the file again, and checks every option.
    ///
    /// # Errors
    ///
    /// Every problem. The file in effect stays.
    fn read_again(&mut self) -> Result<Reread, Vec<Error>>;

    /// Reads the file for another program, which may know other options.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigFile`].
    fn read_unchecked(&self) -> Result<SecretFile, Error>;

    /// What was read last is in effect, except what only an upgrade can change.
    fn adopt(&mut self);
}

/// A configuration file that was read again.
#[derive(Debug)]
pub(crate) struct Reread {
    pub(crate) plan: Plan,
    pub(crate) changes: Vec<Change>,
}

/// An option whose value is another one now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// `workers changed from 4 to 8`
    pub(crate) text: String,
    /// Whether a running fleet can change it.
    pub(crate) is_applied: bool,
}

/// What the children of one generation are started with.
#[derive(Debug, Clone)]
pub(super) struct GenerationOptions {
    pub(super) privileges: Privileges,
    /// The CPUs that the children are pinned to, one each, cyclically; empty pins none.
    pub(super) cpus: Vec<usize>,
    /// The configuration file that the generation began with.
    pub(super) file: Option<SecretFile>,
}

impl GenerationOptions {
    pub(super) fn new(plan: &Plan) -> Self {
        let file = plan.config.as_ref().and_then(|config| config.file());
        Self { privileges: plan.privileges.clone(), cpus: plan.cpus.clone(), file }
    }

    /// The CPU that the slot's child is pinned to.
    pub(super) fn cpu_of(&self, slot: usize) -> Option<usize> {
        self.cpus.get(slot.checked_rem(self.cpus.len())?).copied()
    }
}

impl Master {
    /// The options for a child of this generation. Those that are needed are kept: see `reconcile`.
    pub(super) fn options_of(&self, generation: u32) -> io::Result<GenerationOptions> {
        self.options.get(&generation).cloned().ok_or_else(|| lost("options", generation))
    }

    /// The program of children of this generation, likewise.
    pub(super) fn program_of(&self, generation: u32) -> io::Result<&Program> {
        self.programs.get(&generation).ok_or_else(|| lost("program", generation))
    }

    /// Reads everything that the next generation of this program needs, and applies it.
    ///
    /// # Errors
    ///
    /// Why not, one line each. Nothing is changed.
    pub(super) fn prepare_reload(&mut self) -> Result<(), Vec<String>> {
        let refuse = |error: &Error| format!("cannot reload: {}; the fleet keeps its options", chain(error));
        let reread = match &mut self.plan.config {
            Some(config) => {
                Some(config.read_again().map_err(|errors| errors.iter().map(refuse).collect::<Vec<_>>())?)
            }
            None => None,
        };
        let tls = reread.as_ref().map_or(&self.plan.tls, |reread| &reread.plan.tls).clone();
        self.prepare_generation(tls).map_err(|reason| vec![reason])?;
        if let Some(reread) = reread {
            self.apply(reread);
        }
        self.options.insert(self.supervisor.next_generation(), GenerationOptions::new(&self.plan));
        Ok(())
    }

    /// Reads what the check of the program that is to replace this one needs. The file is that program's to
    /// judge, and names its certificates.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn prepare_upgrade(&mut self) -> Result<(), String> {
        let mut options = GenerationOptions::new(&self.plan);
        if let Some(config) = &self.plan.config {
            let refuse = |error| format!("cannot upgrade: {}; the fleet is unchanged", chain(&error));
            options.file = Some(config.read_unchecked().map_err(refuse)?);
        }
        self.look_up_program("upgrade")?;
        self.options.insert(self.supervisor.next_generation(), options);
        Ok(())
    }

    fn apply(&mut self, reread: Reread) {
        let Reread { plan, changes } = reread;
        self.report_changes(&changes);
        if let Some(config) = &mut self.plan.config {
            config.adopt();
        }
        let Plan { settings, privileges, cpus, tls, sockets, .. } = plan;
        let sockets = SocketOptions { file: self.plan.sockets.file, ..sockets };
        if sockets != self.plan.sockets || self.sockets.options_refused() {
            if let Err(error) = self.sockets.change_options(sockets) {
                messages::report_options_not_set(&self.plan.logger, &error);
            }
            self.plan.sockets = sockets;
        }
        self.plan.settings = settings;
        self.plan.privileges = privileges;
        self.plan.cpus = cpus;
        self.plan.tls = tls;
        self.supervisor.handle(Instant::now(), Event::SettingsChanged(settings));
    }
}

fn lost(what: &str, generation: u32) -> io::Error {
    io::Error::other(format!("the {what} of generation {generation} was lost, which is a bug in prefork"))
}
