//! A child's end of the link to its master.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGTERM;

use super::channel::{Channel, Received};
use super::signals::{Signals, listen_for};
use super::waker::poll_timeout;
use crate::sys::LinkEvent;

/// Waits for messages and for SIGTERM, in a thread of its own. Sleeps while nothing happens.
#[derive(Debug)]
pub(crate) struct MasterLink {
    channel: Channel,
    /// `None` in the master's own process.
    signals: Option<Signals>,
    orphaned: bool,
}

impl MasterLink {
    /// From now on SIGTERM is an event of this link and does not end the process.
    pub(crate) fn new(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let sender = MasterSender(channel.try_clone_socket()?);
        Ok((Self { channel, signals: Some(listen_for(&[SIGTERM])?), orphaned: false }, sender))
    }

    /// The link of a child that has no process of its own: signals are the master's.
    pub(crate) fn inside(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let sender = MasterSender(channel.try_clone_socket()?);
        Ok((Self { channel, signals: None, orphaned: false }, sender))
    }

    /// Waits for an event; at most for `timeout`, if there is one. The master's death is reported once.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<LinkEvent> {
        if let Some(line) = self.channel.next_line() {
            return Ok(LinkEvent::Message(line));
        }
        let channel = (!self.orphaned).then(|| self.channel.as_fd());
        let signals = self.signals.as_ref().map(|signals| signals.get_read().as_fd());
        let mut descriptors: Vec<PollFd<'_>> =
            channel.into_iter().chain(signals).map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        match poll(&mut descriptors, poll_timeout(timeout)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = !self.orphaned && descriptors.first().and_then(PollFd::any).unwrap_or(false);
        if self.signals.as_mut().is_some_and(|signals| signals.pending().count() > 0) {
            return Ok(LinkEvent::Signalled);
        }
        if readable && !matches!(self.channel.receive(), Ok(Received::Bytes | Received::Nothing)) {
            self.orphaned = true;
            return Ok(LinkEvent::Orphaned);
        }
        Ok(self.channel.next_line().map_or(LinkEvent::None, LinkEvent::Message))
    }
}

/// The sending half of the link, for any thread.
#[derive(Debug)]
pub(crate) struct MasterSender(UnixStream);

impl MasterSender {
    pub(crate) fn send(&self, line: &str) -> io::Result<()> {
        (&self.0).write_all(format!("{line}\n").as_bytes())
    }
}
