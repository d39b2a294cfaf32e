//! How many failures a fleet survives, and how fast it tries again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A child that was ready this long and then ends with status 0 has done its work; one that was not,
/// and whose predecessor was not either, must not be replaced in a hot loop.
pub(super) const STABLE: Duration = Duration::from_secs(1);

/// Delay after the first child that died before it was ready.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// No slot waits longer than this for its next attempt because of its own failures.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Each further failure in a row makes the delay this many halves longer: a factor of 1.5.
const GROWTH_IN_HALVES: u32 = 3;

/// The recover options, as the user set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecoverPolicy {
    /// Failures that are recovered; one more stops the fleet.
    pub(crate) threshold: u32,
    /// How far back failures count; `None`: to the start of the master.
    pub(crate) window: Option<Duration>,
    /// Least delay before any respawn.
    pub(crate) interval: Duration,
}

impl RecoverPolicy {
    /// Applies the defaults: a threshold alone counts for the master's life, as the seed has it; with
    /// nothing set, five failures within a minute are recovered.
    pub(crate) fn new(threshold: Option<u32>, window: Option<Duration>, interval: Duration) -> Self {
        let (threshold, window) = match (threshold, window) {
            (Some(threshold), window) => (threshold, window),
            (None, window) => (5, Some(window.unwrap_or(Duration::from_secs(60)))),
        };
        Self { threshold, window, interval }
    }

    /// How long a slot waits for its next child after `strikes` deaths in a row before ready; none
    /// if the last one had been ready. `restless`: it and the one before were ready for a moment only.
    pub(super) fn delay(&self, strikes: u32, restless: bool) -> Duration {
        let floor = if restless { FIRST_DELAY } else { Duration::ZERO };
        backoff(strikes).max(floor).max(self.interval)
    }
}

/// A crash of a child that served is an accident, and its slot is needed back at once.
fn backoff(strikes: u32) -> Duration {
    if strikes == 0 {
        return Duration::ZERO;
    }
    let mut delay = FIRST_DELAY;
    for _ in 1..strikes {
        if delay >= LONGEST_DELAY {
            break;
        }
        delay = delay * GROWTH_IN_HALVES / 2;
    }
    delay.min(LONGEST_DELAY)
}

/// For how much of the grace a fleet that stops goes on accepting what has queued: it is of no use to a
/// child that hangs, and the others need the rest to finish.
pub(super) fn patience(grace: Duration) -> Duration {
    grace / 5
}

/// How often the queues are looked at meanwhile: nothing tells when one is empty.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// A child's own share of the greatest lifetime: up to a tenth less, so that children which started
/// together are not replaced together.
pub(super) fn lifetime(limit: Duration, id: u64) -> Duration {
    // The golden ratio spreads consecutive numbers evenly.
    let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let spread = u32::try_from(spread).unwrap_or(0);
    limit - limit / 10 * spread / 65_536
}

/// The failures that still count.
#[derive(Debug)]
pub(super) struct FailureLog {
    policy: RecoverPolicy,
    /// Times of the failures in the window; unused without one.
    recent: VecDeque<Instant>,
    count: u32,
}

impl FailureLog {
    pub(super) fn new(policy: RecoverPolicy) -> Self {
        Self { policy, recent: VecDeque::new(), count: 0 }
    }

    /// The count over the master's life, and the ages of the failures in the window.
    pub(super) fn snapshot(&self, now: Instant) -> (u32, Vec<Duration>) {
        (self.count, self.recent.iter().map(|at| now.duration_since(*at)).collect())
    }

    pub(super) fn resume(&mut self, now: Instant, count: u32, ages: &[Duration]) {
        self.count = count;
        self.recent = ages.iter().filter_map(|age| now.checked_sub(*age)).collect();
    }

    /// How many failures count at `now`, and when there will be one fewer by itself.
    pub(super) fn current(&self, now: Instant) -> (u32, Option<Instant>) {
        let Some(window) = self.policy.window else { return (self.count, None) };
        let counts = |at: &&Instant| now.duration_since(**at) <= window;
        let oldest = self.recent.iter().find(counts);
        let count = self.recent.iter().filter(counts).count();
        // A failure still counts at the very end of the window.
        let forgets_at = oldest.and_then(|at| at.checked_add(window + Duration::from_millis(1)));
        (u32::try_from(count).unwrap_or(u32::MAX), forgets_at)
    }

    /// Counts one failure; says how many count now, and whether that is one too many.
    pub(super) fn record(&mut self, now: Instant) -> (u32, bool) {
        match self.policy.window {
            None => self.count = self.count.saturating_add(1),
            Some(window) => {
                self.recent.push_back(now);
                while self.recent.front().is_some_and(|first| now.duration_since(*first) > window) {
                    self.recent.pop_front();
                }
                self.count = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
            }
        }
        (self.count, self.count > self.policy.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(threshold: Option<u32>, window: Option<u64>) -> RecoverPolicy {
        RecoverPolicy::new(threshold, window.map(Duration::from_secs), Duration::ZERO)
    }

    #[test]
    fn a_threshold_alone_counts_for_life() {
        let mut log = FailureLog::new(policy(Some(2), None));
        let start = Instant::now();
        let day = Duration::from_secs(86_400);
        assert_eq!(log.record(start), (1, false));
        assert_eq!(log.record(start + day), (2, false));
        assert_eq!(log.record(start + day * 2), (3, true));
    }

    #[test]
    fn a_window_forgets() {
        let mut log = FailureLog::new(policy(Some(1), Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.record(start), (1, false));
        assert_eq!(log.record(start + second * 11), (1, false));
        assert_eq!(log.record(start + second * 21), (2, true), "a failure counts for the whole window");
    }

    #[test]
    fn what_counts_now_changes_without_a_failure() {
        let mut log = FailureLog::new(policy(None, Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.current(start), (0, None));
        log.record(start);
        log.record(start + second);
        let (count, forgets_at) = log.current(start + second * 2);
        assert_eq!(count, 2);
        let (count, last) = log.current(forgets_at.unwrap());
        assert_eq!(count, 1);
        assert_eq!(log.current(last.unwrap()), (0, None));
    }

    #[test]
    fn nothing_set_means_five_within_a_minute() {
        assert_eq!(policy(None, None), policy(Some(5), Some(60)));
        assert_eq!(policy(None, Some(7)), policy(Some(5), Some(7)));
    }

    #[test]
    fn delays_grow_by_half_up_to_thirty_seconds() {
        let policy = policy(None, None);
        assert_eq!(policy.delay(0, false), Duration::ZERO);
        assert_eq!(policy.delay(0, true), Duration::from_millis(100));
        assert_eq!(policy.delay(1, false), Duration::from_millis(100));
        assert_eq!(policy.delay(2, true), Duration::from_millis(150));
        assert_eq!(policy.delay(3, false), Duration::from_millis(225));
        assert_eq!(policy.delay(u32::MAX, false), Duration::from_secs(30));
    }

    #[test]
    fn the_interval_is_a_floor() {
        let slow = RecoverPolicy { interval: Duration::from_secs(1), ..policy(None, None) };
        assert_eq!(slow.delay(0, true), Duration::from_secs(1));
        assert_eq!(slow.delay(u32::MAX, false), Duration::from_secs(30));
    }
}
