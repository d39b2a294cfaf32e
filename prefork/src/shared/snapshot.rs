//! The values of the fleet at one moment, for whoever shows them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clash::PARTS;
use super::entry::Entry;
use super::extremes;
use super::flag;
use super::fold;
use super::gauge;
use super::series::Kind;

/// See the [module](self). Sorted by name, then by labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) samples: Vec<Sample>,
    /// How many series the processes that are alive count for themselves alone, without room for them.
    pub(crate) unplaced: u64,
}

/// One series.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) entry: Arc<Entry>,
    pub(crate) value: Value,
}

/// What a series stands at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(i64),
    Real(f64),
    /// `None` while nothing was recorded.
    Extreme(Option<f64>),
    Flag(bool),
    /// The observations in each bucket alone, one bucket more than bounds; and their sum.
    Histogram {
        buckets: Vec<u64>,
        sum: f64,
    },
}

impl Snapshot {
    /// Of several families with one name, that of the last series stays. What is left out: series that have nothing to
    /// show (`None`), and those whose name is a part of a histogram.
    pub(crate) fn new(samples: Vec<Option<Sample>>, unplaced: u64) -> Self {
        let mut samples: Vec<Sample> = samples.into_iter().flatten().collect();
        // Stable: series of one name stay in the caller's order.
        samples.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
        let mut kept: Vec<Sample> = Vec::with_capacity(samples.len());
        for same_name in samples.chunk_by(|one, other| one.entry.name == other.entry.name) {
            let last = same_name.last().map(|sample| sample.entry.family());
            let first = kept.len();
            kept.extend(same_name.iter().filter(|sample| Some(sample.entry.family()) == last).cloned());
            kept[first..].sort_by(|one, other| one.entry.labels.cmp(&other.entry.labels));
        }
        let histograms = kept.iter().filter(|sample| sample.entry.kind == Kind::Histogram);
        let parts: BTreeSet<String> =
            histograms.flat_map(|sample| PARTS.map(|part| sample.entry.name.clone() + part)).collect();
        kept.retain(|sample| !parts.contains(&sample.entry.name));
        Self { samples: kept, unplaced }
    }
}

impl Sample {
    /// `None` for a kind that is not shown.
    pub(crate) fn new(entry: &Arc<Entry>, cells: &[u64]) -> Option<Self> {
        let first = cells.first().copied().unwrap_or(0);
        let value = match entry.kind {
            Kind::Counter => Value::Counter(first),
            Kind::Gauge => Value::Gauge(gauge::from_cell(first)),
            Kind::RealGauge => Value::Real(f64::from_bits(first)),
            Kind::Max => Value::Extreme(extremes::decode_max(first)),
            Kind::Min => Value::Extreme(extremes::decode_min(first)),
            Kind::Flag => Value::Flag(flag::decode(first)),
            Kind::RateLimiter | Kind::KeyedRateLimiter => return None,
            Kind::Histogram => {
                let (buckets, sums) = fold::split(cells);
                let sum = sums.first().copied().map_or(0.0, f64::from_bits);
                Value::Histogram { buckets: buckets.to_vec(), sum }
            }
        };
        Some(Self { entry: Arc::clone(entry), value })
    }
}
