//! What `on_canary` is asked, and what it answers.

use std::fmt;
use std::time::Duration;

use super::HookFailure;
use crate::error::BoxError;
use crate::shared::{Observations, Sample, Snapshot, Value};

/// A reload that holds, as the hook [`on_canary`](crate::Prefork::on_canary) sees it: new children beside old ones.
///
/// ```
/// use prefork::shared::{Counter, CounterFamily};
/// use prefork::{Canary, CanaryVerdict};
///
/// static REQUESTS: CounterFamily<1> =
///     CounterFamily::new("app_requests_total", "Requests answered", ["status"]);
///
/// /// Rolls back if the new children answer with 500 twice as often as the old ones, and more often than one in a
/// /// hundred times.
/// fn judge(canary: &Canary) -> CanaryVerdict {
///     if canary.new.counter("app_requests_total") < 100 {
///         return CanaryVerdict::Hold;
///     }
///     let share = |group: &prefork::CanaryGroup| {
///         let failed = group.counter_with("app_requests_total", &[("status", "500")]);
///         failed as f64 / group.counter("app_requests_total").max(1) as f64
///     };
///     let (new, old) = (share(&canary.new), share(&canary.old));
///     if new > 0.01 && new > 2.0 * old {
///         return CanaryVerdict::roll_back(format!("{:.1} % of the answers are 500", 100.0 * new));
///     }
///     CanaryVerdict::Hold
/// }
/// # fn serve(_: std::net::TcpListener) { REQUESTS.with(["200"]).inc() }
/// # let _ = prefork::Prefork::new(serve).canary(1).hold("5m").on_canary(judge);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Canary {
    /// The new children, which the reload has started.
    pub new: CanaryGroup,
    /// The children of the other slots. Empty if the canary has every slot.
    pub old: CanaryGroup,
    /// How long the reload has held.
    pub held: Duration,
    /// The generation of the new children.
    pub generation: u32,
}

impl Canary {
    pub(crate) fn new(new: CanaryGroup, old: CanaryGroup, held: Duration, generation: u32) -> Self {
        Self { new, old, held, generation }
    }
}

/// The children of one side of a [`Canary`], and what they have counted in [shared values](crate::shared).
///
/// Counters and histograms are those of the children that serve now: a new child's since it was started, an old
/// child's since the hold began or, if it was started later, since then. So what is compared is a share, such as
/// errors per request, and not a count. What a child has counted that has ended is not in it. Gauges are what they
/// stand at.
///
/// A value that none of the children has used is 0.
#[derive(Debug, Clone)]
pub struct CanaryGroup {
    children: usize,
    values: Snapshot,
}

impl CanaryGroup {
    pub(crate) fn new(children: usize, values: Snapshot) -> Self {
        Self { children, values }
    }

    /// The number of children that serve.
    #[must_use]
    pub fn children(&self) -> usize {
        self.children
    }

    /// What the children have counted in the counter of this name; of a family, in all sets of labels together.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counter_with(name, &[])
    }

    /// What they have counted in the series of a family that have these labels, and maybe others, together.
    #[must_use]
    pub fn counter_with(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let counts = self.find(name, labels).map(|sample| match sample.value {
            Value::Counter(count) => count,
            _ => 0,
        });
        counts.fold(0, u64::wrapping_add)
    }

    /// What the children contribute to the gauge of this name; of a family, to all sets of labels together.
    #[must_use]
    pub fn gauge(&self, name: &str) -> f64 {
        self.gauge_with(name, &[])
    }

    /// What they contribute to the series of a family that have these labels, and maybe others, together.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "gauges of more than 2^53 do not need their last digits")]
    pub fn gauge_with(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.find(name, labels).map(|sample| match sample.value {
            Value::Gauge(value) => value as f64,
            Value::Real(value) => value,
            _ => 0.0,
        });
        values.sum()
    }

    /// What the children have observed in the histogram of this name; of a family, in all sets of labels together.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Observations {
        self.histogram_with(name, &[])
    }

    /// What they have observed in the series of a family that have these labels, and maybe others, together.
    #[must_use]
    pub fn histogram_with(&self, name: &str, labels: &[(&str, &str)]) -> Observations {
        let mut all = Observations::default();
        for sample in self.find(name, labels) {
            if let Value::Histogram { buckets, sum } = &sample.value {
                all.add(&sample.entry.bounds, buckets, *sum);
            }
        }
        all
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            sample.entry.labels.iter().any(|(own, set)| own == name && set == value)
        };
        self.values
            .samples
            .iter()
            .filter(move |sample| sample.entry.name == name && labels.iter().all(|label| has(sample, label)))
    }
}

/// What becomes of a reload that holds: the answer of [`on_canary`](crate::Prefork::on_canary).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CanaryVerdict {
    /// It holds on. The hook is asked again a second later.
    Hold,
    /// It is completed: every other child is replaced.
    Promote,
    /// The new children are replaced by children of the old generation. The log has the reason.
    RollBack(String),
}

impl CanaryVerdict {
    /// [`RollBack`](Self::RollBack) for this reason.
    #[must_use]
    pub fn roll_back(reason: impl fmt::Display) -> Self {
        Self::RollBack(reason.to_string())
    }
}

/// What [`on_canary`](crate::Prefork::on_canary) may return: a [`CanaryVerdict`], or a `Result` with one, whose error
/// rolls the reload back. Sealed.
#[diagnostic::on_unimplemented(
    message = "`on_canary` cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "`on_canary` returns `CanaryVerdict` or `Result<CanaryVerdict, E>`, where `E` converts into \
            `Box<dyn Error + Send + Sync>`"
)]
pub trait CanaryResult: sealed::CanaryResult {
    /// The result, with the error in a box.
    #[doc(hidden)]
    fn into_result(self) -> Result<CanaryVerdict, BoxError>;
}

impl CanaryResult for CanaryVerdict {
    fn into_result(self) -> Result<CanaryVerdict, BoxError> {
        Ok(self)
    }
}

impl<E: Into<BoxError>> CanaryResult for Result<CanaryVerdict, E> {
    fn into_result(self) -> Result<CanaryVerdict, BoxError> {
        self.map_err(Into::into)
    }
}

mod sealed {
    use super::{BoxError, CanaryVerdict};

    pub trait CanaryResult {}
    impl CanaryResult for CanaryVerdict {}
    impl<E: Into<BoxError>> CanaryResult for Result<CanaryVerdict, E> {}
}

/// Why a failed hook rolls the reload back, in one line.
pub(crate) fn reason_of(failure: &HookFailure) -> String {
    match failure {
        HookFailure::Error(error) => format!("it failed: {}", crate::error::chain(&**error)),
        HookFailure::Panic(_) => "it panicked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shared::{Entry, Kind};

    fn sample(kind: Kind, name: &str, labels: &[(&str, &str)], cells: &[u64]) -> Option<Sample> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let bounds = if kind == Kind::Histogram { vec![1.0] } else { Vec::new() };
        let entry = Entry { kind, name: name.to_owned(), help: String::new(), labels, bounds };
        Sample::new(&Arc::new(entry), cells)
    }

    #[test]
    fn series_are_found_by_name_and_by_some_of_their_labels() {
        let get = |status, method| [("method", method), ("status", status)];
        let bits = 2.5_f64.to_bits();
        let group = CanaryGroup::new(
            3,
            Snapshot::new(
                vec![
                    sample(Kind::Counter, "requests", &get("200", "GET"), &[10]),
                    sample(Kind::Counter, "requests", &get("500", "GET"), &[2]),
                    sample(Kind::Counter, "requests", &get("500", "PUT"), &[1]),
                    sample(Kind::Gauge, "open", &[], &[u64::MAX]),
                    sample(Kind::RealGauge, "load", &[], &[bits]),
                    sample(Kind::Histogram, "size", &[("a", "1")], &[1, 2, bits, bits]),
                    sample(Kind::Histogram, "size", &[("a", "2")], &[3, 0, bits, bits]),
                ],
                0,
            ),
        );
        assert_eq!(group.children(), 3);
        assert_eq!((group.counter("requests"), group.counter("open"), group.counter("absent")), (13, 0, 0));
        assert_eq!(group.counter_with("requests", &[("status", "500")]), 3);
        assert_eq!(group.counter_with("requests", &[("status", "500"), ("method", "PUT")]), 1);
        assert_eq!(group.counter_with("requests", &[("status", "500"), ("path", "/")]), 0);
        assert_eq!((group.gauge("open"), group.gauge("load"), group.gauge("requests")), (-1.0, 2.5, 0.0));
        let sizes = group.histogram("size");
        assert_eq!((sizes.count(), sizes.sum()), (6, 5.0));
        assert_eq!(sizes.buckets().collect::<Vec<_>>(), [(1.0, 4), (f64::INFINITY, 2)]);
        assert_eq!(group.histogram_with("size", &[("a", "2")]).count(), 3);
        assert_eq!(group.histogram("absent").count(), 0);
    }
}
