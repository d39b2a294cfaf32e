//! Every child accepts from the one socket: none waits for its slot, and nobody stands in.

use std::io;

use socket2::Socket;

use super::AcceptGate;

/// Never made, because no socket is ever lent.
#[derive(Debug)]
pub(crate) enum StandIn {}

impl StandIn {
    /// Not called: `MasterLink::take_listeners` brings none.
    pub(crate) fn new(_lent: Socket) -> Self {
        unreachable!("no socket is lent on Windows")
    }

    pub(crate) fn look(&mut self, _door: &AcceptGate) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn is_in_place(&self) -> bool {
        match *self {}
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        match *self {}
    }
}
