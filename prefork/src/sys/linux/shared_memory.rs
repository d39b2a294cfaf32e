//! Shared memory that no holder can resize. A file that can be shrunk would do for no trusting process: touching
//! what is gone ends it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{F_ADD_SEALS, SealFlag, fcntl};
use nix::libc::{self, off_t};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use crate::error::plain;

pub(in crate::sys) fn create(size: off_t) -> io::Result<OwnedFd> {
    let file = open().map_err(|error| failed("memfd_create", error))?;
    ftruncate(&file, size).map_err(|error| failed("ftruncate", error))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, F_ADD_SEALS(seals)).map_err(|error| failed("F_ADD_SEALS", error))?;
    Ok(file)
}

/// The error with the call that failed: a filter of system calls may forbid one of them.
fn failed(call: &str, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{call}: {}", plain(&error)))
}

/// A system may refuse a file that can be executed (`vm.memfd_noexec`); before Linux 6.3 there is no other.
fn open() -> nix::Result<OwnedFd> {
    /// `MFD_NOEXEC_SEAL` of linux/memfd.h.
    const NOEXEC_SEAL: libc::c_uint = 8;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(c"prefork-shared", flags | MFdFlags::from_bits_retain(NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create(c"prefork-shared", flags),
        opened => opened,
    }
}

pub(in crate::sys) fn reserve(file: BorrowedFd<'_>, at: off_t, length: off_t) -> nix::Result<()> {
    allocate(file, libc::FALLOC_FL_KEEP_SIZE, at, length)
}

pub(in crate::sys) fn release(file: BorrowedFd<'_>, at: off_t, length: off_t) -> nix::Result<()> {
    allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, at, length)
}

fn allocate(file: BorrowedFd<'_>, mode: libc::c_int, at: off_t, length: off_t) -> nix::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the rest are plain numbers.
    Errno::result(unsafe { libc::fallocate(file.as_raw_fd(), mode, at, length) }).map(drop)
}
