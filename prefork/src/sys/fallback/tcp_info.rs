//! What the system knows of a socket: little.

use std::io;
use std::os::fd::RawFd;

use socket2::SockRef;

use crate::sys::ListenQueue;

/// Whether the client of a connection is about to send, or has just sent.
#[allow(dead_code, reason = "the same type as on Linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum Activity {
    Quiet,
    Active,
}

/// Unknown.
pub(in crate::sys) fn queue_length(_listener: RawFd) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown.
pub(in crate::sys) fn listen_queue(_listener: RawFd) -> io::Result<ListenQueue> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown.
pub(in crate::sys) fn activity(_connection: &SockRef<'_>) -> io::Result<Activity> {
    Err(io::ErrorKind::Unsupported.into())
}
