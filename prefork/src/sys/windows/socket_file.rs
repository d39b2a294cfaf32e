//! Unix sockets, which the standard library does not have here.

use std::io;
use std::path::Path;

use socket2::Socket;

use crate::sys::SocketFileOptions;

/// Never made: there are no Unix sockets.
#[derive(Debug)]
pub(crate) enum SocketFile {}

impl SocketFile {
    pub(crate) fn bind(_path: &Path, _options: SocketFileOptions) -> io::Result<(Socket, Self)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn listens(&mut self) {
        match *self {}
    }

    pub(crate) fn adopt(_path: &Path, _identity: (u64, u64)) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn identity(&self) -> (u64, u64) {
        match *self {}
    }

    pub(crate) fn is_in_place(&self) -> bool {
        match *self {}
    }

    pub(crate) fn set_options(&self, _options: SocketFileOptions) -> io::Result<()> {
        match *self {}
    }
}

/// In place of the standard library's type. It has no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnixListener {}

impl UnixListener {
    pub(crate) fn set_nonblocking(&self, _nonblocking: bool) -> io::Result<()> {
        match *self {}
    }
}

pub(crate) fn into_unix_listener(_socket: Socket) -> io::Result<UnixListener> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn unix_name(_socket: &Socket) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

/// In place of tokio's type. It has no value.
#[cfg(feature = "tokio")]
#[derive(Debug)]
#[allow(dead_code, reason = "only systems with such listeners make one")]
pub(crate) enum TokioUnixListener {}

#[cfg(feature = "tokio")]
#[allow(dead_code, reason = "as above")]
impl TokioUnixListener {
    pub(crate) fn from_std(listener: UnixListener) -> io::Result<Self> {
        match listener {}
    }
}
