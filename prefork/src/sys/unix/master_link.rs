//! A child's end of the link to its master.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGTERM;

use super::channel::{Channel, Received};
use super::reactor::poll_timeout;
use super::signals::{Signals, listen_for};
use crate::sys::LinkEvent;

/// Waits for messages and for SIGTERM, in a thread of its own. Sleeps while nothing happens.
#[derive(Debug)]
pub(crate) struct MasterLink {
    channel: Channel,
    signals: Signals,
    orphaned: bool,
}

impl MasterLink {
    /// From now on SIGTERM is an event of this link and does not end the process.
    pub(crate) fn new(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let sender = MasterSender(channel.try_clone_socket()?);
        Ok((Self { channel, signals: listen_for(&[SIGTERM])?, orphaned: false }, sender))
    }

    /// Waits for an event; at most for `timeout`, if there is one. The master's death is reported once.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<LinkEvent> {
        if let Some(line) = self.channel.next_line() {
            return Ok(LinkEvent::Message(line));
        }
        let mut descriptors = vec![PollFd::new(self.signals.get_read().as_fd(), PollFlags::POLLIN)];
        if !self.orphaned {
            descriptors.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut descriptors, poll_timeout(timeout)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = descriptors.get(1).and_then(PollFd::any).unwrap_or(false);
        if self.signals.pending().count() > 0 {
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
