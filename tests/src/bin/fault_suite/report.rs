//! What was injected, and how the requests ended.

use std::collections::BTreeMap;
use std::fmt;

use crate::oracle::Reason;

/// The figures of one mode.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// For each kind how often it was injected, and how often it could not be.
    faults: BTreeMap<String, (u64, u64)>,
    pub(crate) fleets: u64,
    /// Those whose children a template forks.
    pub(crate) preloading: u64,
    pub(crate) volleys: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) repeated: u64,
    pub(crate) slowest: u64,
    /// Failed requests by reason and the fault that explains them.
    explained: BTreeMap<(Reason, &'static str), u64>,
    pub(crate) unexplained: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) worst_descriptors: usize,
    pub(crate) worst_kib: u64,
    /// CPU time of the masters, in ticks of a hundredth of a second, and the time in milliseconds.
    pub(crate) master_ticks: u64,
    pub(crate) master_millis: u64,
}

impl Tally {
    pub(crate) fn injected(&mut self, name: &str, done: bool) {
        let counts = self.faults.entry(name.to_owned()).or_default();
        if done { counts.0 += 1 } else { counts.1 += 1 }
    }

    pub(crate) fn explained(&mut self, reason: Reason, how: &'static str) {
        *self.explained.entry((reason, how)).or_default() += 1;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.explained.values().sum::<u64>() + self.unexplained
    }

    pub(crate) fn passed(&self) -> bool {
        self.unexplained == 0 && self.violations.is_empty() && self.answered > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let injected: u64 = self.faults.values().map(|(done, _)| done).sum();
        let Self { volleys, fleets, preloading, .. } = self;
        writeln!(
            f,
            "  {injected:8} faults in {volleys} volleys, {fleets} fleets, {preloading} of them with a template"
        )?;
        for (name, (done, skipped)) in &self.faults {
            let skipped = if *skipped > 0 { format!(" ({skipped} not possible)") } else { String::new() };
            writeln!(f, "    {done:6} {name}{skipped}")?;
        }
        writeln!(f, "  {:8} requests sent", self.sent)?;
        writeln!(f, "  {:8} answered, the slowest after {} ms", self.answered, self.slowest)?;
        writeln!(f, "  {:8} sent again, because their idle connection was closed", self.repeated)?;
        writeln!(f, "  {:8} failed", self.failed())?;
        for ((reason, how), count) in &self.explained {
            writeln!(f, "    {count:6} {}: {how}", reason.name())?;
        }
        writeln!(f, "  {:8} unexplained", self.unexplained)?;
        writeln!(
            f,
            "  master: at most {} descriptors and {} KiB; CPU {:.1} %",
            self.worst_descriptors,
            self.worst_kib,
            self.master_ticks as f64 * 1000.0 / self.master_millis.max(1) as f64
        )?;
        writeln!(f, "  {:8} broken invariants", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "    {violation}"))
    }
}
