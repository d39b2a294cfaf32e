//! `/metrics`: the fleet's metrics, as Prometheus reads them.
//!
//! All of it runs in the thread of the health endpoint. The master's loop posts the fleet's state after each turn anyway;
//! a scrape wakes it not even once. Without a scrape nothing is read and no text is made.
//!
//! - `mod.rs`: the text, and how long it is used
//! - `fleet.rs`: the fleet's own metrics
//! - `program.rs`: those of the program, which are shared values
//! - `history.rs`: what the master notes for them
//! - `exposition.rs`: the format

mod exposition;
mod fleet;
mod history;
mod program;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use exposition::Exposition;
use fleet::{LivingUsage, SlotUsage, Sources};

use crate::listen::WatchedListeners;
use crate::shared;
use crate::supervisor::FleetStatus;
use crate::sys::{self, UsageReader};

pub(crate) use history::History;

/// A text is used again for this many times the time that it took, so that scrapes take at most a tenth of the thread,
/// however many clients there are.
const REUSE: u32 = 9;
/// But for no longer than this: a text may have taken long only because the process was stopped.
const LONGEST_REUSE: Duration = Duration::from_secs(1);
/// The most texts before the last one that clients may still be receiving. While there are so many, the last one is used
/// on, so that slow clients hold little memory, however many they are. A client has a deadline for its answer.
const OLDER_TEXTS: usize = 3;

/// The text of `/metrics`, and what it is made with.
#[derive(Debug)]
pub(super) struct MetricsPage {
    history: History,
    /// `None` where the system tells nothing of processes.
    reader: Option<UsageReader>,
    /// The CPU time that was told of each slot.
    told_cpu: Vec<Duration>,
    made: Option<Made>,
    /// Texts before that one, while clients receive them.
    older: Vec<Weak<str>>,
}

#[derive(Debug)]
struct Made {
    text: Arc<str>,
    usable_until: Instant,
}

impl MetricsPage {
    pub(super) fn new(history: History) -> Self {
        Self { history, reader: UsageReader::new().ok(), told_cpu: Vec::new(), made: None, older: Vec::new() }
    }

    /// The text, if it is recent enough, or too many others are still being sent.
    pub(super) fn recent(&mut self, now: Instant) -> Option<Arc<str>> {
        self.older.retain(is_used);
        let has_room = self.older.len() < OLDER_TEXTS;
        let recent = self.made.as_ref().filter(|made| now < made.usable_until || !has_room);
        recent.map(|made| Arc::clone(&made.text))
    }

    /// Makes the text.
    pub(super) fn make(
        &mut self,
        fleet: &FleetStatus,
        listeners: &[WatchedListeners],
        health_connections: usize,
    ) -> Arc<str> {
        let start = Instant::now();
        let history = self.history.view();
        let slots = self.read_slots(fleet, &history.ended_cpu);
        let values = shared::collect();
        let queues: Vec<_> = listeners.iter().map(WatchedListeners::queues).collect();
        let last_size = self.made.as_ref().map_or(0, |made| made.text.len());
        let mut out = Exposition::with_capacity(last_size + 1024);
        let sources = Sources {
            fleet,
            history: &history,
            queues: &queues,
            slots: &slots,
            master: self.reader.as_mut().and_then(UsageReader::of_this_process),
            dropped: sys::dropped_connections(),
            shared: shared::has_region(),
            unshared: values.unplaced,
            health_connections,
        };
        fleet::write_fleet(&mut out, &sources);
        program::write_program(&mut out, &values);
        let text: Arc<str> = out.into_text().into();
        let end = Instant::now();
        let usable_until = end + ((end - start) * REUSE).min(LONGEST_REUSE);
        let last = self.made.replace(Made { text: Arc::clone(&text), usable_until });
        let last = last.map(|made| Arc::downgrade(&made.text));
        self.older.extend(last.filter(is_used));
        text
    }

    /// The usage of each slot. A slot that is being replaced has two children, whose usage is added: the one that
    /// drains uses what it uses.
    fn read_slots(&mut self, fleet: &FleetStatus, ended_cpu: &[Duration]) -> Vec<SlotUsage> {
        let Some(reader) = &mut self.reader else { return Vec::new() };
        let count = fleet.children.iter().map(|child| child.slot + 1).max().unwrap_or(0).max(fleet.slots);
        let mut slots: Vec<SlotUsage> = (0..count)
            .map(|slot| SlotUsage {
                slot,
                cpu: ended_cpu.get(slot).copied().unwrap_or_default(),
                living: None,
            })
            .collect();
        // In the order of their start: the last one is the newest.
        for child in &fleet.children {
            // Without children, the serve function runs in this process.
            let is_here = child.pid == std::process::id();
            let usage = if is_here { reader.of_this_process() } else { reader.of_child(child.pid) };
            let Some(usage) = usage else { continue };
            let slot = &mut slots[child.slot];
            slot.cpu += usage.cpu;
            let before = slot.living;
            slot.living = Some(LivingUsage {
                resident: before.map_or(0, |living| living.resident) + usage.resident,
                open_files: add(before.map(|living| living.open_files), usage.open_files),
                started_at: usage.started_at,
            });
        }
        slots.retain(|usage| usage.slot < fleet.slots || usage.living.is_some());
        self.keep_cpu_from_shrinking(&mut slots);
        slots
    }

    /// A child that was reaped a moment ago may not be in the history yet. A counter that shrinks would count as
    /// started anew.
    fn keep_cpu_from_shrinking(&mut self, slots: &mut [SlotUsage]) {
        for usage in slots {
            if self.told_cpu.len() <= usage.slot {
                self.told_cpu.resize(usage.slot + 1, Duration::ZERO);
            }
            let told = &mut self.told_cpu[usage.slot];
            usage.cpu = usage.cpu.max(*told);
            *told = usage.cpu;
        }
    }
}

/// Whether a client is still receiving the text.
fn is_used(text: &Weak<str>) -> bool {
    text.strong_count() > 0
}

/// The sum, if all of it is known.
fn add(before: Option<Option<u64>>, more: Option<u64>) -> Option<u64> {
    Some(before.unwrap_or(Some(0))? + more?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{ChildState, ChildStatus, FleetState};

    pub(super) fn child(slot: usize, state: ChildState) -> ChildStatus {
        ChildStatus { slot, pid: u32::MAX, generation: 0, state }
    }

    /// A fleet with two slots.
    pub(super) fn status(children: &[ChildStatus]) -> FleetStatus {
        FleetStatus {
            state: FleetState::Serving,
            slots: 2,
            ready: children.iter().filter(|child| child.state == ChildState::Ready).count(),
            children: children.to_vec(),
            ..FleetStatus::without_children(FleetState::Serving)
        }
    }

    #[test]
    fn cpu_time_of_a_slot_never_shrinks() {
        let mut page = MetricsPage::new(History::new());
        let fleet = status(&[child(0, ChildState::Ready)]);
        let seconds = |numbers: &[u64]| -> Vec<Duration> {
            numbers.iter().map(|number| Duration::from_secs(*number)).collect()
        };
        let mut told = |ended: &[u64]| {
            let slots = page.read_slots(&fleet, &seconds(ended));
            slots.iter().map(|usage| usage.cpu.as_secs()).collect::<Vec<u64>>()
        };
        if UsageReader::new().is_err() {
            return;
        }
        assert_eq!(told(&[3, 4]), [3, 4]);
        assert_eq!(told(&[2, 5, 9]), [3, 5]);
        assert_eq!(told(&[4, 5]), [4, 5]);
    }

    #[test]
    fn text_is_used_again_for_a_while() {
        let mut page = MetricsPage::new(History::new());
        assert!(page.recent(Instant::now()).is_none());
        let text = page.make(&status(&[]), &[], 0);
        let made = page.made.as_ref().unwrap();
        let (last, end) =
            (made.usable_until.checked_sub(Duration::from_nanos(1)).unwrap(), made.usable_until);
        assert!(page.recent(last).is_some_and(|recent| Arc::ptr_eq(&recent, &text)));
        assert!(page.recent(end).is_none());
    }

    #[test]
    fn texts_that_slow_clients_receive_are_few() {
        let mut page = MetricsPage::new(History::new());
        let later = || Instant::now() + Duration::from_secs(3600);
        let mut ask = || page.recent(later()).unwrap_or_else(|| page.make(&status(&[]), &[], 0));
        let mut held: Vec<Arc<str>> = (0..100).map(|_| ask()).collect();
        let last = held[99].clone();
        assert!(held[OLDER_TEXTS..].iter().all(|text| Arc::ptr_eq(text, &last)));
        held.dedup_by(|one, other| Arc::ptr_eq(one, other));
        assert_eq!(held.len(), OLDER_TEXTS + 1);
        held.remove(0);
        assert!(!Arc::ptr_eq(&ask(), &last));
        drop((held, last));
        ask();
        assert!(page.older.is_empty());
    }

    #[test]
    fn sum_with_something_unknown_is_unknown() {
        assert_eq!(add(None, Some(2)), Some(2));
        assert_eq!(add(Some(Some(1)), Some(2)), Some(3));
        assert_eq!(add(Some(None), Some(2)), None);
        assert_eq!(add(Some(Some(1)), None), None);
    }
}
