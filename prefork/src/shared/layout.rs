//! Where everything is in the region. All of it is in words of 64 bits.
//!
//! ```text
//! control    4 KiB     sequence of folds, number of lanes, next free cell, word and table, a random number
//! index      32 KiB    1,024 entries of 4 words: identity, family, placement, lengths
//! texts      2.5 MiB   1,024 times 2.5 KiB: name, help, labels, bounds; and the help of a later program
//! totals     64 KiB    a word for each cell: what ended processes have left, for children to read
//! words      32 KiB    256 words, each on cache lines of its own, that all processes share
//! tables     8 MiB     16 times 512 KiB: the keys of rate limiters
//! lanes      1 GiB     16,384 times 64 KiB: the cells of one process
//! ```
//!
//! The file is sparse: what is never touched takes no memory. The numbers are constants, and a version stands for
//! them in the handshake: nothing that a child can change is asked where something is.

use prefork_options::WORKERS_MAX;

/// Names these numbers. A process that knows another version shares no values.
pub(crate) const VERSION: u32 = 2;

pub(super) const MAX_NAME: usize = 128;
pub(super) const MAX_HELP: usize = 512;
/// The number of labels.
pub(super) const MAX_LABELS: usize = 8;
/// The bytes of all labels of one series, with a length before each text.
pub(super) const MAX_LABEL_BYTES: usize = 640;
pub(super) const MAX_BOUNDS: usize = 64;

/// The number of series, each set of label values counted.
pub(super) const SERIES: usize = 1024;
/// The number of cells in a lane.
pub(super) const CELLS: usize = 8192;
/// The number of words that the whole fleet shares.
pub(super) const WORDS: usize = 256;
/// The number of tables of keys, and their words.
pub(super) const TABLES: usize = 16;
pub(super) const TABLE_WORDS: usize = 65_536;
/// The number of lanes: one of the master, and one for each child that is alive, twice over because of reloads. A
/// process maps about as many as are in use.
pub(super) const LANES: usize = 16_384;

pub(super) const WORD: usize = size_of::<u64>();

/// In words.
pub(super) const CONTROL: usize = 512;
/// Words of an entry's index.
pub(super) const INDEX_WORDS: usize = 4;
/// Words of an entry's text.
pub(super) const TEXT_WORDS: usize = 320;
/// Where a later help is among them: a word that tells its length and its hash, and the text.
pub(super) const LATER_HELP: usize = 224;
/// Two cache lines: processors fetch lines in pairs.
pub(super) const STRIDE: usize = 16;

/// Places in words.
pub(super) const INDEX_AT: usize = CONTROL;
pub(super) const TEXTS_AT: usize = INDEX_AT + SERIES * INDEX_WORDS;
pub(super) const TOTALS_AT: usize = TEXTS_AT + SERIES * TEXT_WORDS;
pub(super) const WORDS_AT: usize = TOTALS_AT + CELLS;
/// Everything before the tables, rounded up to what every system can map.
pub(super) const COMMON: usize = (WORDS_AT + WORDS * STRIDE).next_multiple_of(CELLS);

/// The size of the region in bytes.
pub(super) const SIZE: usize = lane_at(LANES);

/// The place of a table in bytes.
pub(super) const fn table_at(table: usize) -> usize {
    (COMMON + table * TABLE_WORDS) * WORD
}

/// The place of a lane in bytes.
pub(super) const fn lane_at(lane: usize) -> usize {
    table_at(TABLES) + lane * CELLS * WORD
}

const _: () = assert!(LANES >= 2 * WORKERS_MAX as usize);
const _: () = assert!(MAX_NAME + MAX_HELP + MAX_LABEL_BYTES + MAX_BOUNDS * WORD <= LATER_HELP * WORD);
const _: () = assert!(WORD + MAX_HELP <= (TEXT_WORDS - LATER_HELP) * WORD);
const _: () = assert!(lane_at(1) - lane_at(0) == 64 * 1024 && lane_at(0) % (64 * 1024) == 0);
