//! The descriptors of this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::platform;

/// Whether this process may write a file of that size. Beyond its limit the kernel would not only refuse, but send
/// SIGXFSZ as well.
pub(super) fn check_file_size(size: usize) -> io::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if limit.try_into().is_ok_and(|limit: usize| size > limit) {
        let reason = format!("the limit on the size of files is {limit} bytes (`ulimit -f`)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(())
}

/// Tells one open file from another. All descriptors of a socket have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: libc::dev_t,
    inode: libc::ino_t,
}

impl FileId {
    pub(super) fn of(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::from(&fstat(descriptor)?))
    }

    /// Of the file at `number`, if it is open.
    pub(super) fn at(number: RawFd) -> Option<Self> {
        status(number).as_ref().map(Self::from)
    }

    /// Of the socket at `number`, if it is one.
    pub(super) fn of_socket_at(number: RawFd) -> Option<Self> {
        let is_socket =
            |status: &FileStat| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
        status(number).filter(is_socket).as_ref().map(Self::from)
    }

    #[allow(clippy::useless_conversion, reason = "the type differs by system")]
    pub(super) fn inode(self) -> u64 {
        u64::from(self.inode)
    }
}

impl From<&FileStat> for FileId {
    fn from(status: &FileStat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }
}

fn status(number: RawFd) -> Option<FileStat> {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    fstat(unsafe { BorrowedFd::borrow_raw(number) }.as_fd()).ok()
}

/// Every open descriptor of this process.
pub(super) fn open_descriptors() -> Vec<RawFd> {
    let listed: io::Result<Vec<_>> = std::fs::read_dir("/dev/fd").and_then(Iterator::collect);
    match listed {
        Ok(entries) => entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        // No such directory, or it cannot be read, for example because no descriptor is free: try every number
        // that can be one. A limit that was lowered leaves descriptors beyond it open.
        Err(_) => {
            let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
            (0..RawFd::try_from(limit).unwrap_or(65_536).min(65_536)).collect()
        }
    }
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> usize {
    // Fewer than any system has by default, if it is unknown.
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((256, 256));
    usize::try_from(soft).unwrap_or(usize::MAX)
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

/// Takes ownership of a descriptor that the previous program in this process left open for this one.
pub(super) fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a standard descriptor cannot be passed on"));
    }
    // SAFETY: borrowed for one call; if the number is not open, the call fails.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, as the call above has shown. The previous program, which ran in this process, has
    // named it for this one; each number is named once, and nothing else has run here yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
