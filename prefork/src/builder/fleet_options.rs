//! Options of the fleet and of its children's lives.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::value::{ANY_DURATION, SOME_DURATION};
use super::{MAX_WORKERS, OptionValue, Prefork, Readiness};

/// More slots than any machine has use for are a slip of the pen.
pub(super) const SLOTS: RangeInclusive<usize> = 1..=MAX_WORKERS;
pub(super) const FAILURES: RangeInclusive<u32> = 0..=u32::MAX;
/// A shorter hang than this is a busy moment.
const LEAST_HANG: Duration = Duration::from_millis(100);

/// # The fleet, and how long its children live
impl Prefork {
    /// How many children there are, 1 to 4096. Default: the parallelism available to the process,
    /// which heeds cgroups.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = self.read_in("workers", workers, SLOTS).or(self.workers);
        self
    }

    /// How many failures of children are recovered; one more stops the fleet with
    /// [`Error::OverRecovery`](crate::Error::OverRecovery). They are counted in the
    /// [`recover_window`](Self::recover_window), without one over the master's life. Default, with
    /// neither set: five within a minute.
    ///
    /// A failure is any end of a child that nobody asked for, except a clean one (status 0) of a
    /// child that was ready for a second or more.
    pub fn recover(mut self, failures: u32) -> Self {
        self.recover = self.read_in("recover", failures, FAILURES).or(self.recover);
        self
    }

    /// How long a failure counts.
    pub fn recover_window(mut self, window: impl OptionValue<Duration>) -> Self {
        self.recover_window = self.read_in("recover_window", window, SOME_DURATION).or(self.recover_window);
        self
    }

    /// How long a slot stays empty before its child is replaced. Never delays a stop. Default: not
    /// at all, unless its children fail again and again: then ever longer, up to 30 s.
    pub fn recover_interval(mut self, interval: impl OptionValue<Duration>) -> Self {
        let interval = self.read_in("recover_interval", interval, ANY_DURATION);
        self.recover_interval = interval.unwrap_or(self.recover_interval);
        self
    }

    /// How long children may take to finish what they have accepted when the fleet stops; then they
    /// are killed. Default: 5 s.
    pub fn shutdown_grace(mut self, grace: impl OptionValue<Duration>) -> Self {
        let grace = self.read_in("shutdown_grace", grace, ANY_DURATION);
        self.shutdown_grace = grace.unwrap_or(self.shutdown_grace);
        self
    }

    /// How long a child may take to become ready; then it is killed, and has failed. Default: 60 s.
    pub fn start_timeout(mut self, timeout: impl OptionValue<Duration>) -> Self {
        let timeout = self.read_in("start_timeout", timeout, SOME_DURATION);
        self.start_timeout = timeout.unwrap_or(self.start_timeout);
        self
    }

    /// When a child is ready, as a [`Readiness`] or as `"auto"` (the default: when its serve function
    /// is about to be called) or `"manual"` (when it calls [`ChildContext::ready`]).
    ///
    /// [`ChildContext::ready`]: crate::ChildContext::ready
    pub fn ready(mut self, ready: impl OptionValue<Readiness>) -> Self {
        let ready = self.read("ready", ready).unwrap_or_default();
        self.serving.manual_ready = ready == Readiness::Manual;
        self
    }

    /// How long the fleet goes on accepting after it was asked to stop, because load balancers notice
    /// late; meanwhile [`ChildContext::is_stopping`](crate::ChildContext::is_stopping) is true.
    /// Default: not at all.
    pub fn stop_delay(mut self, delay: impl OptionValue<Duration>) -> Self {
        self.stop_delay = self.read_in("stop_delay", delay, ANY_DURATION).unwrap_or(self.stop_delay);
        self
    }

    /// How many slots a reload replaces at the same time. Default: 1.
    pub fn reload_parallel(mut self, slots: usize) -> Self {
        let slots = self.read_in("reload_parallel", slots, SLOTS);
        self.reload_parallel = slots.unwrap_or(self.reload_parallel);
        self
    }

    /// How old a child may become; then it is replaced, new before old. Each child's own limit is up
    /// to a tenth less, so that not all come due together. Default: any age.
    pub fn max_lifetime(mut self, limit: impl OptionValue<Duration>) -> Self {
        self.max_lifetime = self.read_in("max_lifetime", limit, SOME_DURATION).or(self.max_lifetime);
        self
    }

    /// How much memory a child may occupy, in bytes or as text such as `"512MiB"`; then it is
    /// replaced, new before old. Default: any amount.
    pub fn max_rss(mut self, limit: impl OptionValue<u64>) -> Self {
        self.serving.limits.max_rss = self.read("max_rss", limit).or(self.serving.limits.max_rss);
        self
    }

    /// How long an `async` child's runtime may fail to get on, and how long a
    /// [`ChildContext::busy`](crate::ChildContext::busy) may last; then the child reports where its
    /// threads are and ends, and has failed. Idle is no hang, nor is a suspended machine. Default: for
    /// ever.
    pub fn hang_timeout(mut self, timeout: impl OptionValue<Duration>) -> Self {
        let timeout = self.read_in("hang_timeout", timeout, LEAST_HANG..=*ANY_DURATION.end());
        self.serving.limits.hang_timeout = timeout.or(self.serving.limits.hang_timeout);
        self
    }

    /// The tokio runtime that an `async` serve function runs on, one in each child, as a
    /// [`Runtime`](crate::Runtime) or as `"current_thread"` (the default) or `"multi_thread"`.
    #[cfg(feature = "tokio")]
    pub fn runtime(mut self, runtime: impl OptionValue<crate::Runtime>) -> Self {
        self.serving.runtime = self.read("runtime", runtime).unwrap_or(self.serving.runtime);
        self
    }
}
