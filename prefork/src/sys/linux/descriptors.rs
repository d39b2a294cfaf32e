//! Files without a name, and close-on-exec for many descriptors at once.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{SFlag, fstat};

/// A file without a name, in memory.
pub(in crate::sys) fn anonymous_file() -> io::Result<File> {
    Ok(File::from(memfd_create(c"prefork-upgrade", MFdFlags::MFD_CLOEXEC)?))
}

/// Marks every descriptor above standard error close-on-exec in one call. Fails before Linux 5.11.
pub(in crate::sys) fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: the call takes plain numbers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a descriptor is a file of the kernel's own, of this kind: `[eventpoll]`.
pub(super) fn is_anonymous(number: RawFd, kind: &str) -> bool {
    // A server may have many thousands of sockets, whose names take five times as long to be read.
    if has_type(number) {
        return false;
    }
    let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
    target.is_ok_and(|target| target.to_str().and_then(|name| name.strip_prefix("anon_inode:")) == Some(kind))
}

/// Whether the file is a socket, a pipe, a device or one with a name.
fn has_type(number: RawFd) -> bool {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let status = fstat(unsafe { BorrowedFd::borrow_raw(number) });
    status.is_ok_and(|status| SFlag::from_bits_truncate(status.st_mode).intersects(SFlag::S_IFMT))
}
