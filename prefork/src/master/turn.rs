//! A turn of the master's loop, as far as it starts children. It ends after 32 starts or 100 ms; then events are read, and
//! the next turn goes on.

use std::time::{Duration, Instant};

/// A start takes a millisecond or two.
const STARTS: usize = 32;
/// Or more: on a slow machine, with a slow hook.
const TIME: Duration = Duration::from_millis(100);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    starts: usize,
}

impl Turn {
    pub(super) fn begin(now: Instant) -> Self {
        Self { began: now, starts: 0 }
    }

    pub(super) fn note_start(&mut self) {
        self.starts += 1;
    }

    /// Whether events come before the next start. Each turn starts one child at least.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.starts >= STARTS || (self.starts > 0 && now.duration_since(self.began) >= TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_ends_after_some_starts_or_some_time_and_never_before_the_first() {
        let now = Instant::now();
        let mut turn = Turn::begin(now);
        assert!(!turn.is_over(now + TIME * 2), "it has started nothing");
        turn.note_start();
        assert!(!turn.is_over(now + TIME / 2));
        assert!(turn.is_over(now + TIME));
        (1..STARTS).for_each(|_| turn.note_start());
        assert!(turn.is_over(now));
    }
}
