//! Bodies of fuzz targets: what a hostile child writes to the region, and what its master and other children make of it.

#![allow(clippy::expect_used, clippy::panic, reason = "it is a test")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::entry::Entry;
use super::lane::Lane;
use super::layout::{
    CELLS, COMMON, INDEX_AT, INDEX_WORDS, STRIDE, TEXT_WORDS, TEXTS_AT, TOTALS_AT, WORD, WORDS, WORDS_AT,
};
use super::ledger::Ledger;
use super::region::Region;
use super::series::Kind;
use super::snapshot::Value;
use crate::sync::atomic::AtomicU64;
use crate::sys::MemoryAccess;

/// The lane of every child here: the first that is free.
const CHILD: usize = 1;
/// What the counter of the honest child stands at.
const COUNTED: u64 = 5;

/// A region, and the lane of a child in it. One for the process: what maps them is kept for its life.
struct Shared {
    region: Arc<Region>,
    lane: Lane,
    /// The common part, as a hostile child can write it.
    common: &'static [AtomicU64],
}

impl Shared {
    fn new() -> Option<Mutex<Self>> {
        let region = Arc::new(Region::create().ok()?);
        let lane = Lane::new(Arc::clone(&region), CHILD).ok()?;
        let common = region.memory().map(0, COMMON * WORD, MemoryAccess::Write).ok()?.leak();
        Some(Mutex::new(Self { region, lane, common }))
    }

    /// Makes the region as it was made first.
    fn clear(&self) {
        self.common.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.region.clear_lane(CHILD).expect("a lane");
    }
}

/// What a hostile child does, step by step; see [`Step`].
pub(crate) fn region(data: &[u8]) {
    static SHARED: OnceLock<Option<Mutex<Shared>>> = OnceLock::new();
    let shared = SHARED.get_or_init(Shared::new).as_ref().expect("a region");
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.clear();
    let Shared { region, lane, common } = &mut *shared;
    let ledger = Ledger::new(Arc::clone(region));
    let counter = entry(Kind::Counter, "c_requests_total");
    assert_eq!(ledger.lease(), Some(CHILD));
    add(lane, &counter, COUNTED);
    ledger.release(CHILD).expect("a lane");
    assert_eq!(ledger.lease(), Some(CHILD));
    ledger.note_pid(CHILD, 1);

    let steps: Vec<Step> = data.chunks_exact(Step::SIZE).map(Step::of).collect();
    steps.iter().for_each(|step| step.take(&ledger, region, common, lane));
    ledger.collect();
    ledger.assert_apart();
    let _ = (lane.total(&counter), lane.accepting(&counter), lane.place(&counter, 1).map(drop));
    ledger.release(CHILD).expect("a lane");

    // What a child counts in cells of its own is its own business. What ended children have left is not.
    if !steps.iter().any(|step| matches!(step, Step::Cell(..))) {
        assert_eq!(ledger.total(&counter), Some(vec![COUNTED]));
        let known = ledger.totals();
        assert!(known.iter().any(|(known, total)| **known == counter && *total == [COUNTED]));
    }
    // A later child finds everything, and there is room.
    assert_eq!(ledger.lease(), Some(CHILD));
    let before = ledger.total(&counter).expect("it is known");
    add(lane, &counter, 1);
    assert_eq!(ledger.total(&counter), Some(vec![before[0].wrapping_add(1)]));
    let new = entry(Kind::Counter, "new_total");
    add(lane, &new, 1);
    let samples = ledger.collect().samples;
    assert!(samples.iter().any(|sample| *sample.entry == new && sample.value == Value::Counter(1)));
}

/// One thing that happens to the region.
#[derive(Debug)]
enum Step {
    /// The hostile child writes a word of the common part.
    Word(usize, u64),
    /// It writes a cell of its lane.
    Cell(usize, u64),
    /// It uses a series, as an honest child does.
    Place(Entry),
    /// The master reads everything that it ever reads.
    Read,
}

impl Step {
    /// The kind, a place and a number.
    const SIZE: usize = 11;

    fn of(bytes: &[u8]) -> Self {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (place, word) = (usize::try_from(number(1..3)).unwrap_or_default(), number(3..11));
        match bytes[0] % 9 {
            // The parts whose words decide anything, in which one is hit more often than in the whole.
            0 => Self::Word(place % 128, word),
            1 => Self::Word(INDEX_AT + place % (16 * INDEX_WORDS), word),
            2 => Self::Word(TEXTS_AT + place % (16 * TEXT_WORDS), word),
            3 => Self::Word(TOTALS_AT + place % CELLS, word),
            4 => Self::Word(WORDS_AT + place % WORDS * STRIDE, word),
            5 => Self::Word(usize::from(bytes[3]) << 16 | place, word).inside(),
            6 => Self::Cell(place % CELLS, word),
            7 => Self::Place(known(place)),
            _ => Self::Read,
        }
    }

    fn inside(self) -> Self {
        match self {
            Self::Word(place, word) => Self::Word(place % COMMON, word),
            other => other,
        }
    }

    fn take(&self, ledger: &Ledger, region: &Region, common: &[AtomicU64], lane: &mut Lane) {
        match self {
            Self::Word(place, word) => common[*place].store(*word, Ordering::Relaxed),
            Self::Cell(cell, word) => {
                let cells = region.map_lanes(CHILD..CHILD + 1, MemoryAccess::Write).expect("a lane");
                cells[*cell].store(*word, Ordering::Relaxed);
            }
            Self::Place(entry) => {
                let _ = (lane.place(entry, 8).map(drop), lane.has(entry), lane.total(entry));
            }
            Self::Read => {
                let mark = ledger.mark(CHILD);
                let _ = (ledger.collect(), ledger.requests(), ledger.totals());
                ledger.group(&[(CHILD, mark.as_ref()), (CHILD + 1, None)]);
            }
        }
    }
}

/// One of some series.
fn known(number: usize) -> Entry {
    let kind = Kind::from_number(u8::try_from(1 + number % 9).unwrap_or_default()).unwrap_or(Kind::Counter);
    let labels = (0..number / 9 % 3).map(|label| (format!("l{label}"), format!("{}", number / 27 % 4)));
    Entry { labels: labels.collect(), ..entry(kind, ["a_requests_total", "b", "b_sum"][number / 128 % 3]) }
}

fn entry(kind: Kind, name: &str) -> Entry {
    let bounds = if kind == Kind::Histogram { vec![1.0, 2.0] } else { Vec::new() };
    Entry { kind, name: name.to_owned(), help: "help".to_owned(), labels: Vec::new(), bounds }
}

fn add(lane: &mut Lane, entry: &Entry, count: u64) {
    let placed = lane.place(entry, usize::MAX).expect("there is room");
    placed.cells[0].fetch_add(count, Ordering::Relaxed);
}

/// A series as the program before this one hands it over.
pub(crate) fn series(data: &[u8]) {
    let Some(entry) = Entry::from_bytes(data) else { return };
    let bytes = entry.to_bytes().expect("it has room");
    let again = Entry::from_bytes(&bytes).expect("it is allowed");
    assert_eq!((&again, &again.help), (&entry, &entry.help));
    assert_eq!((again.identity(), again.family()), (entry.identity(), entry.family()));
    assert!(bytes.len() <= data.len() && entry.cells() <= CELLS);
}
