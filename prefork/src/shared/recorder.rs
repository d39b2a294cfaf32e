//! [`Recorder`]: what libraries count with the `metrics` facade, over the whole fleet.

mod names;
mod table;

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SetRecorderError, SharedString, Unit,
};

use super::counter::Counter;
use super::family::{MOST, Member, OTHER, check_limit};
use super::histogram::{Histogram, SECONDS};
use super::layout::SERIES;
use super::process::PROCESS;
use super::real_gauge::RealGauge;
use super::series::{Kind, Series};
use names::{entry, fit, help_text, labels_of, leak};
use table::{Reserved, Table};

/// A recorder for the [`metrics`] facade: what libraries count with `metrics::counter!` is a shared value, right over
/// the whole fleet, and in `/metrics`.
///
/// Install it in every process, first thing in `main` or in the hook `init`:
///
/// ```
/// use prefork::shared::Recorder;
///
/// # fn install() -> Result<(), Box<dyn std::error::Error>> {
/// Recorder::new().bounds("http_response_bytes", &[1e3, 1e4, 1e5, 1e6]).install()?;
/// metrics::counter!("http_requests_total", "method" => "GET").increment(1);
/// # Ok(())
/// # }
/// # install().unwrap();
/// ```
///
/// | facade | fleet |
/// |---|---|
/// | counter | a [`Counter`]. `absolute` raises what this process has counted |
/// | gauge | the sum of what the live processes have set, incremented and decremented; real numbers |
/// | histogram | a [`Histogram`], with the bounds that the recorder was given for it, or those of [`Histogram::new`] |
///
/// # Names
///
/// Characters that Prometheus does not allow in names are `_`: `db.pool.size` is `db_pool_size`. A name that begins with
/// `prefork_` has a `_` before it, and a histogram's label `le` one after it. Nothing else is added: name counters with
/// `_total`, and what has a unit with the unit. Of a name the first 126 bytes count. A label whose value is empty is
/// left out: to Prometheus it is none.
///
/// The help of a metric is its description, if it is described before its first use. A unit that is not in the name
/// follows in parentheses.
///
/// # Limits
///
/// Labels and names that are made at run time can be many. A metric has 100 sets of labels, or what
/// [`label_sets`](Self::label_sets) allows; what goes beyond counts where every label is `other`, which is logged once
/// (`shared_family_full`). So does a set of more than 640 bytes. One with more than 8 labels, or with names that are
/// too long for any value, counts where there is no label. A process that has registered 2,048 series of a kind drops
/// what else it registers, which is logged once as well (`shared_dropped`). Where a limit of label sets or of series is
/// reached, `prefork_shared_full` is not 0.
///
/// Each call of `counter!` looks its metric up by name and labels, under a lock that only new metrics take for writing.
/// A handle that is kept needs no look-up.
pub struct Recorder {
    most: usize,
    /// By the name as the facade has it.
    bounds: HashMap<String, &'static [f64]>,
    default_bounds: &'static [f64],
    state: Box<RwLock<State>>,
}

#[derive(Default)]
struct State {
    counters: Table<Counter>,
    gauges: Table<RealGauge>,
    histograms: Table<Histogram>,
    /// By the name as the facade has it.
    help: HashMap<String, &'static str>,
    /// Whether metrics were dropped.
    drops: bool,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// A recorder that is not installed yet.
    #[must_use]
    pub fn new() -> Self {
        Self { most: MOST, bounds: HashMap::new(), default_bounds: &SECONDS, state: Box::default() }
    }

    /// Gives the histogram of this name these upper bounds of its buckets.
    ///
    /// # Panics
    ///
    /// As [`Histogram::with_bounds`].
    #[must_use]
    pub fn bounds(mut self, name: &str, bounds: &'static [f64]) -> Self {
        check_bounds(bounds);
        self.bounds.insert(name.to_owned(), bounds);
        self
    }

    /// Gives histograms without bounds of their own these bounds.
    ///
    /// # Panics
    ///
    /// As [`Histogram::with_bounds`].
    #[must_use]
    pub fn default_bounds(mut self, bounds: &'static [f64]) -> Self {
        check_bounds(bounds);
        self.default_bounds = bounds;
        self
    }

    /// Allows each metric so many sets of labels, from 1 to 1,000.
    ///
    /// # Panics
    ///
    /// For another number.
    #[must_use]
    pub fn label_sets(mut self, most: usize) -> Self {
        check_limit(most);
        self.most = most;
        self
    }

    /// Makes it this process's recorder.
    ///
    /// # Errors
    ///
    /// Another recorder is installed.
    pub fn install(self) -> Result<(), SetRecorderError<Self>> {
        metrics::set_global_recorder(self)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: &str) {
        let mut state = self.write();
        if state.help.len() < 2 * SERIES && !state.help.contains_key(name.as_str()) {
            let help = String::leak(help_text(name.as_str(), unit, description));
            state.help.insert(name.as_str().to_owned(), help);
        }
    }

    /// The handle of a metric, which is made if it is new; `None` if there are too many. It is made without the lock:
    /// other threads go on counting meanwhile.
    fn handle<H: Member>(
        &self,
        kind: Kind,
        key: &Key,
        table: impl Fn(&State) -> &Table<H>,
        table_mut: impl Fn(&mut State) -> &mut Table<H>,
    ) -> Option<Arc<H>> {
        let known_other = {
            let state = self.read();
            if let Some(known) = table(&state).find(key) {
                return Some(known);
            }
            table(&state).find_other(key)
        };
        let bounds = if kind == Kind::Histogram { self.bounds_of(key.name()) } else { &[] };
        let labels = labels_of(key, kind);
        let fits = labels.as_ref().is_some_and(fit);
        if let Some((name, other)) = known_other {
            let mut own = labels.iter().filter(|_| fits);
            if !own.any(|labels| PROCESS.is_known_to_fleet(&entry(kind, name, labels, bounds))) {
                return Some(other);
            }
        }
        let mut state = self.write();
        let help = state.help.get(key.name()).copied().unwrap_or_default();
        let (name, is_own) = match table_mut(&mut state).reserve(key, fits, self.most) {
            Reserved::Known(handle) => return Some(handle),
            Reserved::Own(name) => (name, true),
            Reserved::Other(name) => (name, false),
            Reserved::Nothing => {
                let was_told = mem::replace(&mut state.drops, true);
                drop(state);
                if !was_told {
                    PROCESS.report_dropped(key.name());
                }
                return None;
            }
        };
        drop(state);
        let series = |labels| Series { kind, name, help, labels, bounds };
        let own = labels.as_ref().filter(|_| is_own);
        let own = own.and_then(|labels| H::find(series(leak(labels, None)), self.most).ok());
        if let Some(own) = own {
            return Some(table_mut(&mut self.write()).insert(key, own));
        }
        let other = H::find(series(leak(&labels.unwrap_or_default(), Some(OTHER))), usize::MAX).ok()?;
        let (other, is_newly_full) = table_mut(&mut self.write()).insert_other(key, other, is_own, self.most);
        if is_newly_full {
            PROCESS.report_full_family(name, self.most);
        }
        Some(other)
    }

    fn bounds_of(&self, name: &str) -> &'static [f64] {
        self.bounds.get(name).copied().unwrap_or(self.default_bounds)
    }
}

/// # Panics
///
/// If they are no bounds.
fn check_bounds(bounds: &'static [f64]) {
    let _ = Series::new(Kind::Histogram, "checked", "").with_bounds(bounds);
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Counter {
        let handle = self.handle(Kind::Counter, key, |state| &state.counters, |state| &mut state.counters);
        handle.map_or_else(metrics::Counter::noop, metrics::Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Gauge {
        let handle = self.handle(Kind::RealGauge, key, |state| &state.gauges, |state| &mut state.gauges);
        handle.map_or_else(metrics::Gauge::noop, metrics::Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Histogram {
        let handle =
            self.handle(Kind::Histogram, key, |state| &state.histograms, |state| &mut state.histograms);
        handle.map_or_else(metrics::Histogram::noop, metrics::Histogram::from_arc)
    }
}

impl CounterFn for Counter {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, value: u64) {
        self.raise(value);
    }
}

impl GaugeFn for RealGauge {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("label_sets", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
