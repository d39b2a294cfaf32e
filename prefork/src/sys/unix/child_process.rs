//! A child as the reactor knows it: its process, its channel, and the descriptor that tells its end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal as Number, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::channel::Channel;
use super::descriptors::descriptor_limit;
use super::platform;
use super::process::{is_reaped, pid_of, wait_for_exit};
use crate::sys::Handover;

#[derive(Debug)]
pub(super) struct ChildProcess {
    pub(super) handle: Handle,
    /// `None` once the child has closed its end.
    pub(super) channel: Option<Channel>,
    /// Can be read once the child has ended.
    pub(super) end: Option<OwnedFd>,
    /// Whether the child has sent what no prefork process sends. Its channel stays open, so that it does not
    /// take its master for dead, but is not read any more.
    pub(super) is_muted: bool,
}

/// A child of this process. It is not reaped yet, so no other process has its pid.
#[derive(Debug)]
pub(super) enum Handle {
    Started(Child),
    /// Forked by a template, or started by the previous program in this process.
    Pid(Pid),
    /// No process: a part of this one plays the child.
    Inside,
    /// Ordered of a template, which has not told its pid.
    Ordered,
}

impl Handle {
    pub(super) fn id(&self) -> io::Result<Pid> {
        match self {
            Self::Started(child) => pid_of(child.id()),
            Self::Pid(pid) => Ok(*pid),
            Self::Inside | Self::Ordered => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn signal(&self, signal: Number) -> io::Result<()> {
        Ok(kill(self.id()?, signal)?)
    }

    /// The status and the CPU time, if it has exited. User code may have reaped it (a hook that waits for any
    /// child): both are then unknown, except for the status that user code has left in the handle.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<(ExitStatus, Duration)>> {
        const UNKNOWN: i32 = 127 << 8;
        if matches!(self, Self::Inside | Self::Ordered) {
            return Ok(None);
        }
        match wait_for_exit(self.id()?) {
            Err(error) if is_reaped(&error) => {}
            ended => return ended,
        }
        let known = match self {
            Self::Started(child) => child.try_wait().ok().flatten(),
            Self::Pid(_) | Self::Inside | Self::Ordered => None,
        };
        Ok(Some((known.unwrap_or(ExitStatus::from_raw(UNKNOWN)), Duration::ZERO)))
    }

    /// Kills it and reaps it.
    pub(super) fn destroy(&mut self) {
        let _ = self.signal(Number::SIGKILL);
        match self {
            Self::Started(child) => drop(child.wait()),
            Self::Pid(pid) => drop(waitpid(*pid, None)),
            Self::Inside | Self::Ordered => {}
        }
    }
}

/// A descriptor that can be read once the process has ended. Only the first half of the numbers that this process may
/// have is for them: the other half is for links.
pub(super) fn end_descriptor(pid: Pid) -> Option<OwnedFd> {
    let end = platform::poller::exit_descriptor(pid).ok()?;
    let number = usize::try_from(end.as_raw_fd()).unwrap_or(usize::MAX);
    (number < descriptor_limit() / 2).then_some(end)
}

/// A channel in which everything that is handed over waits, and its other end.
pub(super) fn channel_with(
    Handover { handshake, listeners, secrets, memory }: &Handover<'_>,
) -> io::Result<(Channel, OwnedFd)> {
    let (mut channel, theirs) = Channel::pair()?;
    channel.set_nonblocking()?;
    channel.send(handshake, listeners)?;
    if !secrets.is_empty() {
        channel.send_secrets(secrets)?;
    }
    if let Some(memory) = memory {
        channel.send_memory(memory)?;
    }
    Ok((channel, theirs))
}
