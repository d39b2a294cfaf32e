//! There is no service manager here that is told anything over a socket.

use std::io;
use std::time::Duration;

use socket2::Socket;

use crate::sys::{Activated, Notice};

/// Nor one that opens sockets.
pub(crate) fn activated() -> io::Result<Vec<Activated>> {
    Ok(Vec::new())
}

pub(crate) fn unix_name(_socket: &Socket) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_managed() -> bool {
    false
}

pub(crate) fn watchdog() -> Option<Duration> {
    None
}

pub(crate) fn notify(_notices: &[Notice<'_>]) -> io::Result<()> {
    Ok(())
}
