//! What the master notes for metrics beside what its supervisor counts. It goes on over an upgrade.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::logging;
use crate::protocol::MasterTotals;
use crate::supervisor::{ChangeResult, FleetTotals, Tally};

/// See the [module](self). The clones share it: the master's loop writes, and scrapes read. Neither keeps the lock for
/// longer than it takes to copy a few numbers.
#[derive(Debug, Clone)]
pub(crate) struct History {
    shared: Arc<Mutex<Notes>>,
}

#[derive(Debug)]
struct Notes {
    /// All but the log messages of this program.
    view: HistoryView,
    /// The reloads and upgrades that were done, and those that were not.
    seen: (u64, u64),
}

/// How the last reload or upgrade ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastChange {
    pub(super) at: SystemTime,
    pub(super) done: bool,
}

/// What it says at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HistoryView {
    pub(super) started_at: SystemTime,
    pub(super) last_change: Option<LastChange>,
    pub(super) log_dropped: u64,
    /// The CPU time of the children that have ended, by slot, also of slots that are gone: a slot that is added again
    /// goes on with its own.
    pub(super) ended_cpu: Vec<Duration>,
}

impl History {
    /// Of a master that starts.
    pub(crate) fn new() -> Self {
        Self::resume(MasterTotals::default(), &FleetTotals::default())
    }

    /// Of a master that goes on with what another program has left. The upgrade is the next change.
    pub(crate) fn resume(last: MasterTotals, fleet: &FleetTotals) -> Self {
        let MasterTotals { started_at, last_change, log_dropped, ended_cpu } = last;
        let started_at = SystemTime::UNIX_EPOCH + started_at.unwrap_or_else(whole_millis);
        let last_change = last_change.map(|(at, done)| LastChange { at: SystemTime::UNIX_EPOCH + at, done });
        let view = HistoryView { started_at, last_change, log_dropped, ended_cpu };
        Self { shared: Arc::new(Mutex::new(Notes { view, seen: changes(fleet) })) }
    }

    /// A child of the slot has ended, which had used so much CPU time.
    pub(crate) fn child_ended(&self, slot: usize, cpu: Duration) {
        let ended_cpu = &mut self.notes().view.ended_cpu;
        if ended_cpu.len() <= slot {
            ended_cpu.resize(slot + 1, Duration::ZERO);
        }
        ended_cpu[slot] = ended_cpu[slot].saturating_add(cpu);
    }

    /// Notes when a reload or an upgrade has ended since the last call.
    pub(crate) fn note_changes(&self, fleet: &FleetTotals) {
        let now = changes(fleet);
        let mut notes = self.notes();
        if now != notes.seen {
            let done = now.1 == notes.seen.1;
            notes.view.last_change = Some(LastChange { at: SystemTime::UNIX_EPOCH + whole_millis(), done });
            notes.seen = now;
        }
    }

    /// For the next program.
    pub(crate) fn passed(&self) -> MasterTotals {
        let HistoryView { started_at, last_change, log_dropped, ended_cpu } = self.view();
        MasterTotals {
            started_at: Some(since_epoch(started_at)),
            last_change: last_change.map(|LastChange { at, done }| (since_epoch(at), done)),
            log_dropped,
            ended_cpu,
        }
    }

    pub(in crate::master) fn started_at(&self) -> SystemTime {
        self.notes().view.started_at
    }

    pub(super) fn view(&self) -> HistoryView {
        let mut view = self.notes().view.clone();
        view.log_dropped = view.log_dropped.saturating_add(logging::dropped());
        view
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reloads and upgrades that were done, and those that were not. Superseded and cancelled ones do not count:
/// what took their place does.
fn changes(fleet: &FleetTotals) -> (u64, u64) {
    let both = |result| fleet.get(Tally::Reload(result)) + fleet.get(Tally::Upgrade(result));
    let not_done = [ChangeResult::Aborted, ChangeResult::Refused, ChangeResult::RolledBack];
    (both(ChangeResult::Done), not_done.map(both).into_iter().sum())
}

/// Now, in whole milliseconds as it is passed to the next program: a time that changed over an upgrade would be another
/// event.
fn whole_millis() -> Duration {
    let now = since_epoch(SystemTime::now());
    Duration::new(now.as_secs(), now.subsec_millis() * 1_000_000)
}

pub(in crate::master) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(names: &[(&str, u64)]) -> FleetTotals {
        let find = |wanted: &str| {
            let found = names.iter().find(|(name, _)| *name == wanted);
            Ok::<_, ()>(found.map(|(_, count)| *count))
        };
        FleetTotals::from_named(find).unwrap()
    }

    fn last_result(history: &History) -> Option<bool> {
        history.view().last_change.map(|last| last.done)
    }

    #[test]
    fn last_change_is_the_last_that_ended() {
        let history = History::new();
        history.note_changes(&totals(&[("start_start", 2), ("reload_superseded", 1)]));
        assert_eq!(last_result(&history), None);
        for (names, done) in [
            (&[("reload_done", 1)][..], true),
            (&[("reload_done", 1), ("upgrade_refused", 1)], false),
            (&[("reload_done", 1), ("upgrade_refused", 1), ("reload_cancelled", 1)], false),
            (&[("reload_done", 2), ("upgrade_refused", 1)], true),
            (&[("reload_done", 2), ("upgrade_refused", 1), ("reload_rolled_back", 1)], false),
        ] {
            history.note_changes(&totals(names));
            assert_eq!(last_result(&history), Some(done), "{names:?}");
        }
    }

    #[test]
    fn upgrade_goes_on_with_the_numbers_and_is_a_change() {
        let history = History::new();
        history.child_ended(2, Duration::from_micros(1_234_567));
        history.child_ended(2, Duration::from_micros(1));
        history.note_changes(&totals(&[("reload_aborted", 1)]));
        let before = totals(&[("reload_aborted", 1)]);
        let next = History::resume(history.passed(), &before);
        assert_eq!(next.passed(), history.passed());
        assert_eq!(next.view().ended_cpu, [0, 0, 1_234_568].map(Duration::from_micros));
        next.note_changes(&totals(&[("reload_aborted", 1), ("upgrade_done", 1)]));
        assert_eq!(last_result(&next), Some(true));
    }

    #[test]
    fn times_are_whole_milliseconds_which_an_upgrade_does_not_change() {
        let history = History::new();
        history.note_changes(&totals(&[("reload_done", 1)]));
        let view = history.view();
        for time in [view.started_at, view.last_change.unwrap().at] {
            assert_eq!(since_epoch(time).subsec_nanos() % 1_000_000, 0);
        }
    }

    #[test]
    fn older_program_tells_nothing() {
        let history = History::resume(MasterTotals::default(), &FleetTotals::default());
        assert!(history.view().started_at.elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(last_result(&history), None);
    }
}
