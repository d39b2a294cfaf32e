//! [`RateLimiter`].
//!
//! The generic cell rate algorithm (GCRA) keeps one number for a limit of N per second with a burst of B: the time at
//! which everything allowed so far would have been spread out evenly, T = 1/N apart. What comes at `now` is allowed
//! if that time, or `now` if it has passed, is at most (B - 1)·T ahead of `now`; T is then added to it.

use std::fmt;
use std::time::Duration;

use super::cell::Cell;
use super::series::{Kind, Series};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::hint;
use crate::sys;

/// How often other processes may win the race for the word. Each time one of them was allowed; so this many have
/// come at this very moment.
const TRIES: u32 = 1000;
const SECOND: u64 = 1_000_000_000;
/// The most that can be limited in a second: with more, the time between two would be rounded by more than 1%.
const MOST_PER_SECOND: u32 = 10_000_000;

/// A limit for the whole fleet: so many per second over all processes, however many there are, with a burst.
///
/// ```
/// use prefork::shared::RateLimiter;
///
/// static LOGINS: RateLimiter =
///     RateLimiter::per_second("app_logins", "Attempts to log in", 50).burst(100);
///
/// match LOGINS.check() {
///     Ok(()) => { /* … */ }
///     Err(limited) => println!("Retry-After: {}", limited.retry_after().as_secs() + 1),
/// }
/// ```
///
/// A burst of B means that B are allowed at once after a pause; then they are allowed one by one, evenly spaced.
/// Without a call of [`burst`](Self::burst) it is what the limit allows in a second, so that within any period of
/// t seconds at most N·(t + 1) are allowed.
///
/// # Cost and exactness
///
/// One read of the clock, and one atomic exchange on a word that all processes share: tens of nanoseconds without
/// contention. A process that is killed in between changes nothing. The clock is the system's monotonic one; limits
/// of up to a million per second are exact within 0.1%. If more processes race for the word than that, a few may be
/// refused that would have been allowed, and never the other way round.
pub struct RateLimiter {
    cell: Cell,
    limit: Limit,
}

/// A limit in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// From one to the next.
    interval: u64,
    /// How far ahead of now the word may be at most.
    horizon: u64,
}

impl Limit {
    pub(super) const fn new(count: u32, period: Duration) -> Self {
        let nanos = period.as_nanos();
        assert!(count > 0 && nanos > 0, "a rate limiter allows something");
        assert!(nanos <= u64::MAX as u128 / 4, "the period of a rate limiter is at most a century");
        assert!(
            count as u128 * SECOND as u128 <= MOST_PER_SECOND as u128 * nanos,
            "a rate limiter allows at most 10,000,000 per second"
        );
        #[expect(clippy::cast_possible_truncation, reason = "the period is below 2^62 nanoseconds")]
        let interval = (nanos / count as u128) as u64;
        Self { interval, horizon: 0 }.burst(count)
    }

    pub(super) const fn burst(self, burst: u32) -> Self {
        assert!(burst > 0, "the burst of a rate limiter is at least 1");
        let horizon = self.interval.saturating_mul(burst as u64);
        assert!(horizon <= u64::MAX / 4, "the burst of a rate limiter takes at most a century");
        Self { horizon, ..self }
    }

    pub(super) const fn interval(self) -> u64 {
        self.interval
    }

    pub(super) const fn horizon(self) -> u64 {
        self.horizon
    }

    /// The next word if one more is allowed now; or the time until then.
    pub(super) fn next(self, word: u64, now: u64) -> Result<u64, u64> {
        let next = word.max(now).saturating_add(self.interval);
        match next.saturating_sub(now).checked_sub(self.horizon) {
            None | Some(0) => Ok(next),
            Some(ahead) => Err(ahead),
        }
    }

    /// Takes one from the word, or tells the time until that is possible.
    pub(super) fn take(self, word: &AtomicU64, order: Ordering, now: u64) -> Result<(), Limited> {
        let mut seen = word.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let (next, outcome) = match self.next(seen, now) {
                Ok(next) => (next, Ok(())),
                // Of a longer burst, or of a process that wrote anything there: it becomes what it is right after
                // a burst. A little ahead is only a clock that was read before the word.
                Err(ahead) if ahead > self.interval.saturating_add(SECOND) => {
                    (now.saturating_add(self.horizon), Err(Limited(self.interval)))
                }
                Err(ahead) => return Err(Limited(ahead)),
            };
            match word.compare_exchange_weak(seen, next, order, Ordering::Relaxed) {
                Ok(_) => return outcome,
                Err(other) => seen = other,
            }
            hint::spin_loop();
        }
        Err(Limited(self.interval))
    }
}

/// It is too early; see [`RateLimiter::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limited(u64);

impl Limited {
    pub(super) fn after(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time until one would be allowed, if nothing else came meanwhile.
    #[must_use]
    pub fn retry_after(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rate limit is reached for {:?}", self.retry_after())
    }
}

impl std::error::Error for Limited {}

impl RateLimiter {
    /// Allows `count` per second. Limiters with the same name are one, in all processes.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new); and if `count` is 0 or more than 10,000,000.
    #[must_use]
    pub const fn per_second(name: &'static str, help: &'static str, count: u32) -> Self {
        Self::per(name, help, count, Duration::from_secs(1))
    }

    /// Allows `count` per minute.
    ///
    /// # Panics
    ///
    /// As [`per_second`](Self::per_second).
    #[must_use]
    pub const fn per_minute(name: &'static str, help: &'static str, count: u32) -> Self {
        Self::per(name, help, count, Duration::from_secs(60))
    }

    /// Allows `count` in each `period`.
    ///
    /// # Panics
    ///
    /// As [`per_second`](Self::per_second).
    #[must_use]
    pub const fn per(name: &'static str, help: &'static str, count: u32, period: Duration) -> Self {
        let limit = Limit::new(count, period);
        Self { cell: Cell::new(Series::new(Kind::RateLimiter, name, help)), limit }
    }

    /// Allows `count` at once, after a pause.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    pub const fn burst(self, count: u32) -> Self {
        let Self { cell, limit } = self;
        Self { cell, limit: limit.burst(count) }
    }

    /// Takes one, if the limit allows it now.
    #[must_use = "the answer is whether it is allowed"]
    #[inline]
    pub fn allow(&self) -> bool {
        self.check().is_ok()
    }

    /// Takes one, if the limit allows it now; otherwise tells how long it will not. Never waits.
    ///
    /// # Errors
    ///
    /// [`Limited`], with the time until one would be allowed.
    #[inline]
    pub fn check(&self) -> Result<(), Limited> {
        let now = sys::monotonic_nanos();
        self.cell.update(|word, order| self.limit.take(word, order, now))
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("RateLimiter", f)
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(count: u32, burst: u32) -> Limit {
        Limit::new(count, Duration::from_secs(1)).burst(burst)
    }

    fn take(limit: Limit, word: &AtomicU64, now: u64) -> Result<(), Limited> {
        limit.take(word, Ordering::Relaxed, now)
    }

    #[test]
    fn burst_is_allowed_at_once_and_then_one_for_each_interval() {
        let (limit, word) = (limit(10, 3), AtomicU64::new(0));
        let start = 5 * SECOND;
        for _ in 0..3 {
            take(limit, &word, start).unwrap();
        }
        let limited = take(limit, &word, start).unwrap_err();
        assert_eq!(limited.retry_after(), Duration::from_millis(100));
        take(limit, &word, start + SECOND / 10 - 1).unwrap_err();
        take(limit, &word, start + SECOND / 10).unwrap();
        take(limit, &word, start + SECOND / 10).unwrap_err();
        // After a pause, the whole burst again, and no more.
        let later = start + 3600 * SECOND;
        assert_eq!((0..10).filter(|_| take(limit, &word, later).is_ok()).count(), 3);
    }

    #[test]
    fn word_of_any_value_ends_the_service_for_the_burst_at_most() {
        let limit = limit(10, 3);
        for word in [u64::MAX, u64::MAX / 2, 0] {
            let word = AtomicU64::new(word);
            let now = 7 * SECOND;
            let wait = take(limit, &word, now).map_or_else(Limited::retry_after, |()| Duration::ZERO);
            assert!(wait <= Duration::from_millis(100), "{wait:?}");
            let later = now + 3 * SECOND / 10;
            assert_eq!((0..10).filter(|_| take(limit, &word, later).is_ok()).count(), 3);
        }
    }

    #[test]
    fn threads_share_one_limit() {
        let (limit, word) = (limit(1000, 50), AtomicU64::new(0));
        let allowed: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| take(limit, &word, SECOND).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(allowed, 50);
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_its_share_and_the_burst(
            count in 1_u32..1000, burst in 1_u32..50, steps in prop::collection::vec(0..SECOND / 20, 1..300)
        ) {
            let (limit, word) = (limit(count, burst), AtomicU64::new(0));
            let (mut now, mut allowed) = (SECOND, Vec::new());
            for step in steps {
                now += step;
                if take(limit, &word, now).is_ok() {
                    allowed.push(now);
                }
            }
            for (first, start) in allowed.iter().enumerate() {
                for (last, end) in allowed.iter().enumerate().skip(first) {
                    let share = (end - start) / limit.interval + u64::from(burst);
                    prop_assert!((last - first + 1) as u64 <= share);
                }
            }
        }
    }
}
