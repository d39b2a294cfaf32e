//! A turn of the master's loop, as far as it starts children.

use std::time::{Duration, Instant};

/// After so many starts the master looks at what has happened meanwhile. Each takes it a millisecond or two,
const STARTS: usize = 32;
/// or much longer: on a slow machine, with a slow hook.
const TIME: Duration = Duration::from_millis(100);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    starts: usize,
    has_failed: bool,
}

impl Turn {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), starts: 0, has_failed: false }
    }

    pub(super) fn note_start(&mut self) {
        self.starts += 1;
    }

    /// What counts after a failed start is whether a child serves, which an event may tell.
    pub(super) fn note_failed_start(&mut self) {
        self.has_failed = true;
    }

    /// Whether the next child is to be started after the events of now.
    pub(super) fn is_over(&self) -> bool {
        self.has_failed || self.starts >= STARTS || self.began.elapsed() >= TIME
    }
}
