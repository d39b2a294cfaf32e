//! Numbers that decide about children: failures that a fleet survives, delays before replacements, the time for
//! queues at a stop, the spread of lifetimes, and the limits of what counts as one request or as a closed link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A child that was ready for this long and exits with status 0 has not failed. One that was ready for
/// less exits early: after the second in a row there is a delay, so that there is no busy loop.
pub(super) const STABLE: Duration = Duration::from_secs(1);

/// A child that exits closes its link a moment before the exit is seen. One that is still alive after this
/// time has closed the link without exiting. Generous, because the kernel may be slow to end a process.
pub(super) const LINK_CLOSED_LIMIT: Duration = Duration::from_secs(1);

/// Delay after the first child that failed before it was ready.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay that follows from a slot's own failures.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Growth of the delay with each further failure in a row, in halves: a factor of 1.5.
const GROWTH_IN_HALVES: u32 = 3;

/// Two requests to stop that are closer together are one: `timeout`, npm and terminals send the same
/// signal twice within milliseconds, to the process and to its group. An operator who asks again waits
/// longer.
pub(crate) const SAME_STOP: Duration = Duration::from_millis(250);

/// With neither option set: failures without a ready child that are recovered. A program that cannot start ends
/// soon, and one that fails to start by chance gets further attempts.
const DEFAULT_NONE_READY_THRESHOLD: u32 = 4;
/// With a window alone: failures that are recovered within it, as the table of options says.
const DEFAULT_THRESHOLD: u32 = 5;

/// How long failures before ready count where the options do not say so, and how long a fleet without a
/// ready child tries to start one.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// The failures that a fleet survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecoverPolicy {
    pub(crate) counted: Counted,
    /// Failures that are recovered; one more stops the fleet.
    pub(crate) threshold: u32,
    /// How long failures count; `None` is the master's life.
    pub(crate) window: Option<Duration>,
    /// Least delay before any respawn.
    pub(crate) interval: Duration,
}

/// Which failures can end the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Every failure.
    All,
    /// Failures before ready while no child serves, since a child was last ready.
    NoneReady,
}

/// The failures in a row of one slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SlotFailures {
    /// Children that failed before they were ready, or could not be started.
    pub(super) before_ready: u32,
    /// Children that exited within [`STABLE`] of being ready, since one that did not.
    pub(super) early: u32,
}

impl RecoverPolicy {
    /// Applies the defaults: a threshold alone counts for the master's life, as in fasthttp's prefork. With
    /// nothing set, the fleet ends with the fifth failure within a minute if no child is ready meanwhile.
    pub(crate) fn new(threshold: Option<u32>, window: Option<Duration>, interval: Duration) -> Self {
        let (counted, threshold, window) = match (threshold, window) {
            (None, None) => (Counted::NoneReady, DEFAULT_NONE_READY_THRESHOLD, Some(DEFAULT_WINDOW)),
            (threshold, window) => (Counted::All, threshold.unwrap_or(DEFAULT_THRESHOLD), window),
        };
        Self { counted, threshold, window, interval }
    }

    /// Delay before a slot's next child, after its `failures` in a row.
    pub(super) fn delay(&self, failures: SlotFailures) -> Duration {
        // The first child that exits early is replaced at once.
        let early = failures.early.saturating_sub(1);
        // Where every failure counts, their number bounds the loop.
        let early = if self.counted == Counted::All { early.min(1) } else { early };
        backoff(failures.before_ready).max(backoff(early)).max(self.interval)
    }

    /// How long a fleet without a ready child tries to start one.
    pub(super) fn patience(&self) -> Duration {
        self.window.unwrap_or(DEFAULT_WINDOW)
    }
}

/// No delay without a failure, and a growing one with each further failure in a row.
fn backoff(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let mut delay = FIRST_DELAY;
    for _ in 1..failures {
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

/// Failures whose times are kept when they count no more.
const KEPT: usize = 256;

/// The failures that still count.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct FailureLog {
    policy: RecoverPolicy,
    /// Times of the failures in the window, and of the last [`KEPT`] before it: a reload can change the window.
    recent: VecDeque<Instant>,
    /// The number of failures in the master's life.
    total: u32,
    /// Those that [`Counted::NoneReady`] counts.
    none_ready: VecDeque<Instant>,
    /// Whether a child was ever ready. From then on all slots' attempts of one round count as one failure: what
    /// ended every child at once may be over at the next attempt.
    has_served: bool,
    /// The round that was counted last: the number of failures in a row of the slot that has most.
    round: u32,
}

/// A failure, as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub(super) enum FailureKind {
    /// Of a child that was ready, or while another child serves.
    Outlived,
    /// Before ready, and no child serves: the slot's `in_a_row`th failure of this kind.
    NoneReady { in_a_row: u32 },
}

impl FailureLog {
    pub(super) fn new(policy: RecoverPolicy) -> Self {
        Self {
            policy,
            recent: VecDeque::new(),
            total: 0,
            none_ready: VecDeque::new(),
            has_served: false,
            round: 0,
        }
    }

    /// What has failed so far counts as it would have with the new policy from the start, as far back as it is
    /// kept.
    pub(super) fn change_policy(&mut self, policy: RecoverPolicy) {
        self.policy = policy;
    }

    /// The number over the master's life, and the ages of the last failures.
    pub(super) fn snapshot(&self, now: Instant) -> (u32, Vec<Duration>) {
        (self.total, self.recent.iter().map(|at| now.duration_since(*at)).collect())
    }

    /// Goes on after an upgrade, which only a fleet that serves makes.
    pub(super) fn resume(&mut self, now: Instant, total: u32, ages: &[Duration]) {
        self.has_served = true;
        self.total = total;
        self.recent = ages.iter().filter_map(|age| now.checked_sub(*age)).collect();
    }

    /// Number of failures that count at `now`, and when the oldest stops counting.
    pub(super) fn current(&self, now: Instant) -> (u32, Option<Instant>) {
        let Some(window) = self.policy.window else { return (self.total, None) };
        let in_window = self.recent.partition_point(|at| now.duration_since(*at) > window)..;
        let counting = self.recent.range(in_window);
        let count = u32::try_from(counting.len()).unwrap_or(u32::MAX);
        // A failure still counts at the very end of the window.
        let expires_at = |at: &Instant| at.checked_add(window + Duration::from_millis(1));
        (count, counting.clone().next().and_then(expires_at))
    }

    /// A child is ready.
    pub(super) fn note_ready(&mut self) {
        self.has_served = true;
        self.round = 0;
        self.none_ready.clear();
    }

    /// Counts one failure; returns the count, and whether it exceeds the threshold.
    pub(super) fn record(&mut self, now: Instant, failure: FailureKind) -> (u32, bool) {
        self.total = self.total.saturating_add(1);
        self.recent.push_back(now);
        self.forget_old(now);
        let count = match (self.policy.counted, failure) {
            (Counted::All, _) => self.current(now).0,
            (Counted::NoneReady, FailureKind::NoneReady { in_a_row })
                if !self.has_served || in_a_row > self.round =>
            {
                self.round = in_a_row;
                push_recent(&mut self.none_ready, now, self.policy.patience())
            }
            (Counted::NoneReady, _) => 0,
        };
        (count, count > self.policy.threshold)
    }

    fn forget_old(&mut self, now: Instant) {
        let counts =
            |at: &Instant| self.policy.window.is_some_and(|window| now.duration_since(*at) <= window);
        while self.recent.len() > KEPT && !self.recent.front().is_some_and(counts) {
            self.recent.pop_front();
        }
    }
}

/// Adds the time of a failure to those in the window; returns their number.
fn push_recent(recent: &mut VecDeque<Instant>, now: Instant, window: Duration) -> u32 {
    recent.push_back(now);
    while recent.front().is_some_and(|first| now.duration_since(*first) > window) {
        recent.pop_front();
    }
    u32::try_from(recent.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLIVED: FailureKind = FailureKind::Outlived;
    const FIRST: FailureKind = FailureKind::NoneReady { in_a_row: 1 };

    fn policy(threshold: Option<u32>, window: Option<u64>) -> RecoverPolicy {
        RecoverPolicy::new(threshold, window.map(Duration::from_secs), Duration::ZERO)
    }

    #[test]
    fn threshold_without_window_counts_for_life() {
        let mut log = FailureLog::new(policy(Some(2), None));
        let start = Instant::now();
        let day = Duration::from_secs(86_400);
        assert_eq!(log.record(start, OUTLIVED), (1, false));
        assert_eq!(log.record(start + day, OUTLIVED), (2, false));
        assert_eq!(log.record(start + day * 2, OUTLIVED), (3, true));
    }

    #[test]
    fn failure_outside_window_does_not_count() {
        let mut log = FailureLog::new(policy(Some(1), Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.record(start, OUTLIVED), (1, false));
        assert_eq!(log.record(start + second * 11, OUTLIVED), (1, false));
        assert_eq!(
            log.record(start + second * 21, OUTLIVED),
            (2, true),
            "a failure counts for the whole window"
        );
    }

    #[test]
    fn count_drops_when_a_failure_expires() {
        let mut log = FailureLog::new(policy(None, Some(10)));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(log.current(start), (0, None));
        log.record(start, OUTLIVED);
        log.record(start + second, OUTLIVED);
        let (count, failure_expires_at) = log.current(start + second * 2);
        assert_eq!(count, 2);
        let (count, last) = log.current(failure_expires_at.unwrap());
        assert_eq!(count, 1);
        assert_eq!(log.current(last.unwrap()), (0, None));
    }

    #[test]
    fn window_that_a_reload_adds_or_removes_counts_earlier_failures() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut log = FailureLog::new(policy(Some(9), None));
        for second in [0, 30, 40] {
            log.record(at(second), OUTLIVED);
        }
        log.change_policy(policy(Some(2), Some(20)));
        assert_eq!(log.current(at(45)), (2, Some(at(50) + Duration::from_millis(1))));
        assert_eq!(log.record(at(45), OUTLIVED), (3, true));
        log.change_policy(policy(Some(9), None));
        assert_eq!(log.record(at(90), OUTLIVED), (5, false));
    }

    #[test]
    fn failures_that_are_kept_are_bounded() {
        let mut log = FailureLog::new(policy(Some(1000), None));
        let start = Instant::now();
        for second in 0..1000 {
            log.record(start + Duration::from_secs(second), OUTLIVED);
        }
        assert_eq!(log.snapshot(start + Duration::from_secs(1000)).1.len(), KEPT);
        log.change_policy(policy(Some(1000), Some(1000)));
        for _ in 0..500 {
            log.record(start + Duration::from_secs(1000), OUTLIVED);
        }
        assert_eq!(log.current(start + Duration::from_secs(1000)).0, 500 + 256);
    }

    #[test]
    fn either_option_makes_every_failure_count() {
        assert_eq!(policy(None, Some(7)), policy(Some(5), Some(7)));
        assert_eq!(policy(Some(3), None).counted, Counted::All);
        assert_eq!(policy(None, None).counted, Counted::NoneReady);
    }

    #[test]
    fn by_default_the_fifth_failure_in_a_minute_is_too_many() {
        let mut log = FailureLog::new(policy(None, None));
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let counts: Vec<_> = [0, 30, 61, 62, 63].map(|second| log.record(at(second), FIRST).0).into();
        assert_eq!(counts, [1, 2, 2, 3, 4]);
        assert!(!log.record(at(64), OUTLIVED).1, "another child serves");
        assert_eq!(log.record(at(64), FIRST), (5, true));
        log.note_ready();
        assert_eq!(log.record(at(65), FIRST), (1, false), "a child was ready in between");
        assert_eq!(log.current(at(65)).0, 7, "observers see every failure of the last minute");
    }

    #[test]
    fn round_of_attempts_counts_once_after_a_child_was_ready() {
        let mut log = FailureLog::new(policy(None, None));
        log.note_ready();
        let start = Instant::now();
        let mut round = |in_a_row| {
            (0..8)
                .map(|_| log.record(start, FailureKind::NoneReady { in_a_row }))
                .find(|(count, _)| *count > 0)
        };
        let counts: Vec<_> = (1..=5).map(&mut round).collect();
        let expected = [(1, false), (2, false), (3, false), (4, false), (5, true)];
        assert_eq!(counts, expected.map(Some));
    }

    fn before_ready(count: u32) -> SlotFailures {
        SlotFailures { before_ready: count, early: 0 }
    }

    fn early(count: u32) -> SlotFailures {
        SlotFailures { before_ready: 0, early: count }
    }

    #[test]
    fn delay_grows_by_half_up_to_thirty_seconds() {
        let policy = policy(None, None);
        let delays = |failures: fn(u32) -> SlotFailures, counts: [u32; 5]| {
            counts.map(|count| policy.delay(failures(count)).as_millis())
        };
        assert_eq!(delays(before_ready, [0, 1, 2, 3, u32::MAX]), [0, 100, 150, 225, 30_000]);
        assert_eq!(delays(early, [0, 1, 2, 3, u32::MAX]), [0, 0, 100, 150, 30_000]);
        assert_eq!(policy.delay(SlotFailures { before_ready: 1, early: 3 }), Duration::from_millis(150));
    }

    #[test]
    fn delay_after_early_exits_is_constant_where_they_count() {
        let policy = policy(Some(9), None);
        for (count, millis) in [(1, 0), (2, 100), (3, 100), (u32::MAX, 100)] {
            assert_eq!(policy.delay(early(count)), Duration::from_millis(millis));
        }
    }

    #[test]
    fn recover_interval_is_the_least_delay() {
        let slow = RecoverPolicy { interval: Duration::from_secs(1), ..policy(None, None) };
        assert_eq!(slow.delay(early(1)), Duration::from_secs(1));
        assert_eq!(slow.delay(before_ready(u32::MAX)), Duration::from_secs(30));
    }
}
