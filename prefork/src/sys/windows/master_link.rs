//! A child's end of the link to its master.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::channel::{Channel, Received};
use super::console;
use super::pipe::Pipe;
use crate::sys::LinkEvent;
use crate::sys::cut_line::LastLine;

/// Whether the master of this process is dead.
static ORPHANED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_orphaned() -> bool {
    ORPHANED.load(Ordering::SeqCst)
}

/// Waits for messages, in a thread of its own. Sleeps while nothing happens.
#[derive(Debug)]
pub(crate) struct MasterLink {
    channel: Channel,
    /// Whether the master is this process.
    is_inside: bool,
}

impl MasterLink {
    /// From now on this process ignores the console's events: the master handles them.
    pub(crate) fn new(channel: Channel) -> io::Result<(Self, MasterSender)> {
        console::ignore()?;
        let sender = channel.sender()?;
        Ok((Self { channel, is_inside: false }, sender))
    }

    /// The link of a child that has no process of its own: the console's events are the master's.
    pub(crate) fn inside(channel: Channel) -> io::Result<(Self, MasterSender)> {
        let sender = channel.sender()?;
        Ok((Self { channel, is_inside: true }, sender))
    }

    /// Waits for an event; at most for `timeout`, if there is one. The master's death is reported once.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<LinkEvent> {
        if let Some(line) = self.channel.next_line() {
            return Ok(LinkEvent::Message(line));
        }
        if is_orphaned() {
            // There is no master to wait for.
            thread::sleep(timeout.unwrap_or(Duration::MAX));
            return Ok(LinkEvent::None);
        }
        match self.channel.receive(None, timeout) {
            Ok(Received::Bytes) => Ok(self.channel.next_line().map_or(LinkEvent::None, LinkEvent::Message)),
            Ok(Received::Nothing | Received::Other) => Ok(LinkEvent::None),
            Ok(Received::End) | Err(_) => {
                ORPHANED.store(!self.is_inside, Ordering::SeqCst);
                Ok(LinkEvent::Orphaned)
            }
        }
    }
}

/// The sending half of the link, for any thread.
#[derive(Debug)]
pub(crate) struct MasterSender {
    pub(super) pipe: Pipe,
    pub(super) last_line: LastLine,
}

impl MasterSender {
    pub(crate) fn send(&self, line: &str) -> io::Result<()> {
        self.last_line.send(line, |text| self.pipe.write_all(text))
    }

    /// Sends whole lines, or not at all, or their beginning if the pipe has room for no more, which takes 10 ms. Returns
    /// whether they are sent.
    pub(crate) fn send_at_once(&self, lines: &str) -> bool {
        // The system does not tell how much of a write that it has cancelled was read before.
        self.last_line.send_at_once(lines, |text| self.pipe.write_at_once(text).ok().map(|()| text.len()))
    }
}
