//! Shared memory: an object without a name. macOS refuses to resize one; elsewhere a hostile child could.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{F_SETFD, FdFlag, OFlag, fcntl};
use nix::libc::off_t;
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use nix::unistd::ftruncate;

/// How often another process may have the name already.
const TRIES: u32 = 100;

pub(in crate::sys) fn create(size: off_t) -> nix::Result<OwnedFd> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    for _ in 0..TRIES {
        // macOS allows 30 bytes.
        let name = format!("/prefork-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let file = match shm_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Err(Errno::EEXIST) => continue,
            opened => opened?,
        };
        shm_unlink(name.as_str())?;
        fcntl(&file, F_SETFD(FdFlag::FD_CLOEXEC))?;
        ftruncate(&file, size)?;
        return Ok(file);
    }
    Err(Errno::EEXIST)
}

/// Unsupported: the system has the memory, or ends the process.
pub(in crate::sys) fn reserve(_file: BorrowedFd<'_>, _at: off_t, _length: off_t) -> nix::Result<()> {
    Ok(())
}

/// Unsupported.
pub(in crate::sys) fn release(_file: BorrowedFd<'_>, _at: off_t, _length: off_t) -> nix::Result<()> {
    Err(Errno::EOPNOTSUPP)
}
