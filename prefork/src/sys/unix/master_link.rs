//! A child's end of the link to its master.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};
use signal_hook::consts::SIGTERM;

use super::channel::{Channel, Received};
use super::signals::{Signals, listen_for};
use super::waker::poll_timeout;
use crate::sys::LinkEvent;
use crate::sys::cut_line::LastLine;

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
        let sender = channel.sender()?;
        Ok((Self { channel, signals: Some(listen_for(&[SIGTERM])?), orphaned: false }, sender))
    }

    /// The link of a child that has no process of its own: signals are the master's.
    pub(crate) fn inside(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let sender = channel.sender()?;
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
pub(crate) struct MasterSender {
    pub(super) socket: UnixStream,
    pub(super) last_line: LastLine,
}

impl MasterSender {
    pub(crate) fn send(&self, line: &str) -> io::Result<()> {
        self.last_line.send(line, |text| (&self.socket).write_all(text))
    }

    /// Sends whole lines without waiting, or not at all, or their beginning if the link has room for no more. Returns
    /// whether they are sent.
    pub(crate) fn send_at_once(&self, lines: &str) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | no_signal();
        self.last_line
            .send_at_once(lines, |text| Some(send(self.socket.as_raw_fd(), text, flags).unwrap_or(0)))
    }
}

/// Without it, a send after the master's death would be a signal. On Apple's systems std sets an option of the socket
/// instead.
#[cfg(not(target_vendor = "apple"))]
fn no_signal() -> MsgFlags {
    MsgFlags::MSG_NOSIGNAL
}

#[cfg(target_vendor = "apple")]
fn no_signal() -> MsgFlags {
    MsgFlags::empty()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn full_link_delays_no_sender_and_line_after_a_cut_one_is_whole() {
        let (child, mut master) = UnixStream::pair().unwrap();
        let sender = sender(child);
        let lines = format!("log text={}\n", "x".repeat(200)).repeat(8);
        let mut sent = 0;
        while sender.send_at_once(&lines) {
            sent += 1;
        }
        assert!((1..10_000).contains(&sent));
        assert!(!sender.send_at_once(&lines));
        let mut received = vec![0; sent * lines.len()];
        master.read_exact(&mut received).unwrap();
        assert_eq!(received, lines.repeat(sent).as_bytes());
        // As if only the beginning of a line had found room.
        let cut = |text: &[u8]| Some((&sender.socket).write(&text[..5]).unwrap());
        assert!(!sender.last_line.send_at_once("log text=cut\n", cut));
        sender.send("ready").unwrap();
        assert!(sender.send_at_once("log text=a\n"));
        drop(sender);
        let mut rest = String::new();
        master.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("log t\nready\nlog text=a\n"), "{rest:?}");
        assert!(!sender_after_master().send_at_once("log text=a\n"), "nobody reads it");
    }

    fn sender(socket: UnixStream) -> MasterSender {
        MasterSender { socket, last_line: LastLine::default() }
    }

    fn sender_after_master() -> MasterSender {
        UnixStream::pair().map(|(child, _)| sender(child)).unwrap()
    }
}
