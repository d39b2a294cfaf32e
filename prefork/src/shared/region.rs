//! The region as a process sees it: its common part and its lanes, mapped when they are first needed, and the
//! pointer by which a handle remembers its cell.
//!
//! A process maps its own lane only, so that stray writes of a broken child reach no other. The code of `unsafe`
//! blocks is here and in `sys`: whatever else reads or writes shared memory does so by atomic words in slices.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64 as ProcessWord;

#[cfg(all(test, miri))]
pub(super) use self::ordinary::{Mapping, Memory};
use super::directory::Directory;
use super::layout::{CELLS, COMMON, CONTROL, LANES, SIZE, TABLE_WORDS, TABLES, WORD, lane_at, table_at};
use crate::error::plain;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sys::MemoryAccess;
#[cfg(not(all(test, miri)))]
pub(super) use crate::sys::{Mapping, SharedMemory as Memory};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Region {
    memory: Memory,
    common: OnceLock<&'static [AtomicU64]>,
    /// A bit for each page of the common part that memory was taken for.
    reserved: [ProcessWord; COMMON.div_ceil(PAGE * 64)],
}

/// The words of the smallest page.
const PAGE: usize = 512;

impl Region {
    /// Makes the region. An error says what could not be done.
    pub(crate) fn create() -> io::Result<Self> {
        let region = Self::of(Memory::create(SIZE).map_err(failed("cannot make the region"))?);
        let directory = region.directory().map_err(failed("cannot take memory for the region"))?;
        directory.seed().store(random(), Ordering::Relaxed);
        Ok(region)
    }

    pub(crate) fn of(memory: impl Into<Memory>) -> Self {
        Self {
            memory: memory.into(),
            common: OnceLock::new(),
            reserved: [const { ProcessWord::new(0) }; COMMON.div_ceil(PAGE * 64)],
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The part before the lanes.
    pub(super) fn directory(&self) -> io::Result<Directory<'static>> {
        if let Some(common) = self.common.get() {
            return Ok(Directory::new(common));
        }
        // Of two threads that map it at once, one keeps a second mapping.
        let mapped = self.memory.map(0, COMMON * WORD, MemoryAccess::Write)?.leak();
        self.reserve(0..CONTROL)?;
        Ok(Directory::new(self.common.get_or_init(|| mapped)))
    }

    /// The cells of this process's lane, for the rest of its life.
    pub(super) fn own_lane(&self, lane: usize) -> io::Result<&'static [AtomicU64]> {
        Ok(self.map_lanes(lane..lane + 1, MemoryAccess::Write)?.leak())
    }

    /// The words of a table, for the rest of this process's life.
    pub(super) fn table(&self, table: usize) -> io::Result<&'static [AtomicU64]> {
        if table >= TABLES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (at, size) = (table_at(table), TABLE_WORDS * WORD);
        self.memory.reserve(at, size)?;
        Ok(self.memory.map(at, size, MemoryAccess::Write)?.leak())
    }

    /// The cells of several lanes.
    pub(super) fn map_lanes(&self, lanes: Range<usize>, access: MemoryAccess) -> io::Result<Mapping> {
        if lanes.end > LANES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // In a model, a word has the number of one of loom's: its first use writes that.
        let access = if cfg!(all(test, loom)) { MemoryAccess::Write } else { access };
        self.memory.map(lane_at(lanes.start), lanes.len() * CELLS * WORD, access)
    }

    /// Takes memory for words of the common part, so that touching them ends no process. Cheap if it was taken.
    pub(super) fn reserve(&self, words: Range<usize>) -> io::Result<()> {
        for page in words.start / PAGE..words.end.div_ceil(PAGE) {
            let (place, bit) = (&self.reserved[page / 64], 1 << (page % 64));
            if place.load(Ordering::Relaxed) & bit == 0 {
                self.memory.reserve(page * PAGE * WORD, PAGE * WORD)?;
                place.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Takes memory for cells of a lane.
    pub(super) fn reserve_lane(&self, lane: usize, cells: Range<usize>) -> io::Result<()> {
        self.memory.reserve(lane_at(lane) + cells.start * WORD, cells.len() * WORD)
    }

    /// Sets every cell of a lane to zero.
    pub(super) fn clear_lane(&self, lane: usize) -> io::Result<()> {
        // In a model, the words are loom's, and stay.
        if cfg!(all(test, loom)) || self.memory.release(lane_at(lane), CELLS * WORD).is_err() {
            self.reserve_lane(lane, 0..CELLS)?;
            let cells = self.map_lanes(lane..lane + 1, MemoryAccess::Write)?;
            cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        }
        Ok(())
    }
}

/// The error, and before it what could not be done.
fn failed(what: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {}", plain(&error)))
}

/// A number that no client can guess.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What a handle remembers: nothing yet; a cell in memory of this process, which may have to move to the region;
/// or the cell where the value stays. One atomic pointer, whose lowest bit is set unless the cell stays.
#[derive(Debug)]
pub(super) struct CellPointer(AtomicPtr<AtomicU64>);

/// See [`CellPointer`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Unknown,
    /// The cell may have to move.
    Private(&'static AtomicU64),
    /// The cell stays.
    Home(&'static AtomicU64),
}

/// No cell: the tag alone.
const UNKNOWN: *mut AtomicU64 = ptr::without_provenance_mut(1);

impl CellPointer {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(UNKNOWN))
    }

    /// The cell where the value stays, if it is known. On the path of every increment.
    #[inline]
    pub(super) fn home(&self) -> Option<&'static AtomicU64> {
        let cell = self.0.load(Ordering::Acquire);
        // SAFETY: a pointer without the tag comes from the reference that `set` got, which lives for ever.
        (cell.addr() & 1 == 0).then(|| unsafe { &*cell })
    }

    pub(super) fn target(&self) -> Target {
        let cell = self.0.load(Ordering::Acquire);
        if cell.addr() == UNKNOWN.addr() {
            return Target::Unknown;
        }
        // SAFETY: it comes from the reference that `set` got, which lives for ever; the tag is removed.
        let reference = unsafe { &*cell.map_addr(|addr| addr & !1) };
        if cell.addr() & 1 == 0 { Target::Home(reference) } else { Target::Private(reference) }
    }

    pub(super) fn set(&self, target: Target) {
        let pointer = |cell: &'static AtomicU64| ptr::from_ref(cell).cast_mut();
        let cell = match target {
            Target::Unknown => UNKNOWN,
            Target::Private(cell) => pointer(cell).map_addr(|addr| addr | 1),
            Target::Home(cell) => pointer(cell),
        };
        self.0.store(cell, Ordering::Release);
    }
}

/// In place of a file, which Miri cannot map: memory of this process alone.
#[cfg(all(test, miri))]
mod ordinary {
    use std::ops::Deref;

    use super::*;
    use crate::sys::SharedMemory;

    #[derive(Debug)]
    pub(crate) struct Memory(&'static [AtomicU64]);

    #[derive(Debug)]
    pub(crate) struct Mapping(&'static [AtomicU64]);

    impl Memory {
        pub(super) fn create(size: usize) -> io::Result<Self> {
            let words: *mut [u64] = vec![0; size / WORD].leak();
            // SAFETY: an atomic word has the size, the alignment and the values of a number, and nothing else has these.
            Ok(Self(unsafe { &*(words as *const [AtomicU64]) }))
        }

        pub(crate) fn map(&self, at: usize, length: usize, _access: MemoryAccess) -> io::Result<Mapping> {
            Ok(Mapping(&self.0[at / WORD..][..length / WORD]))
        }

        pub(super) fn reserve(&self, _at: usize, _length: usize) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn release(&self, _at: usize, _length: usize) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Mapping {
        pub(crate) fn leak(self) -> &'static [AtomicU64] {
            self.0
        }
    }

    impl Deref for Mapping {
        type Target = [AtomicU64];

        fn deref(&self) -> &[AtomicU64] {
            self.0
        }
    }

    impl From<SharedMemory> for Memory {
        fn from(_: SharedMemory) -> Self {
            unreachable!("Miri has no file of another process")
        }
    }

    impl Deref for Memory {
        type Target = SharedMemory;

        fn deref(&self) -> &SharedMemory {
            unreachable!("Miri has no file for another process")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_pointer_tells_cells_that_stay_from_those_that_move() {
        let cell: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(7)));
        let pointer = CellPointer::new();
        assert!(pointer.home().is_none() && matches!(pointer.target(), Target::Unknown));
        pointer.set(Target::Private(cell));
        assert!(pointer.home().is_none());
        assert!(matches!(pointer.target(), Target::Private(cell) if cell.load(Ordering::Relaxed) == 7));
        pointer.set(Target::Home(cell));
        assert_eq!(pointer.home().unwrap().load(Ordering::Relaxed), 7);
        assert!(matches!(pointer.target(), Target::Home(home) if ptr::eq(home, cell)));
        pointer.set(Target::Unknown);
        assert!(pointer.home().is_none() && matches!(pointer.target(), Target::Unknown));
    }

    #[test]
    fn lane_is_cleared_and_others_are_not() {
        let region = Region::create().unwrap();
        let lanes = region.map_lanes(3..5, MemoryAccess::Write).unwrap();
        lanes[0].store(1, Ordering::Relaxed);
        lanes[CELLS].store(2, Ordering::Relaxed);
        region.clear_lane(3).unwrap();
        assert_eq!(region.own_lane(4).unwrap()[0].load(Ordering::Relaxed), 2);
        assert_eq!(lanes[0].load(Ordering::Relaxed), 0);
        region.map_lanes(LANES - 1..LANES, MemoryAccess::Read).unwrap();
        assert!(region.map_lanes(LANES..LANES + 1, MemoryAccess::Read).is_err());
    }
}
