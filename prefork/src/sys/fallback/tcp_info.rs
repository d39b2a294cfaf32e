//! What the system knows of a socket: little.

use std::io;

use socket2::{SockRef, Socket};

/// Whether an accepted connection has been read.
#[allow(dead_code, reason = "the same type as on Linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum FirstRead {
    Done,
    Idle,
    Pending,
}

/// Unknown.
pub(in crate::sys) fn queue_length(_listener: &Socket) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown.
pub(in crate::sys) fn first_read(_connection: &SockRef<'_>) -> io::Result<FirstRead> {
    Err(io::ErrorKind::Unsupported.into())
}
