//! There is no control socket: the standard library and mio have no Unix sockets here, and those of the system do not
//! tell who is at the other end.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use crate::sys::Peer;

/// Why a master on this system cannot have a control socket.
pub(crate) const NO_CONTROL_SOCKET: Option<&str> = Some(
    "no value: on Windows a master has no control socket; a program operates its fleet by a `FleetHandle`",
);

/// Never made.
#[derive(Debug)]
pub(crate) enum ControlListener {}

/// Never made.
#[derive(Debug)]
pub(crate) enum ControlStream {}

pub(crate) fn control_listener(_socket: &Socket) -> io::Result<ControlListener> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn accept_control(listener: &ControlListener) -> io::Result<ControlStream> {
    match *listener {}
}

pub(crate) fn control_stream(_socket: Socket) -> io::Result<ControlStream> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn duplicate_control(stream: &ControlStream) -> io::Result<Socket> {
    match *stream {}
}

pub(crate) fn shut_down_control(stream: &ControlStream, _how: Shutdown) -> io::Result<()> {
    match *stream {}
}

pub(crate) fn peer_of(stream: &ControlStream) -> Option<Peer> {
    match *stream {}
}

impl Peer {
    pub(crate) fn is_trusted(self) -> bool {
        false
    }
}

impl Read for ControlStream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

impl Write for ControlStream {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}

/// Nothing can be registered, because there is none.
macro_rules! never_a_source {
    ($kind:ty) => {
        impl Source for $kind {
            fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
                match *self {}
            }

            fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
                match *self {}
            }

            fn deregister(&mut self, _: &Registry) -> io::Result<()> {
                match *self {}
            }
        }
    };
}

never_a_source!(ControlListener);
never_a_source!(ControlStream);
