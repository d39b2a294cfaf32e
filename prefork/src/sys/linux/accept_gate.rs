//! Threads in `accept`, as /proc shows them, and decoys for Unix sockets.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

/// Sends `signal` to the threads of this process that are in `accept` on one of `listeners`. Returns how
/// many there were.
pub(in crate::sys) fn interrupt_accepts(listeners: &[RawFd], signal: Signal) -> io::Result<usize> {
    let process = std::process::id();
    let mut interrupted = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let Ok(thread) = task.file_name().to_string_lossy().parse::<libc::pid_t>() else { continue };
        let Ok(call) = fs::read_to_string(task.path().join("syscall")) else { continue };
        if accepts_on(&call, listeners) {
            // SAFETY: the call takes plain numbers; a thread that has ended meanwhile is an error.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal as libc::c_int) };
            interrupted += 1;
        }
    }
    Ok(interrupted)
}

/// Whether another thread of this process is running, and not asleep in a system call. Such a thread may
/// have accepted a connection that has no descriptor yet.
pub(in crate::sys) fn other_threads_run() -> bool {
    let own = nix::unistd::gettid().to_string();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return false };
    tasks.flatten().filter(|task| task.file_name().to_str() != Some(own.as_str())).any(|task| {
        fs::read_to_string(task.path().join("syscall")).is_ok_and(|call| call.starts_with("running"))
    })
}

/// Reads a line of `/proc/self/task/*/syscall`: the call's number, then its arguments in hex.
fn accepts_on(call: &str, listeners: &[RawFd]) -> bool {
    let mut fields = call.split_whitespace();
    let number = fields.next().and_then(|number| number.parse::<libc::c_long>().ok());
    let first =
        fields.next().and_then(|first| RawFd::from_str_radix(first.trim_start_matches("0x"), 16).ok());
    let is_accept = number.is_some_and(is_accept_call);
    is_accept && first.is_some_and(|first| listeners.contains(&first))
}

// Some architectures have no plain accept(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "arm"))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept || number == libc::SYS_accept4
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm"
)))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept4
}

/// A listening Unix socket under an abstract name that the kernel chose.
pub(in crate::sys) fn unix_decoy() -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    nix::sys::socket::listen(&socket, Backlog::new(16)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_in_accept_is_recognised() {
        let accept = format!("{} 0x7 0x7ffd0 0x7ffd8 0x80000 0x0 0x0 0x7ffd 0x7f", libc::SYS_accept4);
        assert!(accepts_on(&accept, &[5, 7]));
        assert!(!accepts_on(&accept, &[5]));
        let read = format!("{} 0x7 0x7ffd0 0x40 0x0 0x0 0x0 0x7ffd 0x7f", libc::SYS_read);
        assert!(!accepts_on(&read, &[7]));
        assert!(!accepts_on("running\n", &[7]));
        assert!(!accepts_on("", &[7]));
    }
}
