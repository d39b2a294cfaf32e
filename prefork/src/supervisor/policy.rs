//! Number of failures that a fleet survives, and delays before replacements.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A child that was ready for this long and exits with status 0 has not failed. One that was ready for
/// less, like its predecessor, is replaced after a delay, so that there is no busy loop.
pub(super) const STABLE: Duration = Duration::from_secs(1);

/// A child that exits closes its link a moment before the exit is seen. One that is still alive after this
/// time has closed the link without exiting. Generous, because the kernel may be slow to end a process.
pub(super) const LINK_CLOSED_LIMIT: Duration = Duration::from_secs(1);

/// Delay after the first child that failed before it was ready.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay that follows from a slot's own failures.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Growth of the delay with each further failure in a row, in halves: a factor of 1.5.
const GROWTH_IN_HALVES: u32 = 3;

/// The recover options, as the user set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecoverPolicy {
    /// Failures that are recovered; one more stops the fleet.
    pub(crate) threshold: u32,
    /// How long failures count; `None` is the master's life.
    pub(crate) window: Option<Duration>,
    /// Least delay before any respawn.
    pub(crate) interval: Duration,
}

impl RecoverPolicy {
    /// Applies the defaults: a threshold alone counts for the master's life, as in fasthttp's prefork;
    /// with nothing set, five failures within a minute are recovered.
    pub(crate) fn new(threshold: Option<u32>, window: Option<Duration>, interval: Duration) -> Self {
        let (threshold, window) = match (threshold, window) {
            (Some(threshold), window) => (threshold, window),
            (None, window) => (5, Some(window.unwrap_or(Duration::from_secs(60)))),
        };
        Self { threshold, window, interval }
    }

    /// Delay before a slot's next child, after `boot_failures` failures in a row before ready (none if
    /// the last child had been ready). `unstable`: the last two children exited within [`STABLE`].
    pub(super) fn delay(&self, boot_failures: u32, unstable: bool) -> Duration {
        let floor = if unstable { FIRST_DELAY } else { Duration::ZERO };
        backoff(boot_failures).max(floor).max(self.interval)
    }
}

/// A child that served is replaced at once; one that failed before it was ready, after a growing delay.
fn backoff(boot_failures: u32) -> Duration {
    if boot_failures == 0 {
        return Duration::ZERO;
    }
    let mut delay = FIRST_DELAY;
    for _ in 1..boot_failures {
        if delay >= LONGEST_DELAY {
            break;
        }
        delay = delay * GROWTH_IN_HALVES / 2;
    }
    delay.min(LONGEST_DELAY)
}

/// The part of the grace in which a stopping fleet accepts what is queued. The children need the rest
/// to finish.
pub(super) fn queue_wait(grace: Duration) -> Duration {
    grace / 5
}

/// Interval of checks whether the queues are empty: the system gives no notice.
pub(super) const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// A child's own lifetime: up to a tenth less than the limit, so that children that started together
/// are not replaced together.
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

    /// Number of failures that count at `now`, and when the oldest stops counting.
    pub(super) fn current(&self, now: Instant) -> (u32, Option<Instant>) {
        let Some(window) = self.policy.window else { return (self.count, None) };
        let counts = |at: &&Instant| now.duration_since(**at) <= window;
        let oldest = self.recent.iter().find(counts);
        let count = self.recent.iter().filter(counts).count();
        // A failure still counts at the very end of the window.
        let failure_expires_at = oldest.and_then(|at| at.checked_add(window + Duration::from_millis(1)));
        (u32::try_from(count).unwrap_or(u32::MAX), failure_expires_at)
    }

    /// Counts one failure; returns the count, and whether it exceeds the threshold.
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
    fn threshold_without_window_counts_for_life() {
        let mut log = FailureLog::new(policy(Some(2), None));
        let start = Instant::now();
        let day = Duration::from_secs(86_400);
        assert_eq!(log.record(start), (1, false));
        assert_eq!(log.record(start + day), (2, false));
        assert_eq!(log.record(start + day * 2), (3, true));
    }

    #[test]
    fn failure_outside_window_does_not_count() {
        let mut log = FailureLog::new(policy(Some(1), Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.record(start), (1, false));
        assert_eq!(log.record(start + second * 11), (1, false));
        assert_eq!(log.record(start + second * 21), (2, true), "a failure counts for the whole window");
    }

    #[test]
    fn count_drops_when_a_failure_expires() {
        let mut log = FailureLog::new(policy(None, Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.current(start), (0, None));
        log.record(start);
        log.record(start + second);
        let (count, failure_expires_at) = log.current(start + second * 2);
        assert_eq!(count, 2);
        let (count, last) = log.current(failure_expires_at.unwrap());
        assert_eq!(count, 1);
        assert_eq!(log.current(last.unwrap()), (0, None));
    }

    #[test]
    fn default_is_five_failures_in_a_minute() {
        assert_eq!(policy(None, None), policy(Some(5), Some(60)));
        assert_eq!(policy(None, Some(7)), policy(Some(5), Some(7)));
    }

    #[test]
    fn delay_grows_by_half_up_to_thirty_seconds() {
        let policy = policy(None, None);
        assert_eq!(policy.delay(0, false), Duration::ZERO);
        assert_eq!(policy.delay(0, true), Duration::from_millis(100));
        assert_eq!(policy.delay(1, false), Duration::from_millis(100));
        assert_eq!(policy.delay(2, true), Duration::from_millis(150));
        assert_eq!(policy.delay(3, false), Duration::from_millis(225));
        assert_eq!(policy.delay(u32::MAX, false), Duration::from_secs(30));
    }

    #[test]
    fn recover_interval_is_the_least_delay() {
        let slow = RecoverPolicy { interval: Duration::from_secs(1), ..policy(None, None) };
        assert_eq!(slow.delay(0, true), Duration::from_secs(1));
        assert_eq!(slow.delay(u32::MAX, false), Duration::from_secs(30));
    }
}
