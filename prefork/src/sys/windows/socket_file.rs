//! Unix sockets, of which std knows none here.

use std::io;
use std::path::Path;

use socket2::Socket;

use crate::sys::SocketFileOptions;

/// There are none.
#[derive(Debug)]
pub(crate) enum SocketFile {}

impl SocketFile {
    pub(crate) fn bind(_path: &Path, _options: SocketFileOptions) -> io::Result<(Socket, Self)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn adopt(_path: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What the standard library has not: a value of this type does not exist here.
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

/// What tokio has not: a value of this type does not exist here.
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
