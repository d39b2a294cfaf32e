//! What has to hold after each volley: the fleet is complete, its master has what it had, and it has logged no
//! end of a child that nobody caused.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use prefork_tests::proc;
use prefork_tests::signal::Signal;

use crate::fleet::{BOUND, Fleet, Site};
use crate::inject::note_deaths;
use crate::journal::Journal;
use crate::status::{self, Status};

/// Beyond what the master had at first: a descriptor for each slot and its socket, and what is open for a moment.
const DESCRIPTORS_PER_SLOT: usize = 3;
const SPARE_DESCRIPTORS: usize = 3;
/// Memory that the allocator may keep.
const SPARE_KIB: u64 = 12 * 1024;
/// A master that does nothing needs no CPU time. In ticks of a hundredth of a second.
const SAMPLE: Duration = Duration::from_millis(300);
const BUSY_TICKS: u64 = 10;

/// The number of slots, as far as it is known: a signal that comes while another is pending is one signal, and
/// a grow can be undone.
#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) least: usize,
    pub(crate) most: usize,
    grows: bool,
}

impl Size {
    pub(crate) fn of(slots: usize) -> Self {
        Self { least: slots, most: slots, grows: false }
    }

    /// The signal for another size.
    pub(crate) fn resize(&mut self, certain: bool) -> Signal {
        self.grows = (!self.grows || self.most <= 3) && self.most < 6;
        match (self.grows, certain) {
            (true, true) => (self.least, self.most) = (self.least + 1, self.most + 1),
            (true, false) => self.most += 1,
            (false, true) => (self.least, self.most) = (self.least - 1, self.most - 1),
            (false, false) => self.least = self.least.saturating_sub(1).max(1),
        }
        if self.grows { Signal::SIGTTIN } else { Signal::SIGTTOU }
    }

    fn admits(&self, slots: usize) -> bool {
        (self.least..=self.most).contains(&slots)
    }
}

/// What the master had when its fleet was complete for the first time.
#[derive(Debug, Clone, Copy)]
struct Base {
    slots: usize,
    descriptors: usize,
    kib: u64,
}

/// The checks of one fleet.
#[derive(Debug)]
pub(crate) struct Checks {
    base: Option<Base>,
    /// The lines of the log that were checked.
    lines: usize,
    /// Whether children could end by themselves before they were ready, in this volley or the one before.
    may_fail: [bool; 2],
    volleys: u32,
    pub(crate) worst_descriptors: usize,
    pub(crate) worst_kib: u64,
    descriptors_of_template: Option<usize>,
}

impl Checks {
    pub(crate) fn new() -> Self {
        let may_fail = [false; 2];
        Self {
            base: None,
            lines: 0,
            may_fail,
            volleys: 0,
            worst_descriptors: 0,
            worst_kib: 0,
            descriptors_of_template: None,
        }
    }

    /// Checks a fleet after a volley. `may_fail`: children could fail before they were ready.
    pub(crate) fn check(
        &mut self,
        fleet: &mut Fleet,
        (site, journal): (&Site, &Journal),
        size: &mut Size,
        may_fail: bool,
    ) -> Result<(), String> {
        let slots = wait_until_complete(fleet, (site, journal), size)?;
        journal.note(format!("complete with {slots} slots"));
        *size = Size { grows: size.grows, ..Size::of(slots) };
        self.may_fail = [may_fail, self.may_fail[0]];
        self.check_log(fleet, journal);
        self.volleys += 1;
        self.check_resources(fleet, slots, journal);
        self.check_template(fleet, journal);
        Ok(())
    }

    /// Checks the lines that are new.
    pub(crate) fn check_log(&mut self, fleet: &Fleet, journal: &Journal) {
        let lines = fleet.log.since(self.lines);
        self.lines += lines.len();
        for line in lines {
            let doomed =
                pid_in(&line).is_some_and(|pid| journal.is_doomed(pid) || fleet.may_end.contains(&pid));
            let early = line.contains("before it was ready") && self.may_fail.contains(&true);
            // TERM ends a child that has not taken its handshake.
            let early = early || line.contains("before it was ready: signal 15 (SIGTERM)");
            let bad = line.contains("a bug in prefork")
                || (line.contains(") exited") && !doomed && !early)
                || (line.contains("killing it") && !doomed);
            if bad {
                journal.violation(format!("no fault explains the log line: {line}"));
            }
        }
    }

    /// A template has no descriptor more than the first one, and its link is its own.
    fn check_template(&mut self, fleet: &mut Fleet, journal: &Journal) {
        let Some(template) = fleet.templates().last().copied() else { return };
        let allowed = *self.descriptors_of_template.get_or_insert_with(|| proc::handle_count(template));
        if !holds(|| proc::handle_count(template) <= allowed) {
            let open = proc::descriptors(template);
            journal.violation(format!("the template has descriptors that the first one had not: {open:?}"));
        }
        let links = sockets(template);
        for child in fleet.children().into_iter().filter(|child| !sockets(*child).is_disjoint(&links)) {
            journal.violation(format!("child {child} has the link of template {template}: {links:?}"));
        }
    }

    fn check_resources(&mut self, fleet: &Fleet, slots: usize, journal: &Journal) {
        let master = fleet.master();
        let Some(base) = self.base else {
            self.base = Some(Base { slots, descriptors: proc::handle_count(master), kib: memory(master) });
            return;
        };
        let allowed =
            base.descriptors + SPARE_DESCRIPTORS + DESCRIPTORS_PER_SLOT * slots.saturating_sub(base.slots);
        let mut descriptors = 0;
        if !holds(|| {
            descriptors = proc::handle_count(master);
            descriptors <= allowed
        }) {
            let open = proc::descriptors(master);
            journal.violation(format!(
                "the master has {descriptors} descriptors with {slots} slots; it had {} with {}: {open:?}",
                base.descriptors, base.slots
            ));
        }
        self.worst_descriptors = self.worst_descriptors.max(descriptors);
        let kib = memory(master);
        self.worst_kib = self.worst_kib.max(kib);
        if kib > base.kib + SPARE_KIB {
            journal.violation(format!("the master has {kib} KiB of memory; it had {}", base.kib));
        }
        if self.volleys.is_multiple_of(4) && !holds(|| is_at_rest(master)) {
            journal.violation("the master uses CPU time although nothing happens".to_owned());
        }
    }
}

fn is_at_rest(master: u32) -> bool {
    let before = proc::cpu_ticks(master);
    // The CPU time of this period is what is measured.
    thread::sleep(SAMPLE);
    proc::cpu_ticks(master) - before < BUSY_TICKS
}

/// Whether the condition holds soon.
fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > Duration::from_secs(10) {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Waits until each slot has a child that serves, and there is no other child and no zombie. Returns the number
/// of slots.
fn wait_until_complete(
    fleet: &mut Fleet,
    (site, journal): (&Site, &Journal),
    size: &Size,
) -> Result<usize, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = fleet.has_ended() {
            return Err(format!("the fleet ended by itself, {status}: {:#?}", last_lines(fleet)));
        }
        note_deaths(journal);
        let status = status::ask(site.health);
        let children: BTreeSet<u32> = proc::children(fleet.master()).into_iter().collect();
        fleet.seen.extend(&children);
        if let Some(status) = &status
            && is_complete(status, &children, &fleet.templates_for(status.generations.len()))
            // One that hangs, for example, is replaced when it is noticed.
            && !children.iter().any(|child| journal.is_doomed(*child))
            && size.admits(status.slots)
        {
            return Ok(status.slots);
        }
        if start.elapsed() > BOUND {
            let states: Vec<_> = children.iter().map(|child| (*child, proc::state(*child))).collect();
            return Err(format!(
                "the fleet is not complete {BOUND:?} after a volley: {status:?}, children {states:?}, expected \
                 {size:?}; {:#?}",
                last_lines(fleet)
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_complete(status: &Status, processes: &BTreeSet<u32>, templates: &RangeInclusive<usize>) -> bool {
    status.state == "serving" && status.ready == status.slots && status.children.len() == status.slots
        && templates.contains(&status.templates.len()) && status.can_fork
        // Zombies are among the processes, and are not among the master's.
        && &status.children | &status.templates == *processes
}

fn last_lines(fleet: &Fleet) -> Vec<String> {
    fleet.log.since(fleet.log.len().saturating_sub(30))
}

fn memory(pid: u32) -> u64 {
    let size = proc::status_field(pid, "VmRSS").unwrap_or_default();
    size.trim_end_matches(" kB").parse().unwrap_or(0)
}

fn sockets(pid: u32) -> BTreeSet<String> {
    let targets = proc::descriptors(pid).into_iter().map(|(_, target)| target);
    targets.filter(|target| target.starts_with("socket:")).collect()
}

/// The pid in `child 3 (pid 4711) exited: …`.
fn pid_in(line: &str) -> Option<u32> {
    line.split_once("(pid ")?.1.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_is_found_in_a_line() {
        assert_eq!(pid_in("[prefork] child 3 (pid 4711) exited: signal 9 (SIGKILL)"), Some(4711));
        assert_eq!(pid_in("[prefork] stopped"), None);
    }

    #[test]
    fn size_stays_between_two_and_six() {
        let mut size = Size::of(4);
        for _ in 0..100 {
            size.resize(true);
            assert!((2..=6).contains(&size.most) && size.least == size.most);
        }
        size.resize(false);
        assert_eq!(size.most - size.least, 1);
    }
}
