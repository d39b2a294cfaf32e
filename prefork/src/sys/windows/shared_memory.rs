//! Memory that processes share: a section without a name, in the system's page file. A process gets a handle of its
//! own. A page has to be reserved before it is touched: until then the system has no memory for it, and touching it
//! ends the process.

use std::io;
use std::ops::Deref;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::ptr::{self, NonNull};
use std::slice;

use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    PAGE_READWRITE, SEC_RESERVE, UnmapViewOfFile, VirtualAlloc,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcess, PROCESS_DUP_HANDLE};

use super::object;
use crate::sync::atomic::AtomicU64;
use crate::sys::MemoryAccess;

/// The unit in which parts can be mapped.
const UNIT: usize = 64 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct SharedMemory {
    section: OwnedHandle,
}

impl SharedMemory {
    /// Memory of `size` bytes, all zero. What is not reserved takes no space.
    pub(crate) fn create(size: usize) -> io::Result<Self> {
        let (high, low) = halves(size)?;
        let protection = PAGE_READWRITE | SEC_RESERVE;
        // SAFETY: no file, no attributes and no name; the rest are plain numbers.
        let section = unsafe {
            CreateFileMappingW(INVALID_HANDLE_VALUE, ptr::null(), protection, high, low, ptr::null())
        };
        Ok(Self { section: object::owned(section)? })
    }

    /// Another handle of the same memory.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { section: self.section.try_clone()? })
    }

    /// Makes a handle for the process with this pid, and returns its number there.
    pub(super) fn export(&self, pid: u32) -> io::Result<String> {
        // SAFETY: plain numbers.
        let process = object::owned(unsafe { OpenProcess(PROCESS_DUP_HANDLE, 0, pid) })?;
        let mut handle: RawHandle = ptr::null_mut();
        // SAFETY: the handles are open, and the system fills the number, which outlives the call.
        object::check(unsafe {
            DuplicateHandle(
                GetCurrentProcess(),
                self.section.as_raw_handle(),
                process.as_raw_handle(),
                &raw mut handle,
                0,
                0,
                DUPLICATE_SAME_ACCESS,
            )
        })?;
        Ok(handle.addr().to_string())
    }

    /// Takes the handle that another process has made for this one.
    pub(super) fn import(number: &str, size: usize) -> io::Result<Self> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the master sent no shared memory");
        let number: usize = number.parse().ok().filter(|number| *number != 0).ok_or_else(broken)?;
        // SAFETY: the master has made it for this process, and names it once; no other code knows the number.
        let section = unsafe { OwnedHandle::from_raw_handle(ptr::without_provenance_mut(number)) };
        let memory = Self { section };
        // Fails if the section is shorter, or is none.
        memory.map(size - UNIT, UNIT, MemoryAccess::Read)?;
        Ok(memory)
    }

    /// Unsupported: no program runs in this process before this one.
    pub(crate) fn inherit(_number: i32, _size: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// None: no program runs in this process after this one.
    pub(crate) fn number(&self) -> i32 {
        -1
    }

    /// Maps a part of it. Both numbers are in bytes, and multiples of 64 KiB.
    pub(crate) fn map(&self, at: usize, length: usize, access: MemoryAccess) -> io::Result<Mapping> {
        let (high, low) = halves(at)?;
        let access = match access {
            MemoryAccess::Write => FILE_MAP_READ | FILE_MAP_WRITE,
            MemoryAccess::Read => FILE_MAP_READ,
        };
        // SAFETY: a new mapping at a place that the system chooses.
        let view = unsafe { MapViewOfFile(self.section.as_raw_handle(), access, high, low, length) };
        let start = NonNull::new(view.Value).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { start: start.cast(), words: length / size_of::<u64>() })
    }

    /// Takes memory for a part, so that it can be touched.
    ///
    /// # Errors
    ///
    /// There is none left.
    pub(crate) fn reserve(&self, at: usize, length: usize) -> io::Result<()> {
        let first = at / UNIT * UNIT;
        let view = self.map(first, (at + length - first).next_multiple_of(UNIT), MemoryAccess::Write)?;
        // SAFETY: the part is inside the view, which is mapped.
        let start = unsafe { view.start.cast::<u8>().add(at - first) };
        // SAFETY: as above; memory that is there already stays as it is.
        let taken = unsafe { VirtualAlloc(start.as_ptr().cast(), length, MEM_COMMIT, PAGE_READWRITE) };
        if taken.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Unsupported: memory that was taken stays with the section.
    pub(crate) fn release(&self, _at: usize, _length: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A number of bytes as the system's calls take it.
fn halves(bytes: usize) -> io::Result<(u32, u32)> {
    let bytes = u64::try_from(bytes).map_err(io::Error::other)?;
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).map_err(io::Error::other);
    Ok((half(bytes >> 32)?, half(bytes)?))
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
        // SAFETY: the system has mapped that many words, aligned to 64 KiB, for as long as this lives. Every value
        // of the memory is a number, and other processes, too, change it by atomic operations. A word that was not
        // reserved cannot be touched: that ends the process, and changes nothing.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped there, and nothing borrows it any more.
        unsafe { UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.start.as_ptr().cast() }) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn part_that_is_exported_to_a_process_is_the_same_memory() {
        let memory = SharedMemory::create(4 * UNIT).unwrap();
        let number = memory.export(std::process::id()).unwrap();
        let other = SharedMemory::import(&number, 4 * UNIT).unwrap();
        memory.reserve(UNIT + 8, 8).unwrap();
        let ours = memory.map(UNIT, 2 * UNIT, MemoryAccess::Write).unwrap();
        let theirs = other.map(UNIT, UNIT, MemoryAccess::Read).unwrap();
        ours[1].store(7, Ordering::Relaxed);
        assert_eq!((theirs[0].load(Ordering::Relaxed), theirs[1].load(Ordering::Relaxed)), (0, 7));
        other.reserve(UNIT, UNIT).unwrap();
        assert_eq!(ours.leak()[1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn section_of_another_size_and_what_is_no_section_are_refused() {
        let memory = SharedMemory::create(UNIT).unwrap();
        let number = memory.export(std::process::id()).unwrap();
        assert!(SharedMemory::import(&number, 2 * UNIT).is_err());
        for number in ["", "0", "x"] {
            assert!(SharedMemory::import(number, UNIT).is_err());
        }
    }
}
