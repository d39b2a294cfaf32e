//! The options of the fleet's size, recovery, stop, reload and of its children's limits.

use std::time::Duration;

use prefork_options as options;

use super::{OptionValue, Prefork, Readiness};

/// # Size, recovery, stop, reload and limits
impl Prefork {
    /// Number of children, up to 8192. Default: one per core available to the process; CPU affinity and
    /// cgroup quotas are respected.
    ///
    /// 0: no children. The serve function runs in this process, in the thread that starts the fleet, for
    /// debuggers, profilers and tests. The guide describes it in its page on serving.
    pub fn workers(self, workers: usize) -> Self {
        self.put(&options::WORKERS, workers)
    }

    /// Largest number of children that the default of [`workers`](Self::workers) chooses, 1 to 8192: for a
    /// program that uses much memory, on machines of many cores. Default: no limit.
    pub fn max_workers(self, workers: usize) -> Self {
        self.put(&options::MAX_WORKERS, workers)
    }

    /// Whether environment variables set options. Default: yes. They override the attribute's values, and
    /// the builder's methods override them.
    pub fn environment(self, environment: bool) -> Self {
        self.put(&options::ENVIRONMENT, environment)
    }

    /// Number of child failures that are recovered; one more stops the fleet with
    /// [`Error::OverRecovery`](crate::Error::OverRecovery). They are counted in the
    /// [`recover_window`](Self::recover_window), without it over the master's whole life. With
    /// neither set, only failures before ready count, while no child serves: the fifth within 60 s stops the
    /// fleet, if no child was ready in between.
    ///
    /// A failure is an exit that was not asked for, except a clean one (status 0) of a child that was
    /// ready for a second or more.
    pub fn recover(self, failures: u32) -> Self {
        self.put(&options::RECOVER, failures)
    }

    /// Time for which a failure counts. With it alone, 5 failures are recovered.
    pub fn recover_window(self, window: impl OptionValue<Duration>) -> Self {
        self.set(&options::RECOVER_WINDOW, window)
    }

    /// Delay before a child that ended is replaced. It never delays a stop. Default: none; a slot whose
    /// children keep failing waits longer each time, up to 30 s.
    pub fn recover_interval(self, interval: impl OptionValue<Duration>) -> Self {
        self.set(&options::RECOVER_INTERVAL, interval)
    }

    /// Time a child has to finish accepted connections once it is asked to stop; then it is killed.
    /// Default: 5 s.
    pub fn shutdown_grace(self, grace: impl OptionValue<Duration>) -> Self {
        self.set(&options::SHUTDOWN_GRACE, grace)
    }

    /// Time a child has to become ready; then it is killed, which counts as a failure. Default: 60 s.
    pub fn start_timeout(self, timeout: impl OptionValue<Duration>) -> Self {
        self.set(&options::START_TIMEOUT, timeout)
    }

    /// When a child is ready, as a [`Readiness`] or as `"auto"` (the default: when its serve function
    /// is about to be called) or `"manual"` (when it calls [`ChildContext::ready`]).
    ///
    /// [`ChildContext::ready`]: crate::ChildContext::ready
    pub fn ready(self, ready: impl OptionValue<Readiness>) -> Self {
        self.set(&options::READY, ready)
    }

    /// Time during which the fleet goes on accepting after it was asked to stop, for load balancers that
    /// notice late; meanwhile [`ChildContext::is_stopping`](crate::ChildContext::is_stopping) is true.
    /// Default: none.
    pub fn stop_delay(self, delay: impl OptionValue<Duration>) -> Self {
        self.set(&options::STOP_DELAY, delay)
    }

    /// Number of slots that a reload replaces at the same time. Default: 1.
    pub fn reload_parallel(self, slots: usize) -> Self {
        self.put(&options::RELOAD_PARALLEL, slots)
    }

    /// Number of children after which a reload stops and holds, with the new children beside the old. It is completed
    /// when the [`hold`](Self::hold) is over, or by [`FleetHandle::promote`](crate::FleetHandle::promote). If one of
    /// the new children fails, on [`FleetHandle::rollback`](crate::FleetHandle::rollback), and if the hook
    /// [`on_canary`](Self::on_canary) says so, the new children are replaced by children of the old generation, with
    /// its program, options and certificates. Default: 0, a reload does not hold.
    ///
    /// With as many as there are slots, or more, every child is replaced before the reload holds. An upgrade does not
    /// hold.
    pub fn canary(self, children: usize) -> Self {
        self.put(&options::CANARY, children)
    }

    /// Time for which a reload with a [`canary`](Self::canary) holds; then it is completed. Default: until it is
    /// promoted or rolled back.
    pub fn hold(self, hold: impl OptionValue<Duration>) -> Self {
        self.set(&options::HOLD, hold)
    }

    /// Age at which a child is replaced, new before old. Each child's own limit is up to a tenth
    /// shorter, so that children of the same age are not replaced at once. Default: unlimited.
    pub fn max_lifetime(self, limit: impl OptionValue<Duration>) -> Self {
        self.set(&options::MAX_LIFETIME, limit)
    }

    /// Resident memory at which a child is replaced, new before old, in bytes or as text such as
    /// `"512MiB"`; above zero. Default: unlimited.
    pub fn max_rss(self, limit: impl OptionValue<u64>) -> Self {
        self.set(&options::MAX_RSS, limit)
    }

    /// Time that an `async` child's runtime may make no progress, and that a
    /// [`ChildContext::busy`](crate::ChildContext::busy) may last, from 100 ms; then the child logs where
    /// its threads are, aborts, and has failed. Neither an idle child nor a suspended machine counts as a
    /// hang. Default: unlimited.
    pub fn hang_timeout(self, timeout: impl OptionValue<Duration>) -> Self {
        self.set(&options::HANG_TIMEOUT, timeout)
    }

    /// The tokio runtime that an `async` serve function runs on, one in each child, as a
    /// [`Runtime`](crate::Runtime) or as `"current_thread"` (the default) or `"multi_thread"`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn runtime(self, runtime: impl OptionValue<crate::Runtime>) -> Self {
        self.set(&options::RUNTIME, runtime)
    }
}
