//! Unix: signals, socket pairs, descriptors.

mod activation;
mod channel;
mod conditions;
mod door;
mod exec;
#[cfg_attr(target_vendor = "apple", path = "identity_apple.rs")]
mod identity;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "portable.rs"]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "conditions_linux.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "conditions_portable.rs"]
mod platform;
mod program;
mod reactor;
mod role;
mod service;
mod socket_file;
mod stand_in;
mod title;
mod watch;

use std::io;
use std::os::fd::AsRawFd;
pub(crate) use std::os::unix::net::UnixListener;
#[cfg(feature = "tokio")]
pub(crate) use tokio::net::UnixListener as TokioUnixListener;

use nix::errno::Errno;
use nix::libc;
use socket2::Socket;

pub(crate) use activation::{activated, unix_name};
pub(crate) use channel::Channel;
pub(crate) use conditions::{
    check_may_change_user, check_nice, check_open_files, find_group, find_user, limit_open_files, set_nice,
};
pub(crate) use door::Door;
pub(crate) use exec::inheritance;
pub(crate) use identity::{assume, groups_of};
pub(crate) use linux::{resident_bytes, set_defer_accept, set_fast_open, steer, threads, unsteer};
pub(crate) use platform::{
    allowed_cpus, check_landlock, check_no_new_privs, confine_to, other_threads, pin_to_cpu, prefer_cpu,
    refuse_new_privileges,
};
pub(crate) use program::Program;
pub(crate) use reactor::{Reactor, Waker, spawn_thread};
pub(crate) use role::{adopt, handoff_is_waiting};
pub(crate) use service::{is_managed, notify, watchdog};
pub(crate) use socket_file::SocketFile;
pub(crate) use stand_in::StandIn;
pub(crate) use title::set_title;
pub(crate) use watch::{Voice, Watch};

/// Ends this process at once: no destructor, no exit handler, no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}

/// A listener that is a Unix socket.
pub(crate) fn into_unix_listener(socket: Socket) -> io::Result<UnixListener> {
    Ok(socket.into())
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
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    is(error, Errno::EMFILE) || is(error, Errno::ENFILE)
}

/// Whether the error means that this machine does not speak IPv6.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    is(error, Errno::EAFNOSUPPORT) || is(error, Errno::EADDRNOTAVAIL)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// How many connections wait on a listener; an error where that cannot be known.
pub(crate) fn queued(listener: &Socket) -> io::Result<u32> {
    linux::queued(listener.as_raw_fd())
}

/// A pid as the system's calls take it.
fn pid_of(id: u32) -> io::Result<nix::unistd::Pid> {
    let raw = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    Ok(nix::unistd::Pid::from_raw(raw))
}
