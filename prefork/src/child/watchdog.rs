//! The watchdog: finds a child that is too large, or that hangs.
//!
//! The link thread looks at fixed intervals, and counts its looks instead of reading a clock: while the
//! machine is suspended, or the whole process is stopped, there are no looks, so no time passes. Work
//! that outlasts a number of looks hangs. Without these options there is no interval and no wake-up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::own_size::OwnSize;
use crate::sys;

/// Work hangs if this many looks in a row find it under way.
const LOOKS: u64 = 8;
/// How often to look if only the size is limited.
const SIZE_INTERVAL: Duration = Duration::from_secs(2);

/// The limits of a child.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Bytes of resident memory.
    pub(crate) max_rss: Option<u64>,
    /// Whether that is of the memory which it does not share: what a template has loaded is resident in each child.
    pub(crate) of_private: bool,
    /// The most time that one piece of work may take.
    pub(crate) hang_timeout: Option<Duration>,
}

/// The result of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// Larger than the limit; reported once.
    TooLarge,
    /// The size cannot be read, for this reason; reported once.
    SizeUnknown(String),
    Hangs,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Watchdog {
    limits: Limits,
    state: Mutex<WatchdogState>,
}

#[derive(Debug, Default)]
struct WatchdogState {
    looks: u64,
    too_large: bool,
    /// Of a child that a template has forked, if its size is limited.
    own_size: Option<OwnSize>,
    size_unknown: bool,
    next_work: u64,
    /// Work under way, and the look before it began.
    work: BTreeMap<u64, u64>,
    probe: Probe,
}

/// A task that each look wakes: a runtime that polls it is alive.
#[derive(Debug, Default)]
struct Probe {
    task: Option<Waker>,
    /// The first look that woke the task and was not followed by a poll.
    asked: Option<u64>,
}

impl Watchdog {
    pub(super) fn new(limits: Limits) -> Self {
        let is_shared = limits.of_private && limits.max_rss.is_some();
        let own_size = is_shared.then(OwnSize::at_fork);
        Self { limits, state: Mutex::new(WatchdogState { own_size, ..WatchdogState::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, WatchdogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look.
    pub(super) fn timer(&self, now: Instant) -> LookTimer {
        let interval = self.interval();
        LookTimer { interval, at: interval.map(|interval| now + interval) }
    }

    /// How often to look; `None` is never.
    fn interval(&self) -> Option<Duration> {
        let hang = self.limits.hang_timeout.map(|timeout| timeout.div_f64(LOOKS as f64));
        hang.or(self.limits.max_rss.map(|_| SIZE_INTERVAL))
    }

    /// Looks. The caller keeps to the [`timer`](Self::timer).
    pub(super) fn look(&self) -> Health {
        let mut state = self.lock();
        state.looks += 1;
        if self.limits.hang_timeout.is_some() && state.hangs() {
            return Health::Hangs;
        }
        let look = state.looks;
        let question = state.probe.ask(look);
        let health = match self.limits.max_rss {
            Some(most) => {
                let size = state.own_size.as_mut().map_or_else(sys::resident_bytes, OwnSize::read);
                state.judge(most, size)
            }
            None => Health::Healthy,
        };
        drop(state);
        if let Some(task) = question {
            task.wake();
        }
        health
    }

    /// Notes that work has begun. It ends when the result is dropped.
    pub(super) fn begin_work(self: &Arc<Self>) -> Busy {
        let mut state = self.lock();
        let id = state.next_work;
        state.next_work += 1;
        let looks = state.looks;
        state.work.insert(id, looks);
        drop(state);
        Busy { watchdog: Arc::clone(self), id }
    }
}

/// Looks are at least an interval apart, although a signal can end the wait for the next one at any time.
#[derive(Debug)]
pub(super) struct LookTimer {
    interval: Option<Duration>,
    at: Option<Instant>,
}

impl LookTimer {
    /// When the next look is due, if there is one.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether a look is due. The next one is then an interval from `now`, however late this one is: the
    /// time for which the process was stopped has one look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.at.is_some_and(|at| at <= now);
        if is_due {
            self.at = self.interval.map(|interval| now + interval);
        }
        is_due
    }
}

impl WatchdogState {
    fn judge(&mut self, most: u64, size: io::Result<u64>) -> Health {
        match size {
            Ok(size) if size > most && !std::mem::replace(&mut self.too_large, true) => Health::TooLarge,
            Err(error) if !std::mem::replace(&mut self.size_unknown, true) => {
                Health::SizeUnknown(error.to_string())
            }
            _ => Health::Healthy,
        }
    }

    fn hangs(&self) -> bool {
        let oldest = self.work.values().chain(&self.probe.asked).min();
        oldest.is_some_and(|since| self.looks - since > LOOKS)
    }
}

impl Probe {
    fn ask(&mut self, look: u64) -> Option<Waker> {
        let task = self.task.take()?;
        self.asked = Some(look);
        Some(task)
    }
}

/// Work under way in this child; see [`ChildContext::busy`](crate::ChildContext::busy).
#[derive(Debug)]
#[must_use = "the work counts as done when this is dropped"]
pub struct Busy {
    watchdog: Arc<Watchdog>,
    id: u64,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.watchdog.lock().work.remove(&self.id);
    }
}

/// The heartbeat of a runtime: a task that it polls after each look.
#[cfg(feature = "tokio")]
mod heartbeat {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use super::Watchdog;

    #[derive(Debug)]
    pub(crate) struct Heartbeat(Arc<Watchdog>);

    impl Watchdog {
        /// `None` if there is no limit on work.
        pub(crate) fn heartbeat(self: &Arc<Self>) -> Option<Heartbeat> {
            self.limits.hang_timeout.map(|_| Heartbeat(Arc::clone(self)))
        }
    }

    impl Future for Heartbeat {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock();
            state.probe.asked = None;
            state.probe.task = Some(context.waker().clone());
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Arc<Watchdog> {
        Arc::new(Watchdog::new(Limits { hang_timeout: Some(Duration::from_secs(8)), ..Limits::default() }))
    }

    fn looks(watchdog: &Watchdog, count: u64) -> Health {
        (0..count).map(|_| watchdog.look()).last().unwrap_or(Health::Healthy)
    }

    #[test]
    fn no_limits_no_interval() {
        assert_eq!(Watchdog::new(Limits::default()).interval(), None);
        assert_eq!(watched().interval(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn looks_are_an_interval_apart_and_one_stands_for_the_time_of_a_suspension() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut timer = watched().timer(start);
        assert!(!timer.is_due(start), "a signal ended the wait");
        assert!(timer.is_due(start + second));
        assert!(!timer.is_due(start + second * 3 / 2));
        assert!(timer.is_due(start + second * 3600));
        assert_eq!(timer.at(), Some(start + second * 3601));
    }

    #[test]
    fn idle_child_and_short_work_are_healthy() {
        let watchdog = watched();
        assert_eq!(looks(&watchdog, 100), Health::Healthy);
        for _ in 0..100 {
            let _busy = watchdog.begin_work();
            assert_eq!(looks(&watchdog, LOOKS), Health::Healthy);
        }
    }

    #[test]
    fn endless_work_hangs_although_other_work_ends() {
        let watchdog = watched();
        let _stuck = watchdog.begin_work();
        for _ in 0..LOOKS {
            let _short = watchdog.begin_work();
            assert_eq!(watchdog.look(), Health::Healthy);
        }
        assert_eq!(watchdog.look(), Health::Hangs);
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn runtime_hangs_once_it_does_not_poll_heartbeat() {
        let watchdog = watched();
        let mut heartbeat = watchdog.heartbeat().unwrap();
        let mut context = std::task::Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(Future::poll(std::pin::Pin::new(&mut heartbeat), &mut context).is_pending());
            assert_eq!(watchdog.look(), Health::Healthy);
        }
        assert_eq!(looks(&watchdog, LOOKS), Health::Healthy);
        assert_eq!(watchdog.look(), Health::Hangs);
    }

    #[test]
    fn size_that_cannot_be_read_is_reported_once() {
        let mut state = WatchdogState::default();
        let unknown = || Err(io::Error::other("no such file"));
        assert_eq!(state.judge(1, unknown()), Health::SizeUnknown("no such file".to_owned()));
        assert_eq!(state.judge(1, unknown()), Health::Healthy);
        assert_eq!(state.judge(1, Ok(1)), Health::Healthy);
        assert_eq!(state.judge(1, Ok(2)), Health::TooLarge);
    }

    #[test]
    fn too_large_is_reported_once() {
        let watchdog = Watchdog::new(Limits { max_rss: Some(1), ..Limits::default() });
        assert_eq!(watchdog.look(), Health::TooLarge);
        assert_eq!(watchdog.look(), Health::Healthy);
    }
}
