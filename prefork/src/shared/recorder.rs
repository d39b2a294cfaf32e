//! [`Recorder`]: what libraries count with the `metrics` facade, over the whole fleet.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SetRecorderError, SharedString, Unit,
};

use super::counter::Counter;
use super::family::Member;
use super::histogram::{Histogram, SECONDS};
use super::layout::{MAX_HELP, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME, SERIES};
use super::real_gauge::RealGauge;
use super::series::{Kind, Label, Series, is_reserved};

/// The most label sets of a metric, unless [`Recorder::label_sets`] says otherwise.
const MOST: usize = 100;
/// The value of every label of what is beyond the limit.
const OTHER: &str = "other";

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
/// `_total`, and what has a unit with the unit. The help of a metric is its description, if it is described before its
/// first use.
///
/// # Limits
///
/// Labels and names that are made at run time can be many. A metric has 100 sets of labels, or what
/// [`label_sets`](Self::label_sets) allows; what goes beyond counts where every label is `other`. So does a set with more
/// than 8 labels or 640 bytes of them. A process that has registered 2,048 series drops what else it registers.
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
}

/// The metrics of one kind.
struct Table<H> {
    handles: HashMap<Key, Arc<H>>,
    families: HashMap<String, Family<H>>,
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self { handles: HashMap::new(), families: HashMap::new() }
    }
}

/// The metrics of one name, which is the facade's.
struct Family<H> {
    name: &'static str,
    sets: usize,
    /// For what is beyond the limit.
    other: Option<Arc<H>>,
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
        assert!((1..=1000).contains(&most), "a metric has 1 to 1,000 sets of labels");
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

    fn describe(&self, name: &KeyName, description: &str) {
        let end = (0..=MAX_HELP.min(description.len())).rev().find(|end| description.is_char_boundary(*end));
        let mut state = self.write();
        if state.help.len() < 2 * SERIES && !state.help.contains_key(name.as_str()) {
            let help = Box::leak(Box::from(&description[..end.unwrap_or(0)]));
            state.help.insert(name.as_str().to_owned(), help);
        }
    }

    /// The handle of a metric, which is made if it is new; `None` if there are too many.
    fn handle<H: Member>(
        &self,
        kind: Kind,
        key: &Key,
        table: impl Fn(&State) -> &Table<H>,
        table_mut: impl Fn(&mut State) -> &mut Table<H>,
    ) -> Option<Arc<H>> {
        if let Some(known) = table(&self.read()).find(key, self.most) {
            return Some(known);
        }
        let bounds = if kind == Kind::Histogram { self.bounds_of(key.name()) } else { &[] };
        let mut state = self.write();
        let help = state.help.get(key.name()).copied().unwrap_or_default();
        let series = Series { kind, name: "", help, labels: &[], bounds };
        table_mut(&mut state).add(key, series, self.most)
    }

    fn bounds_of(&self, name: &str) -> &'static [f64] {
        self.bounds.get(name).copied().unwrap_or(self.default_bounds)
    }
}

impl<H: Member> Table<H> {
    fn find(&self, key: &Key, most: usize) -> Option<Arc<H>> {
        self.handles.get(key).cloned().or_else(|| {
            let family = self.families.get(key.name())?;
            family.other.clone().filter(|_| family.sets >= most)
        })
    }

    /// Adds a metric whose series is `series`, but for its name and labels.
    fn add(&mut self, key: &Key, series: Series, most: usize) -> Option<Arc<H>> {
        // Another thread may have added it.
        if let Some(known) = self.find(key, most) {
            return Some(known);
        }
        if self.handles.len() >= 2 * SERIES || self.families.len() >= 2 * SERIES {
            return None;
        }
        let family = self.families.entry(key.name().to_owned()).or_insert_with(|| Family {
            name: String::leak(metric_name(key.name())),
            sets: 0,
            other: None,
        });
        let series = Series { name: family.name, ..series };
        let labels = labels_of(key, series.kind);
        if let Some(labels) = labels.as_ref().filter(|labels| fits(labels) && family.sets < most) {
            if let Ok(handle) = H::find(Series { labels: leak(labels, None), ..series }, most) {
                family.sets += 1;
                let handle = Arc::new(handle);
                self.handles.insert(key.to_retained(), Arc::clone(&handle));
                return Some(handle);
            }
        }
        if family.other.is_none() {
            let labels = labels.unwrap_or_default();
            let series = Series { labels: leak(&labels, Some(OTHER)), ..series };
            family.other = H::find(series, usize::MAX).ok().map(Arc::new);
        }
        family.other.clone()
    }
}

/// # Panics
///
/// If they are no bounds.
fn check_bounds(bounds: &'static [f64]) {
    let _ = Series::new(Kind::Histogram, "checked", "").with_bounds(bounds);
}

/// The name as Prometheus allows it, and this crate.
fn metric_name(name: &str) -> String {
    let name = allowed(name, ":");
    if is_reserved(&name) { format!("_{name}") } else { name }
}

/// The text with `_` for what is neither a letter, a digit, `_` nor one of `also`. It does not begin with a digit.
fn allowed(name: &str, also: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() || also.contains(letter) { letter } else { '_' }
    };
    let begins_well = name.starts_with(|first: char| !first.is_ascii_digit());
    let prefix = if begins_well { None } else { Some('_') };
    // Room for one more at either end.
    prefix.into_iter().chain(name.chars().map(letter)).take(MAX_NAME - 2).collect()
}

/// The labels, sorted by name; of those with one name the last. `None` if they are too many.
fn labels_of(key: &Key, kind: Kind) -> Option<BTreeMap<String, &str>> {
    let labels = key.labels().map(|label| (label_name(label.key(), kind), label.value()));
    let labels: BTreeMap<String, &str> = labels.collect();
    (labels.len() <= MAX_LABELS).then_some(labels)
}

fn label_name(name: &str, kind: Kind) -> String {
    let name = allowed(name, "");
    // Prometheus keeps names with two of them to itself.
    let name = if name.starts_with("__") { format!("_{}", name.trim_start_matches('_')) } else { name };
    match name.as_str() {
        "_" => "_label".to_owned(),
        "le" if kind == Kind::Histogram => "le_".to_owned(),
        _ => name,
    }
}

fn fits(labels: &BTreeMap<String, &str>) -> bool {
    let length = |(name, value): (&String, &&str)| name.len() + value.len() + 2 * size_of::<u16>();
    labels.iter().map(length).sum::<usize>() <= MAX_LABEL_BYTES
}

/// As many as there may be series.
fn leak(labels: &BTreeMap<String, &str>, value_of_all: Option<&'static str>) -> &'static [Label] {
    let labels = labels.iter().map(|(name, value)| {
        let value = value_of_all.unwrap_or_else(|| String::leak((*value).to_owned()));
        (&*String::leak(name.clone()), value)
    });
    labels.collect::<Vec<Label>>().leak()
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
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
