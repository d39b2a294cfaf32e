//! Unix: signals, socket pairs, descriptors.

mod accept_gate;
mod activation;
mod channel;
mod exec;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod filter;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "filter_portable.rs"]
mod filter;
#[cfg_attr(target_vendor = "apple", path = "identity_apple.rs")]
mod identity;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "portable.rs"]
mod linux;
mod master_link;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "privileges_linux.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "privileges_portable.rs"]
mod platform;
mod privileges;
mod program;
mod reactor;
mod role;
mod service;
mod socket_file;
mod title;
mod waker;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
pub(crate) use std::os::unix::net::UnixListener;
#[cfg(feature = "tokio")]
pub(crate) use tokio::net::UnixListener as TokioUnixListener;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

pub(crate) use accept_gate::AcceptGate;
pub(crate) use activation::{activated, unix_name};
pub(crate) use channel::Channel;
pub(crate) use exec::inheritance;
pub(crate) use filter::{refuse_connections, steer, unsteer};
pub(crate) use identity::{assume, groups_of};
pub(crate) use linux::{ADDRESS_DENIED_HINT, resident_bytes, set_defer_accept, set_fast_open, threads};
pub(crate) use master_link::{MasterLink, MasterSender};
pub(crate) use platform::{
    allowed_cpus, check_landlock, check_no_new_privs, confine_to, other_threads, pin_to_cpu, prefer_cpu,
    refuse_new_privileges,
};
pub(crate) use privileges::{
    check_may_change_user, check_nice, check_open_files, find_group, find_user, limit_open_files, set_nice,
};
pub(crate) use program::Program;
pub(crate) use reactor::{Reactor, spawn_thread};
pub(crate) use role::{adopt, handshake_is_waiting};
pub(crate) use service::{is_managed, notify, watchdog};
pub(crate) use socket_file::SocketFile;
pub(crate) use title::set_title;
pub(crate) use waker::Waker;

/// Ends this process at once: no destructor, no exit handler, no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}

/// Text of the system's, from its bytes.
pub(crate) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

/// A listener that is a Unix socket.
pub(crate) fn into_unix_listener(socket: Socket) -> io::Result<UnixListener> {
    Ok(socket.into())
}

/// Whether an address can be a Unix socket's.
pub(crate) const HAS_UNIX_SOCKETS: bool = true;

/// Whether a fleet has to ask for a socket for each slot.
pub(crate) const NEEDS_REUSEPORT: bool = false;

/// Whether the children share one socket even so.
pub(crate) const SHARES_ONE_SOCKET: bool = false;

/// Whether a socket that is bound can still open up for others on its address; elsewhere that has to
/// be said before.
pub(crate) const JOINS_GROUPS_LATE: bool = linux::JOINS_GROUPS_LATE;

/// Lets others that do the same listen on the socket's address as well.
pub(crate) fn join_reuseport_group(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Lets the socket have an address on which connections of the last run linger, in TIME_WAIT.
pub(crate) fn allow_quick_restart(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// How an operator stops the master with this pid.
pub(crate) fn how_to_stop(master: u32) -> String {
    format!("Ctrl-C or kill -TERM {master}")
}

/// What to do where the system is out of something that a process or a socket needs.
pub(crate) fn shortage_hint(error: &io::Error) -> Option<&'static str> {
    if is_out_of_descriptors(error) {
        return Some("raise the limit on open files (ulimit -n) or lower `workers`");
    }
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            Some("raise the limit on processes (ulimit -u, pids.max) or lower `workers`")
        }
        io::ErrorKind::OutOfMemory => Some("free memory or lower `workers`"),
        _ => None,
    }
}

/// Closes a listener that no process is to accept from any more: the children shut their own doors.
pub(crate) fn close_for_all(listener: Socket) {
    drop(listener);
}

/// Whether starting a process failed for want of something that may be there later.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    let wants = [Errno::EAGAIN, Errno::ENOMEM, Errno::ETXTBSY];
    is_out_of_descriptors(error) || wants.iter().any(|errno| is(error, *errno))
}

/// Whether the process or the system has no descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    is(error, Errno::EMFILE) || is(error, Errno::ENFILE)
}

/// Whether the error means that this machine does not speak IPv6.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    is(error, Errno::EAFNOSUPPORT) || is(error, Errno::EADDRNOTAVAIL)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Whether any wait there: `accept` would have one at once.
pub(crate) fn has_queue(listener: &Socket) -> bool {
    let mut listener = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut listener, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// A pid as the system's calls take it.
fn pid_of(id: u32) -> io::Result<nix::unistd::Pid> {
    let raw = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    Ok(nix::unistd::Pid::from_raw(raw))
}
