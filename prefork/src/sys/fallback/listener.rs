//! Options of listening sockets. These systems lack most of them.

use std::io;
use std::time::Duration;

use socket2::{SockAddr, Socket};

/// Whether a socket that is bound can still let others listen on its address.
pub(crate) const JOINS_GROUPS_LATE: bool = false;

/// The remedy for an address that the system refuses to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str = "ports below 1024 need root: choose a higher port";

/// Does nothing, and finds nothing.
pub(crate) fn restore_listener(_socket: &Socket, _addr: &SockAddr, _backlog: i32) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn set_defer_accept(_socket: &Socket, _limit: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_fast_open(_socket: &Socket, _queue: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn withdraw_listener(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing: it is a hint.
pub(crate) fn prefer_cpu(_socket: &Socket, _cpu: Option<usize>) -> io::Result<()> {
    Ok(())
}
