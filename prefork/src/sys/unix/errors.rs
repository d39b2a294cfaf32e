//! The meaning of the system's errors.

use std::io;

use nix::errno::Errno;

/// The remedy for a shortage of something that a process or a socket needs.
pub(crate) fn shortage_hint(error: &io::Error) -> Option<&'static str> {
    if is_out_of_descriptors(error) {
        return Some("raise the limit on open files (ulimit -n) or lower `workers`");
    }
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            Some("raise the limit on processes (ulimit -u, pids.max, TasksMax=) or lower `workers`")
        }
        io::ErrorKind::OutOfMemory => Some("free memory or lower `workers`"),
        _ => None,
    }
}

/// Whether a process could not be started because of a shortage that may pass.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    let shortages = [Errno::EAGAIN, Errno::ENOMEM, Errno::ETXTBSY];
    is_out_of_descriptors(error) || shortages.iter().any(|errno| is(error, *errno))
}

/// Whether the process or the system lacks descriptors or memory.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    is_out_of_descriptors(error) || is(error, Errno::ENOBUFS) || is(error, Errno::ENOMEM)
}

/// Whether the error means that this machine has no IPv6.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    is(error, Errno::EAFNOSUPPORT) || is(error, Errno::EADDRNOTAVAIL)
}

/// Whether the process or the system has no descriptor left. Linux counts those that its user has sent, and that are
/// not received, against the limit of a process.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ETOOMANYREFS].iter().any(|errno| is(error, *errno))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
