//! The descriptors of this process.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};

use super::platform;

/// Every open descriptor of this process.
pub(super) fn open_descriptors() -> Vec<RawFd> {
    match std::fs::read_dir("/dev/fd") {
        Ok(entries) => {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        }
        // No such directory: try every number that can be one.
        Err(_) => {
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
            (0..RawFd::try_from(limit).unwrap_or(65_536).min(65_536)).collect()
        }
    }
}

/// Marks every descriptor above standard error close-on-exec, including those that this process inherited.
pub(super) fn close_on_exec_from_3() {
    if platform::descriptors::close_on_exec_from_3().is_ok() {
        return;
    }
    for number in open_descriptors().into_iter().filter(|number| *number > 2) {
        // SAFETY: the number is used for one call that does not close it. If it is free, that is an error;
        // if another thread has just opened it, it gets a flag that it has already.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl(descriptor, F_SETFD(FdFlag::FD_CLOEXEC));
    }
}

/// Takes ownership of a descriptor that the last program in this process left open for this one.
pub(super) fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a standard descriptor cannot be passed on"));
    }
    // SAFETY: borrowed for one call; if the number is not open, the call fails.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, as the call above has shown. The last program, which ran in this process, has
    // named it for this one; each number is named once, and nothing else has run here yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
