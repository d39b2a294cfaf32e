//! [`Flag`].

use std::fmt;

use super::cell::Cell;
use super::series::{Kind, Series};

/// A switch of the whole fleet: set in one process, seen in all at once. The last writer wins. It is kept when
/// processes end, and when the program is replaced.
///
/// ```
/// use prefork::shared::Flag;
///
/// static READ_ONLY: Flag = Flag::new("app_read_only", "Whether writes are refused");
///
/// assert!(!READ_ONLY.is_set());
/// READ_ONLY.set(true);
/// assert!(READ_ONLY.is_set());
/// ```
///
/// # Cost and order
///
/// Reading is one relaxed load of a cache line that changes only when the flag does. The order of the flag and of
/// other memory is not defined: it says that something holds, and passes nothing on.
pub struct Flag {
    cell: Cell,
}

const FALSE: u64 = 1;
const TRUE: u64 = 2;

/// Whether a word means true: not set yet means false.
pub(super) fn decode(word: u64) -> bool {
    word == TRUE
}

impl Flag {
    /// A flag with this name and help, which is not set.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { cell: Cell::new(Series::new(Kind::Flag, name, help)) }
    }

    /// Sets the flag to `value`, for every process.
    pub fn set(&self, value: bool) {
        self.cell.update(|cell, order| cell.swap(if value { TRUE } else { FALSE }, order));
    }

    /// Whether the flag is set.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        decode(self.cell.read())
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("Flag", f)
    }
}
