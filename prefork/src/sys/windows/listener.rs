//! Listening sockets: how they are shared, and options that Windows lacks.

use std::io;
use std::time::Duration;

use socket2::{SockAddr, Socket};

use crate::sys::ListenQueue;

/// Whether an address can be that of a Unix socket. Windows has some, but neither the standard library nor
/// tokio supports them.
pub(crate) const HAS_UNIX_SOCKETS: bool = false;

/// Whether a fleet has to set `reuseport`, as with fasthttp's prefork.
pub(crate) const NEEDS_REUSEPORT: bool = true;

/// Whether the children share one socket all the same; see the [parent module](super).
pub(crate) const SHARES_ONE_SOCKET: bool = true;

/// There are no groups to join.
pub(crate) const JOINS_GROUPS_LATE: bool = false;

/// The remedy for an address that the system refuses to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str = "another program has it for itself, or Windows has reserved it \
     (`netsh interface ipv4 show excludedportrange tcp` tells): choose another port";

/// Not called: see [`SHARES_ONE_SOCKET`].
pub(crate) fn join_reuseport_group(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not called: see [`SHARES_ONE_SOCKET`].
pub(crate) fn leave_reuseport_group(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_in_reuseport_group(_socket: &Socket) -> io::Result<bool> {
    Ok(false)
}

/// Not called: an address is given up by an upgrade only.
pub(crate) fn withdraw_listener(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing: Windows allows it by itself. The option with this effect elsewhere would let other programs
/// take the address.
pub(crate) fn allow_quick_restart(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

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

/// Does nothing: no slot has a socket of its own.
pub(crate) fn prefer_cpu(_socket: &Socket, _cpu: Option<usize>) -> io::Result<()> {
    Ok(())
}

/// Unknown.
pub(crate) fn listen_queue(_socket: &Socket) -> Option<ListenQueue> {
    None
}

/// There is no group of sockets.
pub(crate) fn steer(_socket: &Socket, _targets: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn unsteer(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// The length of a queue is unknown, so the master does not wait for it to become empty.
pub(crate) fn refuse_connections(_listener: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn has_queue(_listener: &Socket) -> bool {
    false
}

/// Whether a client of an endpoint waits, or may.
pub(crate) fn may_have_client<L>(_listener: &L) -> bool {
    true
}
