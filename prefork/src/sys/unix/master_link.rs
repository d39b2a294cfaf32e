//! What a child waits for beside its work: its master's end, or a request to stop.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGTERM;

use super::channel::{Channel, Received};
use super::reactor::{self, poll_timeout};
use crate::sys::LinkEvent;

/// Waits in a thread of its own; costs nothing while nothing happens.
#[derive(Debug)]
pub(crate) struct MasterLink {
    channel: Channel,
    signals: reactor::Signals,
    orphaned: bool,
}

impl MasterLink {
    /// From now on SIGTERM is an order, not the end.
    pub(crate) fn new(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let voice = MasterSender(channel.try_clone_socket()?);
        Ok((Self { channel, signals: reactor::listen_for(&[SIGTERM])?, orphaned: false }, voice))
    }

    /// Waits for an order; at most for `timeout`, if there is one. A master that died is reported once.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<LinkEvent> {
        if let Some(line) = self.channel.next_line() {
            return Ok(LinkEvent::Said(line));
        }
        let mut descriptors = vec![PollFd::new(self.signals.get_read().as_fd(), PollFlags::POLLIN)];
        if !self.orphaned {
            descriptors.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut descriptors, poll_timeout(timeout)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let master_stirred = descriptors.get(1).and_then(PollFd::any).unwrap_or(false);
        if self.signals.pending().count() > 0 {
            return Ok(LinkEvent::Stop);
        }
        if master_stirred && !matches!(self.channel.receive(), Ok(Received::Bytes | Received::Nothing)) {
            self.orphaned = true;
            return Ok(LinkEvent::Orphaned);
        }
        Ok(self.channel.next_line().map_or(LinkEvent::None, LinkEvent::Said))
    }
}

/// What a child tells its master with, from any thread.
#[derive(Debug)]
pub(crate) struct MasterSender(UnixStream);

impl MasterSender {
    pub(crate) fn say(&self, line: &str) -> io::Result<()> {
        (&self.0).write_all(format!("{line}\n").as_bytes())
    }
}
