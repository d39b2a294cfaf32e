//! What a fleet has counted in its life. An upgrade hands the numbers to the next program.

use super::RecycleReason;

/// Why a child was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartReason {
    /// It is the first of its slot, and the fleet starts.
    Start,
    /// It is the first of a slot that was added.
    Scale,
    /// The child before it exited without being asked to stop.
    Recover,
    /// Every child is replaced.
    Reload,
    /// A reload is rolled back.
    Rollback,
    /// The child before it reached a limit, or asked for its replacement.
    Recycle,
    /// It checks another program, is its trial child, or the first of a slot that the upgrade found empty.
    Upgrade,
}

/// How a child failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// No process could be started.
    Spawn,
    /// It was not ready in time.
    StartTimeout,
    /// It exited with status 0, before it was ready or right after.
    EarlyExit,
    /// It exited with another status.
    Status,
    /// A signal ended it.
    Signal,
    /// Its watchdog ended it.
    Hang,
    /// It closed or abused its link to the master, or never took the handshake.
    Link,
}

/// How a reload or an upgrade ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeResult {
    Done,
    /// A new child failed, or the new program could not be executed.
    Aborted,
    /// It never began: a certificate or the program could not be read.
    Refused,
    /// Another reload or upgrade took its place.
    Superseded,
    /// The fleet began to stop.
    Cancelled,
    /// The generation before was restored: a new child failed, or it was asked for. Reloads only.
    RolledBack,
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tally {
    Start(StartReason),
    /// A failure; `ready` if the child had been.
    Failure {
        kind: FailureCause,
        ready: bool,
    },
    /// A child was killed because it did not stop within the grace.
    StopTimeout,
    /// A child was chosen for its replacement.
    Recycle(RecycleReason),
    Reload(ChangeResult),
    Upgrade(ChangeResult),
}

const fn failure(kind: FailureCause, ready: bool) -> Tally {
    Tally::Failure { kind, ready }
}

impl Tally {
    /// All that can occur, with the name by which another program knows it.
    const NAMED: [(Tally, &'static str); 36] = [
        (Tally::Start(StartReason::Start), "start_start"),
        (Tally::Start(StartReason::Scale), "start_scale"),
        (Tally::Start(StartReason::Recover), "start_recover"),
        (Tally::Start(StartReason::Reload), "start_reload"),
        (Tally::Start(StartReason::Rollback), "start_rollback"),
        (Tally::Start(StartReason::Recycle), "start_recycle"),
        (Tally::Start(StartReason::Upgrade), "start_upgrade"),
        (failure(FailureCause::Spawn, false), "failure_spawn"),
        (failure(FailureCause::StartTimeout, false), "failure_start_timeout"),
        (failure(FailureCause::EarlyExit, false), "failure_early_exit_starting"),
        (failure(FailureCause::Status, false), "failure_status_starting"),
        (failure(FailureCause::Signal, false), "failure_signal_starting"),
        (failure(FailureCause::Hang, false), "failure_hang_starting"),
        (failure(FailureCause::Link, false), "failure_link_starting"),
        (failure(FailureCause::EarlyExit, true), "failure_early_exit_ready"),
        (failure(FailureCause::Status, true), "failure_status_ready"),
        (failure(FailureCause::Signal, true), "failure_signal_ready"),
        (failure(FailureCause::Hang, true), "failure_hang_ready"),
        (failure(FailureCause::Link, true), "failure_link_ready"),
        (Tally::StopTimeout, "stop_timeout"),
        (Tally::Recycle(RecycleReason::Lifetime), "recycle_lifetime"),
        (Tally::Recycle(RecycleReason::Size), "recycle_size"),
        (Tally::Recycle(RecycleReason::Retired), "recycle_retired"),
        (Tally::Recycle(RecycleReason::Signalled), "recycle_signalled"),
        (Tally::Recycle(RecycleReason::Operator), "recycle_operator"),
        (Tally::Reload(ChangeResult::Done), "reload_done"),
        (Tally::Reload(ChangeResult::Aborted), "reload_aborted"),
        (Tally::Reload(ChangeResult::Refused), "reload_refused"),
        (Tally::Reload(ChangeResult::Superseded), "reload_superseded"),
        (Tally::Reload(ChangeResult::Cancelled), "reload_cancelled"),
        (Tally::Reload(ChangeResult::RolledBack), "reload_rolled_back"),
        (Tally::Upgrade(ChangeResult::Done), "upgrade_done"),
        (Tally::Upgrade(ChangeResult::Aborted), "upgrade_aborted"),
        (Tally::Upgrade(ChangeResult::Refused), "upgrade_refused"),
        (Tally::Upgrade(ChangeResult::Superseded), "upgrade_superseded"),
        (Tally::Upgrade(ChangeResult::Cancelled), "upgrade_cancelled"),
    ];

    /// Its place in [`NAMED`](Self::NAMED); `None` for what cannot occur.
    fn place(self) -> Option<usize> {
        Self::NAMED.iter().position(|(tally, _)| *tally == self)
    }
}

/// The numbers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FleetTotals {
    counts: [u64; Tally::NAMED.len()],
}

impl Default for FleetTotals {
    fn default() -> Self {
        Self { counts: [0; Tally::NAMED.len()] }
    }
}

impl FleetTotals {
    /// Counts one more.
    pub(super) fn count(&mut self, tally: Tally) {
        let place = tally.place();
        debug_assert!(place.is_some(), "{tally:?} is not in the list");
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn get(&self, tally: Tally) -> u64 {
        tally.place().map_or(0, |place| self.counts[place])
    }

    /// Everything that can occur, and how often it has.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Tally, u64)> {
        Tally::NAMED.iter().zip(self.counts).map(|((tally, _), count)| (*tally, count))
    }

    /// The numbers with their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Tally::NAMED.iter().zip(self.counts).map(|((_, name), count)| (*name, count))
    }

    /// The numbers that another program has counted; 0 where it has none of the name.
    pub(crate) fn from_named<E>(find: impl Fn(&str) -> Result<Option<u64>, E>) -> Result<Self, E> {
        let mut totals = Self::default();
        for ((_, name), count) in Tally::NAMED.iter().zip(&mut totals.counts) {
            *count = find(name)?.unwrap_or_default();
        }
        Ok(totals)
    }
}
