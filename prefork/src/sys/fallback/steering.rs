//! Steering of new connections. These systems lack it.

use std::io;

use socket2::Socket;

pub(crate) fn steer(_socket: &Socket, _targets: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing: nothing was steered.
pub(crate) fn unsteer(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

pub(crate) fn refuse_connections(_listener: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
