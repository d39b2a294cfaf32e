//! The handshake, taken before any user code runs.

use std::io;
use std::sync::{Mutex, PoisonError};

use socket2::Socket;

use super::{Host, StartError, relay, report_start_error, role};
use crate::error::Error;
use crate::logging::{self, HeldMessages, Logger};
use crate::privileges::Privileges;
use crate::protocol::{Handshake, OwnPid, SecretFile, Secrets, ToMaster, UpgradePlan};
use crate::shared;
use crate::sys::{self, Activated, Role};
use crate::title::{title_child, title_template};

/// A handshake that has been taken.
pub(crate) struct Adopted {
    pub(crate) handshake: Handshake,
    pub(crate) listeners: Vec<Socket>,
    pub(crate) channel: sys::Channel,
    pub(crate) secrets: Secrets,
    pub(crate) host: Host,
    /// Whether a template has forked this process.
    pub(crate) is_forked: bool,
}

/// The handshake, from the time it is taken until the fleet is configured.
static ADOPTED: Mutex<Option<Adopted>> = Mutex::new(None);

/// Takes the handshake now, before any user code runs, and the privileges that come with it. Does
/// nothing in a master, nor the second time. A child that fails here reports it and ends.
///
/// # Errors
///
/// [`Error::Handshake`] in a process that is marked as a child and has no handshake.
pub(crate) fn adopt_early() -> Result<(), Error> {
    match role() {
        Role::Master => Ok(()),
        Role::Stray => Err(stray()),
        Role::Child => {
            let mut waiting = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_none() {
                match adopt() {
                    Ok(adopted) => *waiting = Some(adopted),
                    Err(error) => {
                        report_start_error(&error.into(), &Logger::default());
                        // No user code may run here: it would have the master's privileges.
                        sys::exit_now(1);
                    }
                }
            }
            Ok(())
        }
    }
}

/// Hands over what [`adopt_early`] took.
pub(crate) fn adopted() -> Result<Adopted, StartError> {
    let adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let missing = || Error::Handshake { source: io::Error::other("a process serves once") };
    Ok(adopted.ok_or_else(missing)?)
}

/// The privileges of a child on trial, which is to replace another that stays if it fails. There, what
/// only a master needs has to be in order as well. Before an upgrade, another child has checked that.
pub(crate) fn privileges_on_trial() -> Option<Privileges> {
    let adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    adopted
        .as_ref()
        .filter(|adopted| adopted.handshake.trial && !adopted.handshake.upgrade)
        .map(|adopted| adopted.handshake.privileges.clone())
}

/// The configuration file that this child's options come from, as the master has read it.
pub(crate) fn config_file() -> Option<SecretFile> {
    let adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    adopted.as_ref()?.secrets.config.clone()
}

/// The order of the master to check this program, which is to take the master's place.
#[derive(Debug)]
pub(crate) struct UpgradeCheck {
    channel: sys::Channel,
    activated: Vec<Activated>,
    privileges: Privileges,
}

impl UpgradeCheck {
    /// `None` in a child that is to serve.
    pub(crate) fn begin() -> Option<Self> {
        let mut waiting = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
        let Adopted { handshake, listeners, channel, .. } =
            waiting.take_if(|adopted| adopted.handshake.check.is_some())?;
        let names = handshake.check.unwrap_or_default();
        let activated = names.into_iter().zip(listeners).map(|(name, socket)| Activated { name, socket });
        Some(Self { channel, activated: activated.collect(), privileges: handshake.privileges })
    }

    /// What this process runs under.
    pub(crate) fn privileges(&self) -> &Privileges {
        &self.privileges
    }

    /// The sockets that the service manager has passed to the master.
    pub(crate) fn take_activated(&mut self) -> Vec<Activated> {
        std::mem::take(&mut self.activated)
    }

    /// Tells the master what this program needs.
    pub(crate) fn answer(mut self, plan: &UpgradePlan) -> Result<(), Error> {
        self.channel.send(&plan.to_line(), &[]).map_err(|source| Error::Handshake { source })
    }
}

fn stray() -> Error {
    let marker = sys::MARKER;
    Error::Handshake {
        source: io::Error::other(format!(
            "{marker} is set, but standard input is not a handshake; unset {marker}, which is not for you to \
             set, or let command_producer keep the command's standard input"
        )),
    }
}

fn adopt() -> Result<Adopted, Error> {
    let broken = |source| Error::Handshake { source };
    let adopted = sys::take_handshake().and_then(read_handshake).map_err(broken)?;
    let Handshake { slot, title, privileges, template, master, .. } = &adopted.handshake;
    if *template {
        title_template(title);
        privileges.apply_to_template()?;
        // Last: a change of user would untie it.
        sys::tie_to_master(*master).map_err(broken)?;
    } else {
        title_child(title, *slot);
        privileges.apply()?;
    }
    Ok(adopted)
}

/// Takes the handshake in a child that a template has forked.
pub(crate) fn adopt_forked(mut channel: sys::Channel) -> Result<Adopted, Error> {
    let broken = |source| Error::Handshake { source };
    // Before it leaves the template's group, where the master finds a child whose pid it does not know.
    channel.send(&OwnPid(std::process::id()).to_line(), &[]).map_err(broken)?;
    sys::leave_template().map_err(broken)?;
    // What the template has counted would be counted by each of its children.
    shared::forget_private();
    let adopted = read_handshake(channel).map_err(broken)?;
    let Handshake { slot, title, privileges, .. } = &adopted.handshake;
    title_child(title, *slot);
    privileges.apply_to_forked()?;
    Ok(Adopted { is_forked: true, ..adopted })
}

/// The handshake of a child that a template has forked, for [`adopted`].
pub(crate) fn adopt_again(adopted: Adopted) {
    *ADOPTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(adopted);
}

fn read_handshake(mut channel: sys::Channel) -> io::Result<Adopted> {
    let line = channel.wait_for_line()?;
    let handshake = Handshake::from_line(&line)?;
    // What follows may be logged.
    if handshake.template {
        logging::note_template(handshake.generation);
        // A thread that writes would be missing in the children.
        std::mem::forget(HeldMessages::begin());
    } else {
        logging::note_child(handshake.slot, handshake.generation);
    }
    if let Ok(sender) = channel.sender() {
        relay::begin(sender);
    }
    channel.send(ToMaster::Received.to_line(), &[])?;
    // Without listeners, the next descriptor that comes is that of the secrets.
    let is_to_listen = handshake.check.as_ref().is_none_or(|activated| !activated.is_empty());
    let has_listeners = is_to_listen && !handshake.template;
    let listeners = if has_listeners { channel.take_listeners()? } else { Vec::new() };
    let text = if handshake.secrets { channel.take_secrets()? } else { String::new() };
    if let Some(place) = handshake.lane {
        shared::join(place, |size| channel.take_memory(size));
    }
    // Where secrets cannot be handed over, the text is empty, and the child reads the files itself.
    let secrets = if text.is_empty() { Secrets::default() } else { Secrets::from_text(&text)? };
    Ok(Adopted { handshake, listeners, channel, secrets, host: Host::ChildProcess, is_forked: false })
}
