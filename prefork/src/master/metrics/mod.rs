//! `/metrics`: the fleet's metrics, as Prometheus reads them.
//!
//! All of it runs in the thread of the health endpoint. The master's loop posts the fleet's state anyway; a scrape does
//! not wake it. Without a scrape nothing is read and no text is made.
//!
//! - `mod.rs`: the text, and how long it is used
//! - `fleet.rs`: the fleet's own metrics
//! - `program.rs`: those of the program, which are shared values
//! - `usage.rs`: what processes use
//! - `history.rs`: what the master notes for them
//! - `exposition.rs`: the format

mod exposition;
mod fleet;
mod history;
mod program;
mod usage;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use exposition::Exposition;
use fleet::Sources;

use super::templates::TemplateStatus;
use crate::listen::WatchedListeners;
use crate::shared;
use crate::supervisor::FleetStatus;
use crate::sys;

pub(crate) use history::History;
pub(super) use history::since_epoch;
pub(super) use usage::ProcessUsages;

/// What was read is used again for this many times the time that it took, so that clients take at most a tenth of the
/// thread, however many there are.
const REUSE: u32 = 9;
/// But for no longer than this: it may have taken long only because the process was stopped.
const LONGEST_REUSE: Duration = Duration::from_secs(1);
/// The most texts before the last one that clients may still be receiving. While there are so many, the last one is
/// used on, so that slow clients hold little memory, however many they are. A client has a deadline for its answer.
const OLDER_TEXTS: usize = 3;

/// The text of `/metrics`, and what it is made with.
#[derive(Debug)]
pub(super) struct MetricsPage {
    history: History,
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
        Self { history, made: None, older: Vec::new() }
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
        templates: &[TemplateStatus],
        listeners: &[WatchedListeners],
        health_connections: usize,
        usages: &mut ProcessUsages,
    ) -> Arc<str> {
        let start = Instant::now();
        let history = self.history.view();
        let slots = usages.of_slots(start, fleet, templates, &history.ended_cpu);
        let values = shared::collect();
        let queues: Vec<_> = listeners.iter().map(WatchedListeners::queues).collect();
        let last_size = self.made.as_ref().map_or(0, |made| made.text.len());
        let mut out = Exposition::with_capacity(last_size + 1024);
        let sources = Sources {
            fleet,
            templates,
            template_resident: usages.resident_of_templates(templates),
            history: &history,
            queues: &queues,
            slots: &slots,
            master: usages.of_this_process(),
            dropped: sys::dropped_connections(),
            shared: shared::has_region(),
            unplaced: values.unplaced,
            health_connections,
        };
        fleet::write_fleet(&mut out, &sources);
        program::write_program(&mut out, &values);
        let text: Arc<str> = out.into_text().into();
        let end = Instant::now();
        let usable_until = end + reuse_of(end - start);
        let last = self.made.replace(Made { text: Arc::clone(&text), usable_until });
        let last = last.map(|made| Arc::downgrade(&made.text));
        self.older.extend(last.filter(is_used));
        text
    }
}

/// How long something is used again that took this time.
pub(super) fn reuse_of(took: Duration) -> Duration {
    (took * REUSE).min(LONGEST_REUSE)
}

/// Whether a client is still receiving the text.
fn is_used(text: &Weak<str>) -> bool {
    text.strong_count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{ChildState, ChildStatus, FleetState};

    pub(super) fn child(slot: usize, state: ChildState) -> ChildStatus {
        ChildStatus { slot, pid: u32::MAX, generation: 0, state, leader: false }
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
    fn text_is_used_again_for_a_while() {
        let mut page = MetricsPage::new(History::new());
        assert!(page.recent(Instant::now()).is_none());
        let text = page.make(&status(&[]), &[], &[], 0, &mut ProcessUsages::new());
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
        let mut usages = ProcessUsages::new();
        let mut ask =
            || page.recent(later()).unwrap_or_else(|| page.make(&status(&[]), &[], &[], 0, &mut usages));
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
}
