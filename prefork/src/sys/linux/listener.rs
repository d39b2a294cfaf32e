//! Options of listening sockets.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;
use socket2::{SockAddr, Socket};

/// Whether a socket that is bound can still let others listen on its address.
pub(crate) const JOINS_GROUPS_LATE: bool = true;

/// The remedy for an address that the system refuses to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str =
    "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher port";

/// Makes `accept` return a connection only once it has received data, or after `limit`; zero takes that back.
pub(crate) fn set_defer_accept(socket: &Socket, limit: Duration) -> io::Result<()> {
    let seconds = limit.as_secs().max(u64::from(!limit.is_zero()));
    let seconds = i32::try_from(seconds).map_err(io::Error::other)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)
}

/// Accepts data in the first packet, of up to `queue` connections at a time; zero takes that back.
pub(crate) fn set_fast_open(socket: &Socket, queue: u32) -> io::Result<()> {
    let queue = i32::try_from(queue).map_err(io::Error::other)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue)
}

/// Makes the kernel prefer this socket of a reuseport group for connections whose packets arrive on
/// `cpu`; `None` takes that back. Has no effect while new connections are steered.
pub(crate) fn prefer_cpu(socket: &Socket, cpu: Option<usize>) -> io::Result<()> {
    let cpu = cpu.map_or(Ok(-1), |cpu| libc::c_int::try_from(cpu).map_err(io::Error::other))?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_INCOMING_CPU, &cpu)
}

/// Withdraws a listener from its address, by binding it to a network interface that does not exist: new
/// connections are refused at once, or go to another socket on the address. Queued ones can be accepted. Needs
/// no privilege, but only `CAP_NET_RAW` can undo it.
pub(crate) fn withdraw_listener(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &libc::c_int::MAX)
}

/// Undoes what a child can do to a listening TCP socket that it shares: a packet filter, a shorter queue, and
/// `shutdown`, after which the socket listens in no process. Returns whether it was shut down.
pub(crate) fn restore_listener(socket: &Socket, addr: &SockAddr, backlog: i32) -> io::Result<bool> {
    // An error: there is no filter.
    let _ = socket.detach_filter();
    let was_shut_down = !socket.is_listener().unwrap_or(true);
    if was_shut_down {
        // The kernel has released a port that it had chosen itself. Another port is still bound, which is an
        // error here.
        let _ = socket.bind(addr);
    }
    socket.listen(backlog)?;
    Ok(was_shut_down)
}

pub(super) fn set_option<T>(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the size are those of one value that outlives the call, and each
    // caller passes the type that its option takes.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
