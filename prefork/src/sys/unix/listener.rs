//! Listening sockets: kinds, sharing, options, and whether connections are queued.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
pub(crate) use std::os::unix::net::UnixListener;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;
#[cfg(feature = "tokio")]
pub(crate) use tokio::net::UnixListener as TokioUnixListener;

use super::platform;
use crate::sys::ListenQueue;

/// Whether an address can be that of a Unix socket.
pub(crate) const HAS_UNIX_SOCKETS: bool = true;

/// Whether a fleet has to ask for a socket for each slot.
pub(crate) const NEEDS_REUSEPORT: bool = false;

/// Whether the children share one socket even if a fleet asks for one for each slot.
pub(crate) const SHARES_ONE_SOCKET: bool = false;

/// A listener that is a Unix socket.
pub(crate) fn into_unix_listener(socket: Socket) -> io::Result<UnixListener> {
    Ok(socket.into())
}

/// The address of a Unix socket: a path, or `@` and an abstract name.
pub(crate) fn unix_name(socket: &Socket) -> io::Result<String> {
    let addr = socket.local_addr()?;
    let path = addr.as_pathname().map(|path| path.to_string_lossy().into_owned());
    let name = || addr.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    path.or_else(name).ok_or_else(|| io::Error::other("the socket has no address"))
}

/// Lets other sockets with this option listen on the socket's address.
pub(crate) fn join_reuseport_group(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Lets no other socket listen on the socket's address, unless one does already.
pub(crate) fn leave_reuseport_group(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(false)
}

/// Whether other sockets can listen on the socket's address.
pub(crate) fn is_in_reuseport_group(socket: &Socket) -> io::Result<bool> {
    socket.reuse_port()
}

/// Allows the socket an address on which connections of the last run are in TIME_WAIT.
pub(crate) fn allow_quick_restart(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Whether connections are queued: `accept` would return one at once.
pub(crate) fn has_queue(listener: impl AsFd) -> bool {
    let mut listener = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut listener, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether a client of an endpoint waits.
pub(crate) fn may_have_client(listener: &impl AsFd) -> bool {
    has_queue(listener)
}

/// The queue of a listener, if the system tells. It tells nothing of Unix sockets.
pub(crate) fn listen_queue(listener: &Socket) -> Option<ListenQueue> {
    platform::tcp_info::listen_queue(listener.as_raw_fd()).ok()
}

/// Does nothing before a listener is closed for good: each child closes its own accept gate.
pub(crate) fn close_for_all(_listener: &Socket) {}
