//! [`Histogram`].

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::fold;
use super::histogram_cells::HistogramCells;
use super::process::PROCESS;
use super::series::{Kind, Series};

/// The bounds of a histogram that names none.
pub(super) const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384,
];

/// How numbers are distributed, over all processes of the fleet and over all their lives: durations, sizes.
///
/// ```
/// use prefork::shared::Histogram;
///
/// static DURATION: Histogram = Histogram::new("app_request_duration_seconds", "Time to answer a request");
///
/// {
///     let _timer = DURATION.timer();
///     // … answer the request …
/// }
/// assert_eq!(DURATION.total().count(), 1);
/// ```
///
/// # Cost
///
/// After the first use in a process, an observation takes 10 to 20 ns: a search for its bucket, and a lock of this
/// process that is held for a few instructions. Each series takes a cell for each bucket, and two more: of the 8,174
/// cells of a process, one with the default bounds takes 19.
///
/// # Exactness
///
/// An observation that has returned is never lost. One that was in progress when its process was killed is in the
/// buckets and in the sum, or in neither.
pub struct Histogram {
    series: Series,
    cells: OnceLock<&'static HistogramCells>,
}

impl Histogram {
    /// A histogram with this name and help, for durations in seconds: its bounds are 0.5 ms, 1 ms, 2 ms and so on up
    /// to 16.384 s. The name ends in its unit, such as `app_request_duration_seconds`.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self::with_bounds(name, help, &SECONDS)
    }

    /// A histogram with these upper bounds of its buckets. A number that equals a bound is in its bucket; a last
    /// bucket has no bound.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new); and if there are not 1 to 64 bounds, finite and ascending.
    #[must_use]
    pub const fn with_bounds(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { series: Series::new(Kind::Histogram, name, help).with_bounds(bounds), cells: OnceLock::new() }
    }

    /// One whose cells are known.
    pub(super) fn at(series: Series, cells: &'static HistogramCells) -> Self {
        Self { series, cells: OnceLock::from(cells) }
    }

    /// Counts a number. NaN and the infinite ones are ignored: they are neither in the count nor in the sum.
    #[inline]
    pub fn observe(&self, value: f64) {
        if value.is_finite() {
            if let Some(cells) = self.cells.get().copied().or_else(|| self.find()) {
                cells.observe(value);
            }
        }
    }

    /// Counts a duration, in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Counts the seconds from now until the result is dropped.
    #[must_use = "the time ends when the result is dropped"]
    pub fn timer(&self) -> Timer<'_> {
        Timer { histogram: self, start: Instant::now() }
    }

    #[cold]
    fn find(&self) -> Option<&'static HistogramCells> {
        let found = PROCESS.resolve_histogram(&self.series, usize::MAX).ok()?;
        Some(self.cells.get_or_init(|| found))
    }

    /// The fleet's observations: of every process that is alive or has ended since the fleet's start. In a process
    /// that belongs to no fleet, its own. See [`Counter::total`](super::Counter::total) for the cost.
    #[must_use]
    pub fn total(&self) -> Observations {
        let cells = PROCESS.total(&self.series);
        let (buckets, sums) = fold::split(&cells);
        let sum = sums.first().copied().map_or(0.0, f64::from_bits);
        Observations { bounds: self.series.bounds.into(), buckets: buckets.to_vec(), sum }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.debug("Histogram", f)
    }
}

/// Observes the time of its life; see [`Histogram::timer`].
#[derive(Debug)]
pub struct Timer<'a> {
    histogram: &'a Histogram,
    start: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.observe_duration(self.start.elapsed());
    }
}

/// What a [`Histogram`] has observed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observations {
    bounds: Cow<'static, [f64]>,
    buckets: Vec<u64>,
    sum: f64,
}

impl Observations {
    /// Adds those of another process or series with the same bounds.
    pub(crate) fn add(&mut self, bounds: &[f64], buckets: &[u64], sum: f64) {
        if self.buckets.is_empty() {
            *self = Self { bounds: bounds.to_vec().into(), buckets: buckets.to_vec(), sum };
            return;
        }
        for (all, count) in self.buckets.iter_mut().zip(buckets) {
            *all = all.wrapping_add(*count);
        }
        self.sum += sum;
    }

    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |count, bucket| count.wrapping_add(*bucket))
    }

    /// The sum of what was observed.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The buckets: the upper bound of each, and the number of observations in it alone. The last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().copied())
    }
}
