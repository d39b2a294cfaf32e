//! Memory that processes share: a file without a name, which is handed over as a descriptor.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::slice;

use nix::errno::Errno;
use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::libc::off_t;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;

use super::descriptors::{check_file_size, take};
use super::platform::shared_memory as platform;
use crate::sync::atomic::AtomicU64;
use crate::sys::MemoryAccess;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct SharedMemory {
    file: OwnedFd,
}

impl SharedMemory {
    /// Memory of `size` bytes, all zero. What is not touched takes no space.
    ///
    /// # Errors
    ///
    /// The system has no memory that its other holders cannot shrink, or a limit is lower.
    pub(crate) fn create(size: usize) -> io::Result<Self> {
        check_file_size(size)?;
        Ok(Self { file: platform::create(offset(size)?)? })
    }

    /// What another process has made with that size.
    pub(crate) fn adopt(file: OwnedFd, size: usize) -> io::Result<Self> {
        // For systems without MSG_CMSG_CLOEXEC.
        fcntl(&file, F_SETFD(FdFlag::FD_CLOEXEC))?;
        if fstat(&file)?.st_size < offset(size)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is too short"));
        }
        Ok(Self { file })
    }

    /// What the previous program in this process has left open at this number.
    pub(crate) fn inherit(number: RawFd, size: usize) -> io::Result<Self> {
        Self::adopt(take(number)?, size)
    }

    /// The number of its descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Maps a part of it. Both numbers are in bytes, and multiples of 64 KiB.
    pub(crate) fn map(&self, at: usize, length: usize, access: MemoryAccess) -> io::Result<Mapping> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = match access {
            MemoryAccess::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MemoryAccess::Read => ProtFlags::PROT_READ,
        };
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, self, offset(at)?) }?;
        Ok(Mapping { start: start.cast(), words: length / size_of::<u64>() })
    }

    /// Makes sure that the system has memory for a part that is to be touched: otherwise touching it could end
    /// this process with SIGBUS.
    ///
    /// # Errors
    ///
    /// There is none left.
    pub(crate) fn reserve(&self, at: usize, length: usize) -> io::Result<()> {
        loop {
            match platform::reserve(self.as_fd(), offset(at)?, offset(length)?) {
                Err(Errno::EINTR) => {}
                // Where the call is forbidden or unknown, the system may have memory all the same.
                Ok(()) | Err(Errno::EPERM | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sets a part to zero and gives its memory back.
    ///
    /// # Errors
    ///
    /// The system cannot do so.
    pub(crate) fn release(&self, at: usize, length: usize) -> io::Result<()> {
        Ok(platform::release(self.as_fd(), offset(at)?, offset(length)?)?)
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn offset(bytes: usize) -> io::Result<off_t> {
    off_t::try_from(bytes).map_err(io::Error::other)
}

/// A part of shared memory in this process. Dropping it unmaps the part.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: it is memory for atomic access, and owned by the mapping, wherever that is.
unsafe impl Send for Mapping {}
// SAFETY: as above; all access is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Keeps the part mapped for the rest of the process's life.
    pub(crate) fn leak(self) -> &'static [AtomicU64] {
        let Self { start, words } = self;
        std::mem::forget(self);
        // SAFETY: as in `deref`; it is never unmapped.
        unsafe { slice::from_raw_parts(start.as_ptr(), words) }
    }
}

impl Deref for Mapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the kernel has mapped that many words, aligned to a page, for as long as this lives. The file
        // is never shorter. Every value of the memory is a number, and other processes, too, change it by
        // atomic operations: what a hostile one writes in other ways is a number as well.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows it any more.
        let _ = unsafe { munmap(self.start.cast(), self.words * size_of::<u64>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    const PART: usize = 64 * 1024;

    #[test]
    fn two_mappings_are_the_same_memory_and_only_what_is_released_is_zero_again() {
        let memory = SharedMemory::create(4 * PART).unwrap();
        let other = SharedMemory::adopt(memory.file.try_clone().unwrap(), 4 * PART).unwrap();
        memory.reserve(PART, PART).unwrap();
        let ours = memory.map(PART, 2 * PART, MemoryAccess::Write).unwrap();
        let theirs = other.map(2 * PART, PART, MemoryAccess::Read).unwrap();
        assert_eq!((ours.len(), theirs.len()), (2 * PART / 8, PART / 8));
        ours[0].store(1, Ordering::Relaxed);
        ours[PART / 8].store(7, Ordering::Relaxed);
        assert_eq!(theirs[0].load(Ordering::Relaxed), 7);
        if other.release(2 * PART, PART).is_ok() {
            assert_eq!((ours[0].load(Ordering::Relaxed), theirs[0].load(Ordering::Relaxed)), (1, 0));
        }
        assert_eq!(ours.leak()[0].load(Ordering::Relaxed), 1);
    }

    #[test]
    fn memory_of_another_size_is_refused() {
        let memory = SharedMemory::create(PART).unwrap();
        let error = SharedMemory::adopt(memory.file, 2 * PART).unwrap_err();
        assert_eq!(error.to_string(), "the shared memory is too short");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_cannot_be_resized() {
        let memory = SharedMemory::create(PART).unwrap();
        for size in [0, PART / 2, 2 * PART] {
            assert_eq!(nix::unistd::ftruncate(&memory, offset(size).unwrap()), Err(Errno::EPERM), "{size}");
        }
    }
}
