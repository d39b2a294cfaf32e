//! What the processes of the fleet use, for `/metrics` and `/status`. What was read a moment ago for either is used
//! again for both.
//!
//! When they are read, the CPU time of each process is, by a clock. All else takes 10 us for a process, and is read anew for
//! some of them, in turns: a scrape of a large fleet must not take long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::templates::TemplateStatus;
use super::fleet::{LivingUsage, SlotUsage};
use super::reuse_of;
use crate::supervisor::FleetStatus;
use crate::sys::{CpuClock, ProcessUsage, UsageReader};

/// The processes whose usage is read anew at a scrape, beside new ones. All of them, if there are no more.
const TURN: usize = 32;
/// The time for private memory at a scrape: the kernel looks at each page, which takes 0.5 ms for 200 MB.
const PRIVATE_TURN: Duration = Duration::from_millis(10);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::master) struct ProcessUsages {
    /// `None` where the system tells nothing of processes.
    reader: Option<UsageReader>,
    /// What was read last, by pid.
    readings: BTreeMap<u32, Reading>,
    usable_until: Instant,
    /// How much was read so far.
    count: u64,
    /// The CPU time that was told of each slot.
    told_cpu: Vec<Duration>,
    /// The private memory of children that share what a template has loaded, by pid, with the number of its reading.
    private: BTreeMap<u32, (u64, Option<u64>)>,
}

#[derive(Debug)]
struct Reading {
    usage: ProcessUsage,
    /// Readings are numbered.
    number: u64,
    /// `None` where there is none.
    clock: Option<CpuClock>,
    /// The CPU time that the clock does not have: of processes that the child has waited for.
    beside_clock: Duration,
}

impl ProcessUsages {
    pub(in crate::master) fn new() -> Self {
        let reader = UsageReader::new().ok();
        let (readings, usable_until) = (BTreeMap::new(), Instant::now());
        Self { reader, readings, usable_until, count: 0, told_cpu: Vec::new(), private: BTreeMap::new() }
    }

    /// The usage of this process, without its children.
    pub(super) fn of_this_process(&mut self) -> Option<ProcessUsage> {
        self.reader.as_mut()?.of_this_process()
    }

    /// The usage of each slot. A slot that is being replaced has two children, whose usage is added: the one that
    /// drains uses what it uses. `ended_cpu` is the CPU time of the children that have ended, by slot.
    pub(super) fn of_slots(
        &mut self,
        now: Instant,
        fleet: &FleetStatus,
        templates: &[TemplateStatus],
        ended_cpu: &[Duration],
    ) -> Vec<SlotUsage> {
        if self.reader.is_none() {
            return Vec::new();
        }
        self.update(now, fleet, templates);
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
            let private = self.private_of(child.pid);
            self.of_process(child.pid).into_iter().for_each(|usage| slots[child.slot].add(usage, private));
        }
        slots.retain(|usage| usage.slot < fleet.slots || usage.living.is_some());
        self.keep_cpu_from_shrinking(&mut slots);
        slots
    }

    /// Reads what children and templates use that have not ended, unless that was done a moment ago.
    pub(in crate::master) fn update(
        &mut self,
        now: Instant,
        fleet: &FleetStatus,
        templates: &[TemplateStatus],
    ) {
        let children = fleet.children.iter().map(|child| child.pid);
        let pids: Vec<u32> = children.chain(templates.iter().filter_map(|template| template.pid)).collect();
        if now < self.usable_until && pids.iter().all(|pid| self.readings.contains_key(pid)) {
            return;
        }
        let start = Instant::now();
        self.read(&pids);
        let forked = if templates.is_empty() { 0 } else { fleet.children.len() };
        self.read_private(&pids[..forked]);
        self.usable_until = now + reuse_of(start.elapsed());
    }

    /// What a child or a template uses, as it was read last.
    pub(in crate::master) fn of_process(&self, pid: u32) -> Option<&ProcessUsage> {
        self.readings.get(&pid).map(|reading| &reading.usage)
    }

    /// What of a child's resident memory no other process has, as it was read last.
    pub(in crate::master) fn private_of(&self, pid: u32) -> Option<u64> {
        self.private.get(&pid)?.1
    }

    /// The resident memory of the templates together, as it was read last; `None` if nothing is known of any.
    pub(super) fn resident_of_templates(&self, templates: &[TemplateStatus]) -> Option<u64> {
        let pids = templates.iter().filter_map(|template| template.pid);
        let known = pids.filter_map(|pid| self.of_process(pid)).map(|usage| usage.resident);
        known.reduce(|one, other| one + other)
    }

    fn read(&mut self, pids: &[u32]) {
        let mut last = std::mem::take(&mut self.readings);
        let mut numbers: Vec<u64> = last.values().map(|reading| reading.number).collect();
        // The number of the first reading that is not read anew.
        let kept_from = (numbers.len() > TURN).then(|| *numbers.select_nth_unstable(TURN).1);
        for pid in pids {
            let kept =
                last.remove(pid).filter(|reading| kept_from.is_some_and(|from| reading.number >= from));
            if let Some(reading) = kept.and_then(Reading::at_present).or_else(|| self.read_anew(*pid)) {
                self.readings.insert(*pid, reading);
            }
        }
    }

    /// Reads the private memory of children: of the one that was read least recently first, and of as many as the time
    /// is enough for.
    fn read_private(&mut self, pids: &[u32]) {
        let Some(reader) = self.reader.as_mut() else { return };
        let living: BTreeSet<u32> = pids.iter().copied().collect();
        self.private.retain(|pid, _| living.contains(pid));
        let mut turn = pids.to_vec();
        turn.sort_by_key(|pid| self.private.get(pid).map(|(number, _)| *number));
        let start = Instant::now();
        for pid in turn {
            self.count += 1;
            self.private.insert(pid, (self.count, reader.private_bytes_of(pid)));
            if start.elapsed() >= PRIVATE_TURN {
                break;
            }
        }
    }

    fn read_anew(&mut self, pid: u32) -> Option<Reading> {
        let reader = self.reader.as_mut()?;
        // Without children, the serve function runs in this process.
        let is_here = pid == std::process::id();
        let usage = if is_here { reader.of_this_process() } else { reader.of_child(pid) }?;
        let clock = CpuClock::of(pid);
        let by_clock = clock.as_ref().and_then(CpuClock::now).unwrap_or_default();
        self.count += 1;
        let beside_clock = usage.cpu.saturating_sub(by_clock);
        Some(Reading { usage, number: self.count, clock, beside_clock })
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

impl Reading {
    /// With the CPU time of this moment. `None` if it is not known, or is that of a later process with this pid.
    fn at_present(mut self) -> Option<Self> {
        let cpu = self.clock.as_ref()?.now()? + self.beside_clock;
        if cpu < self.usage.cpu {
            return None;
        }
        self.usage.cpu = cpu;
        Some(self)
    }
}

impl SlotUsage {
    fn add(&mut self, child: &ProcessUsage, private: Option<u64>) {
        let ProcessUsage { cpu, resident, started_at, open_files } = *child;
        self.cpu += cpu;
        let living = match self.living {
            None => LivingUsage { resident, private, open_files, started_at },
            // A sum with something unknown is unknown.
            Some(before) => LivingUsage {
                resident: before.resident + resident,
                private: before.private.zip(private).map(|(before, more)| before + more),
                open_files: before.open_files.zip(open_files).map(|(before, more)| before + more),
                started_at,
            },
        };
        self.living = Some(living);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::tests::{child, status};
    use super::*;
    use crate::supervisor::ChildState;

    #[test]
    fn cpu_time_of_a_slot_never_shrinks() {
        let mut usages = ProcessUsages::new();
        let fleet = status(&[child(0, ChildState::Ready)]);
        let seconds = |numbers: &[u64]| -> Vec<Duration> {
            numbers.iter().map(|number| Duration::from_secs(*number)).collect()
        };
        let mut told = |ended: &[u64]| {
            let slots = usages.of_slots(Instant::now(), &fleet, &[], &seconds(ended));
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
    fn usage_of_two_children_is_added_and_with_something_unknown_it_is_unknown() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let usage = |seconds, open_files| ProcessUsage {
            cpu: Duration::from_secs(seconds),
            resident: 10 * seconds,
            started_at: at(seconds),
            open_files,
        };
        let mut slot = SlotUsage { slot: 0, cpu: Duration::from_secs(5), living: None };
        slot.add(&usage(1, Some(2)), Some(1));
        slot.add(&usage(2, Some(3)), Some(2));
        assert_eq!(slot.cpu, Duration::from_secs(8));
        let living = LivingUsage { resident: 30, private: Some(3), open_files: Some(5), started_at: at(2) };
        assert_eq!(slot.living, Some(living));
        slot.add(&usage(3, None), Some(4));
        assert_eq!(slot.living.unwrap().open_files, None);
        slot.add(&usage(4, Some(1)), None);
        assert_eq!((slot.living.unwrap().open_files, slot.living.unwrap().private), (None, None));
    }

    #[test]
    fn cpu_time_is_read_each_time() {
        let mut usages = ProcessUsages::new();
        let Some(mut reading) = usages.read_anew(std::process::id()) else { return };
        if reading.clock.is_none() {
            return;
        }
        let before = reading.usage.cpu;
        while reading.usage.cpu <= before {
            std::hint::black_box((0..100_000).sum::<u64>());
            reading = reading.at_present().unwrap();
        }
        reading.usage.cpu += Duration::from_secs(1000);
        assert!(reading.at_present().is_none(), "that of another process");
    }

    #[cfg(target_os = "linux")]
    mod with_processes {
        use std::process::{Child, Command};

        use super::*;
        use crate::supervisor::ChildStatus;

        /// Processes that end with the test.
        struct Sleepers(Vec<Child>);

        impl Sleepers {
            fn start(&mut self, count: usize) {
                let start = |_| Command::new("sleep").arg("3600").spawn().unwrap();
                self.0.extend((0..count).map(start));
            }

            fn pids(&self) -> Vec<u32> {
                self.0.iter().map(Child::id).collect()
            }

            fn children(&self) -> Vec<ChildStatus> {
                let child = |(slot, process): (usize, &Child)| ChildStatus {
                    pid: process.id(),
                    ..child(slot, ChildState::Ready)
                };
                self.0.iter().enumerate().map(child).collect()
            }
        }

        impl Drop for Sleepers {
            fn drop(&mut self) {
                for process in &mut self.0 {
                    process.kill().unwrap();
                    process.wait().unwrap();
                }
            }
        }

        #[test]
        fn children_are_read_anew_in_turns() {
            let mut usages = ProcessUsages::new();
            let mut sleepers = Sleepers(Vec::new());
            let mut counts = Vec::new();
            for more in [TURN, 0, TURN / 2, 0, 0, 0] {
                sleepers.start(more);
                let before = usages.count;
                usages.read(&sleepers.pids());
                assert_eq!(usages.readings.len(), sleepers.0.len());
                counts.push(usages.count - before);
            }
            let turn = TURN as u64;
            assert_eq!(counts, [turn, turn, turn + turn / 2, turn, turn, turn]);
            let mut numbers: Vec<u64> = usages.readings.values().map(|reading| reading.number).collect();
            numbers.sort_unstable();
            // The last ones, without a gap: each child has had its turn.
            assert_eq!(numbers.last().unwrap() - numbers[0] + 1, numbers.len() as u64);
        }

        #[test]
        fn what_was_read_of_known_children_is_used_again_for_a_moment() {
            let mut usages = ProcessUsages::new();
            let mut sleepers = Sleepers(Vec::new());
            sleepers.start(2);
            let children = sleepers.children();
            let now = Instant::now();
            usages.update(now, &status(&children[..1]), &[]);
            let end = usages.usable_until;
            let last = end.checked_sub(Duration::from_nanos(1)).unwrap();
            usages.update(last, &status(&children[..1]), &[]);
            assert_eq!(usages.count, 1);
            usages.update(last, &status(&children), &[]);
            assert_eq!(usages.count, 3, "one of them is new");
            let fleet = status(&children);
            usages.of_slots(now, &fleet, &[], &[]);
            assert_eq!(usages.count, 3);
            usages.of_slots(usages.usable_until, &fleet, &[], &[]);
            assert_eq!(usages.count, 5);
        }

        #[test]
        fn private_memory_is_read_of_children_that_were_forked_and_of_each_in_its_turn() {
            let mut usages = ProcessUsages::new();
            let mut sleepers = Sleepers(Vec::new());
            sleepers.start(2);
            let (children, pids, now) = (sleepers.children(), sleepers.pids(), Instant::now());
            usages.update(now, &status(&children), &[]);
            assert_eq!(usages.private_of(pids[0]), None);
            usages.read_private(&pids);
            assert!(pids.iter().all(|pid| usages.private_of(*pid).is_some_and(|bytes| bytes > 0)));
            let number = |usages: &ProcessUsages, pid: u32| usages.private[&pid].0;
            usages.private.get_mut(&pids[0]).unwrap().0 = u64::MAX;
            usages.read_private(&pids);
            assert!(number(&usages, pids[1]) < number(&usages, pids[0]), "the other one was read before");
            usages.read_private(&pids[..1]);
            assert_eq!(usages.private_of(pids[1]), None);
        }

        #[test]
        fn child_that_has_ended_is_forgotten() {
            let mut usages = ProcessUsages::new();
            let mut sleepers = Sleepers(Vec::new());
            sleepers.start(TURN + 1);
            let pids = sleepers.pids();
            usages.read(&pids);
            for process in &mut sleepers.0 {
                process.kill().unwrap();
                process.wait().unwrap();
            }
            sleepers.0.clear();
            usages.read(&pids);
            assert!(usages.readings.is_empty());
        }
    }
}
