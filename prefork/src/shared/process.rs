//! The values of this process: where each of them counts.
//!
//! At first that is memory of the process's own, because a value can be used before there is a region, and in
//! processes that have none. Once the process has a lane, its values move there: [`Process::attach`] announces the
//! lane and then takes what each private cell holds. A thread that counts in a private cell looks for the
//! announcement afterwards; so either the cell is taken after its increment, or the thread sees the announcement,
//! and moves the increment itself. None is lost, and none counts twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::directory::Unplaced;
use super::entry::Entry;
use super::fold;
use super::histogram_cells::HistogramCells;
use super::key_table::KeyTable;
use super::lane::{Accepting, Lane};
#[cfg(feature = "metrics")]
use super::layout::MAX_NAME;
use super::ledger::Ledger;
use super::region::Target;
use super::series::{Kind, Series};
use super::warning::Warning;
use crate::logging::Logger;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The values of this process.
pub(super) static PROCESS: Process = Process::new();

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Process {
    /// Whether values move to a lane.
    attached: AtomicBool,
    registry: Mutex<Registry>,
}

#[derive(Debug)]
struct Registry {
    logger: Option<Logger>,
    lane: Option<Lane>,
    /// By their identity's number.
    values: BTreeMap<u64, Vec<Value>>,
    /// How many of them found no place in the region.
    unplaced: u64,
    /// The families that were compared with others of the fleet.
    compared: BTreeSet<u64>,
    /// The numbers of the names of which a clash was told.
    told: BTreeSet<u64>,
    warnings: Vec<Warning>,
}

/// One value of this process.
#[derive(Debug)]
struct Value {
    entry: Entry,
    cells: Cells,
}

#[derive(Debug, Clone, Copy)]
enum Cells {
    One {
        /// The cell in memory of this process, if it was used.
        private: Option<&'static AtomicU64>,
        /// Where the value stays; the private cell if it found no place.
        home: Option<&'static AtomicU64>,
    },
    Histogram(&'static HistogramCells),
    Keys(&'static KeyTable),
}

impl Process {
    pub(super) const fn new() -> Self {
        let registry = Registry {
            logger: None,
            lane: None,
            values: BTreeMap::new(),
            unplaced: 0,
            compared: BTreeSet::new(),
            told: BTreeSet::new(),
            warnings: Vec::new(),
        };
        Self { attached: AtomicBool::new(false), registry: Mutex::new(registry) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` under the lock, and logs afterwards: a logger may use shared values.
    fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry();
        let result = act(&mut registry);
        let warnings = std::mem::take(&mut registry.warnings);
        let logger = if warnings.is_empty() { None } else { registry.logger.clone() };
        drop(registry);
        let logger = logger.unwrap_or_default();
        warnings.iter().for_each(|warning| warning.log(&logger));
        result
    }

    /// The logger for warnings, from here on.
    pub(super) fn use_logger(&self, logger: &Logger) {
        self.registry().logger = Some(logger.clone());
    }

    /// Forgets what was counted so far, in a process that is a copy of another one. It has no lane.
    pub(super) fn forget(&self) {
        self.registry().values.values().flatten().for_each(Value::forget);
    }

    /// Moves every value to the lane, as those that are used later.
    pub(super) fn attach(&self, lane: Lane) {
        self.with(|registry| {
            registry.lane = Some(lane);
            self.attached.store(true, Ordering::SeqCst);
            for mut value in std::mem::take(&mut registry.values).into_values().flatten() {
                // Which series may exist was decided when they were made.
                let _ = registry.place(&mut value, usize::MAX);
                registry.values.entry(value.entry.identity()).or_default().push(value);
            }
        });
    }

    /// Whether values in private cells have to move.
    #[inline]
    pub(super) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::SeqCst)
    }

    /// Where a value of one cell counts.
    pub(super) fn resolve(&self, series: &Series) -> Target {
        // Without a limit, there is a place in this process at least.
        self.resolve_within(series, usize::MAX).unwrap_or(Target::Unknown)
    }

    /// The same for a series of a family that has at most `most`.
    pub(super) fn resolve_within(&self, series: &Series, most: usize) -> Result<Target, Unplaced> {
        self.with(|registry| match registry.value(series, most)?.cells {
            Cells::One { home: Some(home), .. } => Ok(Target::Home(home)),
            Cells::One { private: Some(private), .. } => Ok(Target::Private(private)),
            Cells::One { .. } | Cells::Histogram(_) | Cells::Keys(_) => Ok(Target::Unknown),
        })
    }

    /// Where a histogram counts.
    pub(super) fn resolve_histogram(
        &self,
        series: &Series,
        most: usize,
    ) -> Result<&'static HistogramCells, Unplaced> {
        self.with(|registry| match registry.value(series, most)?.cells {
            Cells::Histogram(cells) => Ok(cells),
            Cells::One { .. } | Cells::Keys(_) => Err(Unplaced::Full),
        })
    }

    /// Where a keyed rate limiter has its keys.
    pub(super) fn resolve_keys(&self, series: &Series) -> Option<&'static KeyTable> {
        self.with(|registry| match registry.value(series, usize::MAX).ok()?.cells {
            Cells::Keys(table) => Some(table),
            Cells::One { .. } | Cells::Histogram(_) => None,
        })
    }

    /// Whether a series is the fleet's already, so that a full family has a place for it in this process as well.
    pub(super) fn is_known_to_fleet(&self, entry: &Entry) -> bool {
        self.registry().lane.as_ref().is_some_and(|lane| lane.has(entry))
    }

    /// Reports a family that has as many series as it may have.
    pub(super) fn report_full_family(&self, name: &str, most: usize) {
        self.with(|registry| {
            registry.lane.iter_mut().for_each(Lane::count_unplaced);
            registry.warnings.push(Warning::FamilyFull { name: name.to_owned(), most });
        });
    }

    /// Reports that this process registers more metrics than it may. The name is the program's, of any length.
    #[cfg(feature = "metrics")]
    pub(super) fn report_dropped(&self, name: &str) {
        self.with(|registry| {
            registry.lane.iter_mut().for_each(Lane::count_unplaced);
            let name = name.chars().take(MAX_NAME).collect();
            registry.warnings.push(Warning::Dropped { name });
        });
    }

    /// Moves what a private cell has counted since the values were moved.
    pub(super) fn settle(&self, series: &Series) -> Target {
        self.with(|registry| {
            let Ok(value) = registry.value(series, usize::MAX) else { return Target::Unknown };
            match value.cells {
                Cells::One { private, home: Some(home) } => {
                    move_home(value.entry.kind, private, home);
                    Target::Home(home)
                }
                _ => Target::Unknown,
            }
        })
    }

    /// The master's account, in the master.
    pub(super) fn ledger(&self) -> Option<Ledger> {
        self.registry().lane.as_ref().and_then(Lane::ledger)
    }

    /// The cells of the fleet's value: those of every process joined. In a process without a lane, its own.
    pub(super) fn total(&self, series: &Series) -> Vec<u64> {
        let entry = Entry::from(series);
        // The ledger has a lock of its own, and is not asked under this one.
        if let Some(total) = self.ledger().and_then(|ledger| ledger.total(&entry)) {
            return total;
        }
        self.with(|registry| {
            let total = registry.lane.as_mut().and_then(|lane| lane.total(&entry));
            total.unwrap_or_else(|| registry.own(&entry))
        })
    }

    /// What the children that accept connections hold of a gauge. `None` in a process that is no child of a fleet.
    pub(super) fn accepting(&self, series: &Series) -> Option<Accepting> {
        let entry = Entry::from(series);
        self.with(|registry| registry.lane.as_mut()?.accepting(&entry))
    }

    /// Notes that this process accepts no more connections.
    pub(super) fn note_drain(&self) {
        self.registry().lane.iter_mut().for_each(Lane::note_drain);
    }

    /// The values that only this process knows, as a process without a lane has them; and how many found no
    /// place elsewhere.
    pub(super) fn own_values(&self) -> (Vec<(Entry, Vec<u64>)>, u64) {
        let registry = self.registry();
        let all = registry.values.values().flatten();
        (all.map(|value| (value.entry.clone(), value.own())).collect(), registry.unplaced)
    }
}

impl Registry {
    /// The value of a series, which is made if it is new. An error only if its family is full.
    fn value(&mut self, series: &Series, most: usize) -> Result<&mut Value, Unplaced> {
        let entry = Entry::from(series);
        let identity = entry.identity();
        let known = self.values.get(&identity);
        let place = known.and_then(|values| values.iter().position(|value| value.entry == entry));
        if place.is_none() {
            let mut value = Value::new(entry, series.bounds);
            if self.lane.is_some() {
                self.place(&mut value, most)?;
            }
            self.values.entry(identity).or_default().push(value);
        }
        let values = self.values.entry(identity).or_default();
        let last = values.len().wrapping_sub(1);
        values.get_mut(place.unwrap_or(last)).ok_or(Unplaced::Full)
    }

    /// Gives a value its place in the region; without room there, it stays in this process.
    fn place(&mut self, value: &mut Value, most: usize) -> Result<(), Unplaced> {
        let Some(lane) = &mut self.lane else { return Ok(()) };
        match lane.place(&value.entry, most) {
            Ok(placed) => {
                value.move_to(placed.cells, lane.seed());
                self.compare(&value.entry, &placed.rivals);
            }
            Err(Unplaced::FamilyFull) => return Err(Unplaced::FamilyFull),
            Err(Unplaced::Full) => {
                lane.count_unplaced();
                self.unplaced += 1;
                if self.unplaced == 1 {
                    self.warnings.push(Warning::Full { name: value.entry.name.clone() });
                }
                value.stay();
            }
        }
        Ok(())
    }

    /// Reports what clashes with a value: once for a name, because every set of labels clashes, and once for a
    /// family, because whoever comes later compares as well.
    fn compare(&mut self, entry: &Entry, rivals: &[usize]) {
        let (family, Some(lane)) = (entry.family(), &mut self.lane) else { return };
        if rivals.is_empty() || !self.compared.insert(family) {
            return;
        }
        if let Some(clash) = lane.clash(entry, rivals) {
            if self.told.insert(family >> 32) {
                self.warnings.push(Warning::Clash { entry: entry.clone(), clash });
            }
        }
    }

    fn own(&self, entry: &Entry) -> Vec<u64> {
        let mut values = self.values.get(&entry.identity()).into_iter().flatten();
        values.find(|value| value.entry == *entry).map_or_else(|| vec![0; entry.cells()], Value::own)
    }
}

impl Value {
    fn new(entry: Entry, bounds: &'static [f64]) -> Self {
        let cells = match entry.kind {
            Kind::Histogram => Cells::Histogram(Box::leak(Box::new(HistogramCells::new(bounds)))),
            Kind::KeyedRateLimiter => Cells::Keys(Box::leak(Box::default())),
            _ => Cells::One { private: Some(Box::leak(Box::new(AtomicU64::new(0)))), home: None },
        };
        Self { entry, cells }
    }

    fn move_to(&mut self, cells: &'static [AtomicU64], seed: Option<u64>) {
        match &mut self.cells {
            Cells::Keys(table) => table.move_to(cells, seed.unwrap_or_default()),
            Cells::Histogram(histogram) => histogram.move_to(cells),
            Cells::One { private, home } => {
                *home = cells.first().or(*private);
                home.iter().for_each(|home| move_home(self.entry.kind, *private, home));
            }
        }
    }

    fn forget(&self) {
        match self.cells {
            Cells::One { private, .. } => {
                private.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
            }
            Cells::Histogram(histogram) => histogram.forget(),
            Cells::Keys(_) => {}
        }
    }

    fn stay(&mut self) {
        if let Cells::One { private, home } = &mut self.cells {
            *home = *private;
        }
    }

    /// What this process has counted.
    fn own(&self) -> Vec<u64> {
        match self.cells {
            Cells::Histogram(histogram) => histogram.read(),
            Cells::Keys(_) => Vec::new(),
            Cells::One { private, home } => {
                let cells = home.or(private);
                cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()
            }
        }
    }
}

fn move_home(kind: Kind, private: Option<&'static AtomicU64>, home: &'static AtomicU64) {
    if let Some(private) = private.filter(|private| !std::ptr::eq(*private, home)) {
        fold::move_into(kind, home, private);
    }
}
