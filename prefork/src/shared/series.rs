//! What a handle says of its value: kind, name, help, labels and bounds, checked at compile time where the handle
//! is a `static`.

use std::fmt;

use super::layout::{MAX_BOUNDS, MAX_HELP, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME};

/// The kind of a shared value: what its cells mean, and what becomes of them when their process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One cell: a number that only grows.
    Counter = 1,
    /// One cell: a signed number, which goes with its process.
    Gauge = 2,
    /// A cell for each bucket, and two for the sum; see [`histogram`](super::histogram).
    Histogram = 3,
    /// One cell: an encoded number; see [`extremes`](super::extremes).
    Max = 4,
    /// As `Max`, of which the order is reversed.
    Min = 5,
    /// One word for the fleet: 0 unset, 1 false, 2 true.
    Flag = 6,
    /// One word for the fleet: a time; see [`limiter`](super::limiter).
    RateLimiter = 7,
    /// One table for the fleet; see [`keyed_limiter`](super::keyed_limiter).
    KeyedRateLimiter = 8,
    /// As `Gauge`, of real numbers.
    RealGauge = 9,
}

/// Where the cells of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// In the lane of each process.
    Lanes,
    /// Among the words that the fleet shares.
    Words,
    /// Among its tables, each of which counts as one cell.
    Tables,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::Max,
        Self::Min,
        Self::Flag,
        Self::RateLimiter,
        Self::KeyedRateLimiter,
        Self::RealGauge,
    ];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    pub(super) fn space(self) -> Space {
        match self {
            Self::Flag | Self::RateLimiter => Space::Words,
            Self::KeyedRateLimiter => Space::Tables,
            _ => Space::Lanes,
        }
    }

    /// The number of cells, in its space.
    pub(super) fn cells(self, bounds: usize) -> usize {
        match self {
            // One bucket more than bounds, and two cells for the sum.
            Self::Histogram => bounds + 3,
            _ => 1,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::RealGauge => "gauge",
            Self::Histogram => "histogram",
            Self::Max => "maximum",
            Self::Min => "minimum",
            Self::Flag => "flag",
            Self::RateLimiter => "rate limiter",
            Self::KeyedRateLimiter => "keyed rate limiter",
        }
    }
}

/// The name and the value of a label.
pub(crate) type Label = (&'static str, &'static str);

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// In the order of their names.
    pub(super) labels: &'static [Label],
    /// The upper bounds of a histogram's buckets, ascending.
    pub(super) bounds: &'static [f64],
}

impl Series {
    /// A series without labels.
    ///
    /// # Panics
    ///
    /// If the name or the help is not allowed; at compile time, where this is called there.
    pub(super) const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        check_name(name);
        check_help(help);
        Self { kind, name, help, labels: &[], bounds: &[] }
    }

    /// # Panics
    ///
    /// If the bounds are not finite and ascending, or too many.
    pub(super) const fn with_bounds(self, bounds: &'static [f64]) -> Self {
        assert!(!bounds.is_empty() && bounds.len() <= MAX_BOUNDS, "a histogram has 1 to 64 bounds");
        let mut place = 0;
        while place < bounds.len() {
            assert!(
                bounds[place].is_finite(),
                "the bounds of a histogram are finite: the last bucket has none"
            );
            assert!(place == 0 || bounds[place - 1] < bounds[place], "the bounds of a histogram ascend");
            place += 1;
        }
        Self { bounds, ..self }
    }

    /// For the `Debug` of handles.
    pub(super) fn debug(&self, handle: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(handle).field("name", &self.name).field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// Whether a metric can have this name: `[a-zA-Z_:][a-zA-Z0-9_:]*`, not too long.
pub(super) const fn is_name(name: &str) -> bool {
    is_word(name.as_bytes(), b':') && name.len() <= MAX_NAME
}

/// Whether a label can have this name: `[a-zA-Z_][a-zA-Z0-9_]*`, without the prefix that Prometheus reserves.
pub(super) const fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let reserved = bytes.len() > 1 && bytes[0] == b'_' && bytes[1] == b'_';
    is_word(bytes, b'_') && bytes.len() <= MAX_NAME && !reserved
}

const fn is_word(bytes: &[u8], also: u8) -> bool {
    let mut place = 0;
    while place < bytes.len() {
        let byte = bytes[place];
        let fits = byte == also || byte == b'_' || byte.is_ascii_alphabetic();
        if !fits && (place == 0 || !byte.is_ascii_digit()) {
            return false;
        }
        place += 1;
    }
    !bytes.is_empty()
}

const fn check_name(name: &str) {
    assert!(
        is_word(name.as_bytes(), b':'),
        "the name of a shared value has letters, digits, `_` and `:`, and does not begin with a digit"
    );
    assert!(name.len() <= MAX_NAME, "the name of a shared value has at most 128 bytes");
    assert!(!is_reserved(name), "names that begin with `prefork_` are the fleet's own");
}

pub(super) const fn is_reserved(name: &str) -> bool {
    const PREFIX: &[u8] = b"prefork_";
    let bytes = name.as_bytes();
    let mut place = 0;
    while place < PREFIX.len() {
        if place >= bytes.len() || bytes[place] != PREFIX[place] {
            return false;
        }
        place += 1;
    }
    true
}

const fn check_help(help: &str) {
    assert!(help.len() <= MAX_HELP, "the help of a shared value has at most 512 bytes");
}

/// # Panics
///
/// If a name is not allowed, or occurs twice.
pub(super) const fn check_label_names(names: &[&str], is_histogram: bool) {
    /// The value `other`, and the lengths of name and value.
    const LONGEST_OTHER: usize = 5 + 2 + 2;
    assert!(!names.is_empty() && names.len() <= MAX_LABELS, "a family has 1 to 8 labels");
    let (mut place, mut bytes) = (0, 0);
    while place < names.len() {
        assert!(
            is_label_name(names[place]),
            "the name of a label has letters, digits and `_`, does not begin with a digit or with `__`, and has \
             at most 128 bytes"
        );
        assert!(!is_histogram || !is_same(names[place], "le"), "a histogram has the label `le` already");
        bytes += names[place].len() + LONGEST_OTHER;
        let mut other = 0;
        while other < place {
            assert!(!is_same(names[place], names[other]), "each label of a family has a name of its own");
            other += 1;
        }
        place += 1;
    }
    assert!(bytes <= MAX_LABEL_BYTES, "the names of a family's labels have at most 568 bytes together");
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut place = 0;
    while place < one.len() {
        if one[place] != other[place] {
            return false;
        }
        place += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus() {
        for name in ["a", "_", ":", "http_requests_total", "a:b:c", "A9", &"x".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "9a", "a-b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
        for name in ["a", "_a", "method", "A9"] {
            assert!(is_label_name(name), "{name}");
        }
        for name in ["", "__a", "__", "a:b", "9", "ä"] {
            assert!(!is_label_name(name), "{name}");
        }
    }

    #[test]
    fn reserved_names_are_recognised() {
        assert!(is_reserved("prefork_children") && is_reserved("prefork_"));
        assert!(!is_reserved("prefork") && !is_reserved("app_prefork_") && !is_reserved(""));
    }
}
