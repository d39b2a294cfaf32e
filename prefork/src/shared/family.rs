//! Values with labels: [`CounterFamily`], [`GaugeFamily`], [`HistogramFamily`].
//!
//! A family keeps the handles of its label sets in a table of this process, whose places are filled once and never
//! changed: a look-up takes no lock and allocates nothing.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::counter::Counter;
use super::directory::Unplaced;
use super::entry::{Entry, Hash};
use super::gauge::Gauge;
use super::histogram::{Histogram, SECONDS};
use super::layout::MAX_LABEL_BYTES;
use super::process::PROCESS;
use super::series::{Kind, Series, check_label_names};

/// The most label sets of a family that names no limit.
pub(super) const MOST: usize = 100;
/// The value of every label of what is beyond the limit.
pub(super) const OTHER: &str = "other";

/// # Panics
///
/// If no family can have this limit.
pub(super) const fn check_limit(most: usize) {
    assert!(most > 0 && most <= 1000, "a family has 1 to 1,000 sets of labels");
}

/// A handle of one label set.
pub(super) trait Member: Sized {
    /// The handle of a series whose family may have `most`.
    fn find(series: Series, most: usize) -> Result<Self, Unplaced>;
}

impl Member for Counter {
    fn find(series: Series, most: usize) -> Result<Self, Unplaced> {
        let target = PROCESS.resolve_within(&series, most)?;
        Ok(Self::at(series, target))
    }
}

impl Member for Gauge {
    fn find(series: Series, most: usize) -> Result<Self, Unplaced> {
        let target = PROCESS.resolve_within(&series, most)?;
        Ok(Self::at(series, target))
    }
}

#[cfg(feature = "metrics")]
impl Member for super::real_gauge::RealGauge {
    fn find(series: Series, most: usize) -> Result<Self, Unplaced> {
        let target = PROCESS.resolve_within(&series, most)?;
        Ok(Self::at(series, target))
    }
}

impl Member for Histogram {
    fn find(series: Series, most: usize) -> Result<Self, Unplaced> {
        let cells = PROCESS.resolve_histogram(&series, most)?;
        Ok(Self::at(series, cells))
    }
}

/// What the families have in common.
struct Family<H: 'static, const N: usize> {
    /// Without labels.
    series: Series,
    labels: [&'static str; N],
    most: usize,
    table: OnceLock<&'static Table<H, N>>,
}

/// The values of the labels, and the handle.
type Place<H, const N: usize> = OnceLock<([&'static str; N], H)>;

struct Table<H, const N: usize> {
    /// Twice as many as there may be members, at least, so that a search ends soon.
    places: Box<[Place<H, N>]>,
    /// The number of members. Locked while one is added.
    count: Mutex<usize>,
    /// Whether a set was refused, by this process or by the fleet. Those that the fleet has are added all the same.
    is_full: AtomicBool,
    /// The member for everything beyond the limit.
    other: OnceLock<H>,
}

impl<H: Member, const N: usize> Family<H, N> {
    const fn new(series: Series, labels: [&'static str; N]) -> Self {
        check_label_names(&labels, matches!(series.kind, Kind::Histogram));
        Self { series, labels, most: MOST, table: OnceLock::new() }
    }

    const fn limit(&mut self, most: usize) {
        check_limit(most);
        self.most = most;
    }

    #[inline]
    fn with(&self, values: [&str; N]) -> &'static H {
        let table = self.table.get_or_init(|| Box::leak(Box::new(Table::new(self.most))));
        table.find(&values).unwrap_or_else(|| self.add(table, &values))
    }

    #[cold]
    fn add(&self, table: &'static Table<H, N>, values: &[&str; N]) -> &'static H {
        let bytes: usize = self.labels.iter().chain(values).map(|text| text.len() + size_of::<u16>()).sum();
        if bytes > MAX_LABEL_BYTES {
            return self.other(table);
        }
        if table.is_full.load(Ordering::Relaxed)
            && (*table.lock() >= self.most || !PROCESS.is_known_to_fleet(&self.entry(values)))
        {
            return self.other(table);
        }
        let mut count = table.lock();
        // Another thread may have added it.
        if let Some(found) = table.find(values) {
            return found;
        }
        let added = if *count < self.most { self.add_to(table, values) } else { None };
        if added.is_some() {
            *count += 1;
        }
        drop(count);
        added.unwrap_or_else(|| {
            if !table.is_full.swap(true, Ordering::Relaxed) {
                PROCESS.report_full_family(self.series.name, self.most);
            }
            self.other(table)
        })
    }

    /// `None` if the family is full, in this process or in the fleet.
    fn add_to(&self, table: &'static Table<H, N>, values: &[&str; N]) -> Option<&'static H> {
        // There are at most as many as the family may have.
        let values = values.map(|value| &*Box::leak(Box::<str>::from(value)));
        let handle = H::find(self.labelled(&values), self.most).ok()?;
        table.insert(values, handle)
    }

    fn other(&self, table: &'static Table<H, N>) -> &'static H {
        table.other.get_or_init(|| {
            let series = self.labelled(&[OTHER; N]);
            // Without a limit there is a place, at least in this process: that the labels are short enough is
            // checked with their names.
            H::find(series, usize::MAX)
                .unwrap_or_else(|_| unreachable!("a series has a place in its process"))
        })
    }

    fn entry(&self, values: &[&str; N]) -> Entry {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let labels = self.pairs(*values).into_iter().map(owned).collect();
        Entry { labels, ..Entry::from(&self.series) }
    }

    fn labelled(&self, values: &[&'static str; N]) -> Series {
        Series { labels: self.pairs(*values).leak(), ..self.series }
    }

    /// The labels as a series has them. An empty value is no label, as in Prometheus.
    fn pairs<'a>(&self, values: [&'a str; N]) -> Vec<(&'static str, &'a str)> {
        let pairs = self.labels.into_iter().zip(values);
        let mut pairs: Vec<_> = pairs.filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort_unstable();
        pairs
    }
}

impl<H, const N: usize> Table<H, N> {
    fn new(most: usize) -> Self {
        let places = (0..(2 * most).next_power_of_two()).map(|_| OnceLock::new()).collect();
        Self { places, count: Mutex::new(0), is_full: AtomicBool::new(false), other: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places where such a member may be, until the first empty one.
    fn search(&self, values: &[&str; N]) -> impl Iterator<Item = &Place<H, N>> {
        let hash = values.iter().fold(Hash::new(), |hash, value| hash.text(value)).finish();
        let start = usize::try_from(hash % (1 << 16)).unwrap_or_default() % self.places.len();
        self.places[start..].iter().chain(&self.places[..start])
    }

    #[inline]
    fn find(&self, values: &[&str; N]) -> Option<&H> {
        let used = self.search(values).map_while(OnceLock::get);
        used.into_iter().find(|(found, _)| found == values).map(|(_, handle)| handle)
    }

    /// Called by one thread at a time.
    fn insert(&self, values: [&'static str; N], handle: H) -> Option<&H> {
        let place = self.search(&values).find(|place| place.get().is_none())?;
        Some(&place.get_or_init(|| (values, handle)).1)
    }
}

impl<H, const N: usize> fmt::Debug for Family<H, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, labels, most, table: _ } = self;
        f.debug_struct("Family")
            .field("name", &series.name)
            .field("labels", labels)
            .field("limit", most)
            .finish_non_exhaustive()
    }
}

/// The methods of a family, whose handles are `$handle`s.
macro_rules! methods {
    ($family:ident, $handle:ident) => {
        impl<const N: usize> $family<N> {
            /// Allows `most` sets of label values, at most 1,000. Without this call 100 are allowed.
            ///
            /// # Panics
            ///
            /// If it is 0 or more than 1,000.
            #[must_use]
            pub const fn limit(mut self, most: usize) -> Self {
                self.family.limit(most);
                self
            }

            /// The value with these values of the labels, in the order of the labels.
            ///
            /// A set of values that is new, where the family has as many as its limit allows or the texts have more
            /// than 640 bytes together with the names, is the one in which every label is `other`. A label whose value
            /// is empty is left out: to Prometheus it is none.
            ///
            /// A set that this process has used before is found without a lock and without an allocation, in 10 to
            /// 30 ns. To save that as well, keep the result. A set beyond the limit takes some microseconds: it may be
            /// one that another process of the fleet has used.
            #[inline]
            #[must_use]
            pub fn with(&self, values: [&str; N]) -> &'static $handle {
                self.family.with(values)
            }
        }
    };
}

/// Counters with the same name and different values of their labels.
///
/// ```
/// use prefork::shared::CounterFamily;
///
/// static REQUESTS: CounterFamily<2> =
///     CounterFamily::new("app_requests_total", "Requests answered", ["method", "status"]);
///
/// REQUESTS.with(["GET", "200"]).inc();
/// ```
///
/// Each set of values is a series of its own, in every process, in the region and in the database that scrapes it. So
/// their number is limited, and what clients choose freely (paths, user agents) is no label.
#[derive(Debug)]
pub struct CounterFamily<const N: usize> {
    family: Family<Counter, N>,
}

impl<const N: usize> CounterFamily<N> {
    /// Counters with this name and help, and with 1 to 8 labels of these names.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`]; and if Prometheus does not allow the name of a label (`[a-zA-Z_][a-zA-Z0-9_]*`, not
    /// beginning with `__`), it is longer than 128 bytes, or two have the same.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { family: Family::new(Series::new(Kind::Counter, name, help), labels) }
    }
}

methods!(CounterFamily, Counter);

/// Gauges with the same name and different values of their labels; see [`CounterFamily`].
#[derive(Debug)]
pub struct GaugeFamily<const N: usize> {
    family: Family<Gauge, N>,
}

impl<const N: usize> GaugeFamily<N> {
    /// Gauges with this name and help, and with 1 to 8 labels of these names.
    ///
    /// # Panics
    ///
    /// As [`CounterFamily::new`].
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { family: Family::new(Series::new(Kind::Gauge, name, help), labels) }
    }
}

methods!(GaugeFamily, Gauge);

/// Histograms with the same name and different values of their labels; see [`CounterFamily`].
#[derive(Debug)]
pub struct HistogramFamily<const N: usize> {
    family: Family<Histogram, N>,
}

impl<const N: usize> HistogramFamily<N> {
    /// Histograms with this name and help, with 1 to 8 labels of these names, and with the bounds of
    /// [`Histogram::new`].
    ///
    /// # Panics
    ///
    /// As [`CounterFamily::new`]; and if a label is `le`, which every histogram has.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self::with_bounds(name, help, labels, &SECONDS)
    }

    /// Histograms with these upper bounds of their buckets; see [`Histogram::with_bounds`].
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) and [`Histogram::with_bounds`].
    #[must_use]
    pub const fn with_bounds(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Self {
        Self { family: Family::new(Series::new(Kind::Histogram, name, help).with_bounds(bounds), labels) }
    }
}

methods!(HistogramFamily, Histogram);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_labels_is_a_value_and_the_same_set_is_the_same_value() {
        static FAMILY: CounterFamily<2> = CounterFamily::new("test_family_sets", "Help", ["b", "a"]);
        static AGAIN: CounterFamily<2> = CounterFamily::new("test_family_sets", "Help", ["a", "b"]);
        FAMILY.with(["1", "2"]).add(3);
        FAMILY.with(["2", "1"]).add(5);
        AGAIN.with(["2", "1"]).add(10);
        assert!(std::ptr::eq(FAMILY.with(["1", "2"]), FAMILY.with(["1", "2"])));
        assert_eq!((FAMILY.with(["1", "2"]).total(), FAMILY.with(["2", "1"]).total()), (13, 5));
    }

    #[test]
    fn label_with_an_empty_value_is_none() {
        static FAMILY: CounterFamily<1> = CounterFamily::new("test_family_empty", "Help", ["a"]);
        static PLAIN: Counter = Counter::new("test_family_empty", "Help");
        FAMILY.with([""]).inc();
        PLAIN.inc();
        assert_eq!(PLAIN.total(), 2);
    }

    #[test]
    fn sets_beyond_the_limit_and_long_values_are_one() {
        static FAMILY: GaugeFamily<1> = GaugeFamily::new("test_family_limit", "Help", ["a"]).limit(3);
        let long = "x".repeat(700);
        FAMILY.with([&long]).inc();
        for value in 0..100 {
            FAMILY.with([&value.to_string()]).inc();
        }
        let counts = ["0", "1", "2", "3", "other"].map(|value| FAMILY.with([value]).total());
        assert_eq!(counts, [1, 1, 1, 98, 98]);
    }

    #[test]
    fn threads_that_add_one_set_at_once_get_the_same_value() {
        static FAMILY: HistogramFamily<1> = HistogramFamily::new("test_family_threads", "Help", ["a"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..100).for_each(|value| FAMILY.with([&(value % 50).to_string()]).observe(1.0))
                });
            }
        });
        let counts: u64 = (0..50).map(|value| FAMILY.with([&value.to_string()]).total().count()).sum();
        assert_eq!(counts, 400);
    }
}
