//! What a child waits for beside its work: its master's end, or a request to stop.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::channel::{Channel, Received, STOP};
use super::console;
use super::pipe::Pipe;
use crate::sys::LinkEvent;

/// Whether this process has lost its master.
static ORPHANED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_orphaned() -> bool {
    ORPHANED.load(Ordering::SeqCst)
}

/// Waits in a thread of its own; costs nothing while nothing happens.
#[derive(Debug)]
pub(crate) struct MasterLink {
    channel: Channel,
}

impl MasterLink {
    /// From now on a console's events are the master's business.
    pub(crate) fn new(channel: Channel) -> io::Result<(Self, MasterSender)> {
        console::leave_to_master()?;
        let voice = MasterSender(channel.voice()?);
        Ok((Self { channel }, voice))
    }

    /// Waits for an order; at most for `timeout`, if there is one. A master that died is reported once.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<LinkEvent> {
        if let Some(order) = self.next_order() {
            return Ok(order);
        }
        if is_orphaned() {
            // Nobody is left to give orders.
            thread::sleep(timeout.unwrap_or(Duration::MAX));
            return Ok(LinkEvent::None);
        }
        match self.channel.receive(None, timeout) {
            Ok(Received::Bytes) => Ok(self.next_order().unwrap_or(LinkEvent::None)),
            Ok(Received::Nothing | Received::Other) => Ok(LinkEvent::None),
            Ok(Received::End) | Err(_) => {
                ORPHANED.store(true, Ordering::SeqCst);
                Ok(LinkEvent::Orphaned)
            }
        }
    }

    fn next_order(&mut self) -> Option<LinkEvent> {
        let line = self.channel.next_line()?;
        Some(if line == STOP { LinkEvent::Stop } else { LinkEvent::Said(line) })
    }
}

/// What a child tells its master with, from any thread.
#[derive(Debug)]
pub(crate) struct MasterSender(Pipe);

impl MasterSender {
    pub(crate) fn say(&self, line: &str) -> io::Result<()> {
        self.0.say(line)
    }
}
