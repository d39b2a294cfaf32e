//! The directory of the region: which series there are, and where their cells are.
//!
//! Any process adds an entry, without a lock and at any moment in danger of being killed. So an entry has no owner
//! who has to finish it. Its first word is the identity of its series, and is set once; whoever needs the series
//! completes what is missing of it, with the same text as anybody else would. Entries fill the places in order: two
//! processes that add one series at once agree on the first empty place.
//!
//! A reader checks everything that it reads, because a child may have written anything there.

use std::ops::Range;

use super::entry::{Entry, Lengths};
use super::layout::{
    CELLS, INDEX_AT, INDEX_WORDS, SERIES, STRIDE, TABLES, TEXT_WORDS, TEXTS_AT, TOTALS_AT, WORD, WORDS,
    WORDS_AT,
};
use super::series::{Kind, Space};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Places of words in the control area. The two that processes race for have cache lines of their own.
const SEQUENCE: usize = 8;
const LANES_IN_USE: usize = 9;
pub(super) const NEXT_CELL: usize = 32;
const NEXT_WORD: usize = 48;
const NEXT_TABLE: usize = 49;
const SEED: usize = 64;

/// The first cells of every lane are not of any series; see [`UNPLACED`], [`USES`] and [`DRAINS`].
const FIRST_CELL: usize = DRAINS + 1;
/// The cell in which a process counts its series that found no place.
pub(super) const UNPLACED: usize = 0;
/// The cells in which a process has a bit for each slot of the directory whose series it uses.
pub(super) const USES: Range<usize> = 1..1 + SERIES / 64;
/// The cell in which a child notes that it accepts no more connections.
pub(super) const DRAINS: usize = USES.end;

/// How often other processes may win the race for a cell.
const TRIES: u32 = 10_000;

/// The cell of a lane that tells whether its process uses the series in a slot, and the bit there.
pub(super) fn use_of(slot: usize) -> (usize, u64) {
    (USES.start + slot / 64, 1 << (slot % 64))
}

/// Takes memory for words of the region before they are touched; false if there is none.
pub(super) type Reserve<'a> = dyn Fn(usize, usize) -> bool + 'a;

/// Where the cells of a series are: in every lane, or among the words that the fleet shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(super) kind: Kind,
    pub(super) first: usize,
    pub(super) cells: usize,
}

impl Placement {
    fn to_word(self) -> u64 {
        // Both are checked, and fit into 32 and 16 bits.
        let number = |value: usize| u64::try_from(value).unwrap_or_default();
        number(self.first) | number(self.cells) << 32 | u64::from(self.kind as u8) << 48
    }

    /// `None` if that is outside the region, or none was written.
    fn from_word(word: u64) -> Option<Self> {
        let number = |value: u64| usize::try_from(value).ok();
        let placement = Self {
            kind: Kind::from_number(u8::try_from(word >> 48).ok()?)?,
            first: number(word & 0xffff_ffff)?,
            cells: number(word >> 32 & 0xffff)?,
        };
        let is_inside =
            placement.cells > 0 && placement.first + placement.cells <= limit(placement.kind.space());
        (is_inside && placement.to_word() == word).then_some(placement)
    }

    /// Whether it is the place of such an entry.
    fn fits(self, entry: &Entry) -> bool {
        self.kind == entry.kind && self.cells == entry.cells()
    }
}

/// The number of cells in a space.
fn limit(space: Space) -> usize {
    match space {
        Space::Lanes => CELLS,
        Space::Words => WORDS,
        Space::Tables => TABLES,
    }
}

/// The place of the word that counts the cells taken of a space, and the first cell that can be taken.
fn next_of(space: Space) -> (usize, usize) {
    match space {
        Space::Lanes => (NEXT_CELL, FIRST_CELL),
        Space::Words => (NEXT_WORD, 0),
        Space::Tables => (NEXT_TABLE, 0),
    }
}

/// Why a series has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unplaced {
    /// The region is full, or the system has no memory for it.
    Full,
    /// The family has as many series as it may have.
    FamilyFull,
}

/// The place of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) slot: usize,
    pub(super) placement: Placement,
    /// The slots before its own that may hold what [clashes](Entry::clash) with it.
    pub(super) rivals: Vec<usize>,
}

/// See the [module](self). The words are those before the lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Directory<'a> {
    /// `words` are as many as [`COMMON`](super::layout::COMMON).
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    fn index(self, slot: usize) -> &'a [AtomicU64] {
        &self.words[INDEX_AT + slot * INDEX_WORDS..][..INDEX_WORDS]
    }

    /// The word of a cell's total, which the master writes.
    pub(super) fn total(self, cell: usize) -> &'a AtomicU64 {
        &self.words[TOTALS_AT..TOTALS_AT + CELLS][cell]
    }

    /// Where the totals of these cells are, in words.
    pub(super) fn total_words(self, cells: Range<usize>) -> Range<usize> {
        TOTALS_AT + cells.start..TOTALS_AT + cells.end
    }

    /// A word that all processes share.
    pub(super) fn word(self, place: usize) -> &'a AtomicU64 {
        &self.words[WORDS_AT + place * STRIDE]
    }

    /// Odd while the master moves values from a lane to the totals.
    pub(super) fn sequence(self) -> &'a AtomicU64 {
        &self.words[SEQUENCE]
    }

    /// A random number of the fleet, by which keys find their place. The master writes it once.
    pub(super) fn seed(self) -> &'a AtomicU64 {
        &self.words[SEED]
    }

    /// The number of lanes up to the last one in use, which the master writes.
    pub(super) fn lanes_in_use(self) -> &'a AtomicU64 {
        &self.words[LANES_IN_USE]
    }

    /// Where a slot's index is, in words.
    pub(super) fn index_words(self, slot: usize) -> Range<usize> {
        INDEX_AT + slot * INDEX_WORDS..INDEX_AT + (slot + 1) * INDEX_WORDS
    }

    /// Whether there is an entry in this slot, complete or not. Entries fill the slots in order.
    pub(super) fn is_used(self, slot: usize) -> bool {
        self.index(slot)[0].load(Ordering::Acquire) != 0
    }

    /// The entry in a slot, if it is complete and in order.
    pub(super) fn read(self, slot: usize) -> Option<(Entry, Placement)> {
        let [identity, _, placement, lengths] = self.index(slot) else { return None };
        let lengths = Lengths::from_word(lengths.load(Ordering::Acquire))?;
        let placement = Placement::from_word(placement.load(Ordering::Acquire))?;
        let entry = Entry::decode(placement.kind, &self.text(slot, lengths), &lengths)?;
        let is_whole = placement.fits(&entry) && identity.load(Ordering::Relaxed) == entry.identity();
        is_whole.then_some((entry, placement))
    }

    fn text(self, slot: usize, lengths: Lengths) -> Vec<u8> {
        let words = &self.words[TEXTS_AT + slot * TEXT_WORDS..][..lengths.total().div_ceil(WORD)];
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
    }

    /// The place of a series, which is added if it has none, unless its family has `most` series.
    pub(super) fn place(self, entry: &Entry, most: usize, reserve: &Reserve<'_>) -> Result<Found, Unplaced> {
        let (identity, family) = (entry.identity(), entry.family());
        let (text, lengths) = entry.encode().ok_or(Unplaced::FamilyFull)?;
        let parts = entry.names_of_parts();
        let (mut relatives, mut rivals) = (0, Vec::new());
        for slot in 0..SERIES {
            let index = self.index(slot);
            if !reserve(INDEX_AT + slot * INDEX_WORDS, INDEX_WORDS) {
                return Err(Unplaced::Full);
            }
            let mut found = index[0].load(Ordering::Acquire);
            if found == 0 {
                if relatives >= most {
                    return Err(Unplaced::FamilyFull);
                }
                let claimed = index[0].compare_exchange(0, identity, Ordering::AcqRel, Ordering::Acquire);
                found = claimed.map_or_else(|other| other, |_| identity);
            }
            if found == identity {
                self.complete(slot, entry, (&text, lengths), reserve)?;
                if let Some(placement) = self.read_as(slot, entry, reserve) {
                    return Ok(Found { slot, placement, rivals });
                }
                // Another series has the same number, or the entry is spoilt.
                continue;
            }
            let relative = index[1].load(Ordering::Relaxed);
            let name = relative >> 32;
            if relative == family {
                relatives += 1;
            } else if name == family >> 32 || parts.contains(&name) {
                rivals.push(slot);
            }
        }
        Err(Unplaced::Full)
    }

    /// Whether a series has a place.
    pub(super) fn has(self, entry: &Entry, reserve: &Reserve<'_>) -> bool {
        let identity = entry.identity();
        let is_used =
            |slot: &usize| reserve(INDEX_AT + slot * INDEX_WORDS, INDEX_WORDS) && self.is_used(*slot);
        (0..SERIES).take_while(is_used).any(|slot| {
            self.index(slot)[0].load(Ordering::Relaxed) == identity
                && self.read(slot).is_some_and(|(found, _)| found == *entry)
        })
    }

    fn read_as(self, slot: usize, entry: &Entry, reserve: &Reserve<'_>) -> Option<Placement> {
        let (found, placement) = self.read(slot).filter(|(found, _)| found == entry)?;
        self.renew_help(slot, (&found.help, &entry.help), reserve);
        Some(placement)
    }

    /// Writes what is missing of an entry. Several processes may do so at once.
    fn complete(
        self,
        slot: usize,
        entry: &Entry,
        (text, lengths): (&[u8], Lengths),
        reserve: &Reserve<'_>,
    ) -> Result<(), Unplaced> {
        let [_, family, placement, written] = self.index(slot) else { return Ok(()) };
        if written.load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        family.store(entry.family(), Ordering::Relaxed);
        if placement.load(Ordering::Acquire) == 0 {
            let own = self.allocate(entry, reserve)?;
            // Cells that lose this race stay unused.
            let _ = placement.compare_exchange(0, own.to_word(), Ordering::AcqRel, Ordering::Acquire);
        }
        let at = TEXTS_AT + slot * TEXT_WORDS;
        if !reserve(at, text.len().div_ceil(WORD)) {
            return Err(Unplaced::Full);
        }
        self.write_text(slot, text);
        written.store(lengths.to_word(), Ordering::Release);
        Ok(())
    }

    fn write_text(self, slot: usize, text: &[u8]) {
        let words = &self.words[TEXTS_AT + slot * TEXT_WORDS..][..TEXT_WORDS];
        for (word, bytes) in words.iter().zip(text.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
    }

    /// Whether a slot holds this entry, whole.
    pub(super) fn holds(self, slot: usize, entry: &Entry, placement: Placement) -> bool {
        let family = self.index(slot)[1].load(Ordering::Relaxed);
        family == entry.family() && self.read(slot).is_some_and(|found| found == (entry.clone(), placement))
    }

    /// Writes an entry over whatever a slot holds.
    pub(super) fn restore(self, slot: usize, entry: &Entry, placement: Placement) {
        let [identity, family, place, written] = self.index(slot) else { return };
        let Some((text, lengths)) = entry.encode() else { return };
        // Until it is whole, nobody reads it.
        written.store(0, Ordering::Release);
        self.write_text(slot, &text);
        family.store(entry.family(), Ordering::Relaxed);
        place.store(placement.to_word(), Ordering::Relaxed);
        identity.store(entry.identity(), Ordering::Relaxed);
        written.store(lengths.to_word(), Ordering::Release);
    }

    /// Empties a slot.
    pub(super) fn wipe(self, slot: usize) {
        self.index(slot).iter().rev().for_each(|word| word.store(0, Ordering::Release));
    }

    /// Corrects the next free place of a space, where the first `used` cells are taken, if it cannot be right.
    pub(super) fn correct_next(self, space: Space, used: usize) {
        let (next, first) = next_of(space);
        let next = &self.words[next];
        let used = used.saturating_sub(first);
        let is_possible = usize::try_from(next.load(Ordering::Relaxed))
            .is_ok_and(|next| (used..=limit(space) - first).contains(&next));
        if !is_possible {
            next.store(u64::try_from(used).unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// Takes cells that no series has.
    fn allocate(self, entry: &Entry, reserve: &Reserve<'_>) -> Result<Placement, Unplaced> {
        let (space, cells) = (entry.kind.space(), entry.cells());
        let (next, offset) = next_of(space);
        let next = &self.words[next];
        for _ in 0..TRIES {
            let taken = next.load(Ordering::Relaxed);
            let first = usize::try_from(taken).ok().and_then(|taken| taken.checked_add(offset));
            let first = first.filter(|first| *first <= limit(space) - cells).ok_or(Unplaced::Full)?;
            let after = taken + u64::try_from(cells).unwrap_or_default();
            if next.compare_exchange_weak(taken, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                if space == Space::Words && !reserve(WORDS_AT + first * STRIDE, 1) {
                    return Err(Unplaced::Full);
                }
                return Ok(Placement { kind: entry.kind, first, cells });
            }
        }
        Err(Unplaced::Full)
    }
}

mod help;
#[cfg(all(test, loom))]
mod models;
#[cfg(test)]
mod tests;
