//! The memory of a forked child that counts for `max_rss`: what it does not share with its template and with the other
//! children.
//!
//! Resident memory has what the template has loaded in each child. Private memory does not; but it also grows where the
//! others end or give pages up: what was shared is then this child's alone, although it has done nothing. A child that
//! serves on after its template and its siblings were killed would be replaced as too large.
//!
//! Such pages are told from its own by how they have come. A page becomes private because the child writes to it, which
//! is a page fault each time, or because the child takes new memory, which makes it larger and is a fault at least. So
//! private memory that is more than both together was shared before. It is compared between one look and the next: a
//! busy child has many faults over the hours, and few in two seconds beside the whole of what was loaded.
//!
//! Both bounds are generous, because a new page counts in both, and so does one that was only read. So part of what was
//! shared may count nevertheless, as all of it would without this. Too little counts only where a child gives back what
//! was loaded and takes as much in huge pages, between two looks: at most as much as was loaded.

use std::io;

use crate::sys::{self, OwnMemory};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct OwnSize {
    last: OwnMemory,
    /// The private memory that was shared before.
    left_over: u64,
}

impl OwnSize {
    /// At the fork, when all is shared.
    pub(super) fn at_fork() -> Self {
        let resident = sys::resident_bytes().unwrap_or_default();
        Self { last: OwnMemory { resident, ..OwnMemory::default() }, left_over: 0 }
    }

    pub(super) fn read(&mut self) -> io::Result<u64> {
        Ok(self.of(sys::own_memory()?))
    }

    fn of(&mut self, now: OwnMemory) -> u64 {
        let last = std::mem::replace(&mut self.last, now);
        let more = now.private.saturating_sub(last.private);
        let new = now.resident.saturating_sub(last.resident);
        let touched = now.faulted.saturating_sub(last.faulted);
        self.left_over += more.saturating_sub(new).saturating_sub(touched);
        self.left_over = self.left_over.min(now.private);
        now.private - self.left_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn memory(resident: u64, private: u64, faulted: u64) -> OwnMemory {
        OwnMemory { resident: resident * MB, private: private * MB, faulted: faulted * MB }
    }

    /// A child that has 200 MB of its template.
    fn forked() -> OwnSize {
        OwnSize { last: memory(200, 0, 0), left_over: 0 }
    }

    #[test]
    fn what_a_child_writes_to_and_what_it_takes_counts() {
        let mut size = forked();
        assert_eq!(size.of(memory(200, 10, 10)), 10 * MB, "written to");
        assert_eq!(size.of(memory(230, 40, 40)), 40 * MB, "taken");
        assert_eq!(size.of(memory(294, 104, 41)), 104 * MB, "taken in huge pages");
        assert_eq!(size.of(memory(210, 20, 41)), 20 * MB, "given back");
    }

    #[test]
    fn what_others_leave_to_a_child_does_not_count() {
        let mut size = forked();
        size.of(memory(210, 10, 10));
        assert_eq!(size.of(memory(210, 210, 10)), 10 * MB);
        assert_eq!(size.of(memory(230, 230, 30)), 30 * MB, "more of its own");
        assert_eq!(size.of(memory(30, 30, 30)), 0, "it gives back what was shared: too little counts");
        assert_eq!(size.of(memory(90, 90, 90)), 60 * MB);
    }

    #[test]
    fn many_faults_of_earlier_looks_hide_nothing() {
        let mut size = forked();
        for look in 1..1000 {
            assert_eq!(size.of(memory(205, 5, look * 50)), 5 * MB);
        }
        assert_eq!(size.of(memory(205, 205, 1000 * 50)), 55 * MB);
    }

    #[test]
    fn pages_of_this_process_are_found_in_both_bounds() {
        let Ok(before) = sys::own_memory() else { return };
        let taken = std::hint::black_box(vec![1_u8; 128 << 20]);
        let after = sys::own_memory().unwrap();
        assert!(after.private >= before.private + 64 * MB, "{before:?} {after:?}");
        assert!(after.resident >= before.resident + 64 * MB, "{before:?} {after:?}");
        assert!(after.faulted > before.faulted, "{before:?} {after:?}");
        drop(taken);
    }
}
