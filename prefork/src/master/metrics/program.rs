//! The program's own metrics: its shared values.

use super::exposition::{Exposition, MetricKind, Number, Samples, number_text};
use crate::shared::{Sample, Snapshot, Value};

/// Writes the values of the whole fleet, which are sorted by name.
pub(super) fn write_program(out: &mut Exposition, values: &Snapshot) {
    for family in values.samples.chunk_by(|one, other| one.entry.name == other.entry.name) {
        let Some(first) = family.first() else { continue };
        let kind = match first.value {
            Value::Counter(_) => MetricKind::Counter,
            Value::Histogram { .. } => MetricKind::Histogram,
            Value::Gauge(_) | Value::Real(_) | Value::Extreme(_) | Value::Flag(_) => MetricKind::Gauge,
        };
        // A library may count without a description what the program describes.
        let helps = family.iter().map(|sample| sample.entry.help.as_str());
        let help = helps.into_iter().find(|help| !help.is_empty()).unwrap_or_default();
        let Some(mut samples) = out.family(&first.entry.name, kind, help) else { continue };
        family.iter().for_each(|sample| write_sample(&mut samples, sample));
    }
}

fn write_sample(samples: &mut Samples<'_>, sample: &Sample) {
    let labels: Vec<(&str, &str)> =
        sample.entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    match &sample.value {
        Value::Counter(count) => samples.add(&labels, *count),
        Value::Gauge(value) => samples.add(&labels, Number::Signed(*value)),
        Value::Real(value) => samples.add(&labels, *value),
        Value::Flag(value) => samples.add(&labels, *value),
        // Nothing was recorded yet.
        Value::Extreme(None) => {}
        Value::Extreme(Some(value)) => samples.add(&labels, *value),
        Value::Histogram { buckets, sum } => {
            let bounds = sample.entry.bounds.iter().copied().chain([f64::INFINITY]);
            let mut count = 0_u64;
            for (bound, bucket) in bounds.zip(buckets) {
                count = count.wrapping_add(*bucket);
                let bound = number_text(bound.into());
                let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                samples.add_part("_bucket", &with_bound, count);
            }
            samples.add_part("_sum", &labels, *sum);
            samples.add_part("_count", &labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shared::{Entry, Kind};

    fn sample(
        kind: Kind,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        cells: &[u64],
    ) -> Option<Sample> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, help, bounds) = (name.to_owned(), "H".to_owned(), bounds.to_vec());
        Sample::new(&Arc::new(Entry { kind, name, help, labels, bounds }), cells)
    }

    fn text(samples: Vec<Option<Sample>>) -> String {
        let mut out = Exposition::default();
        write_program(&mut out, &Snapshot::new(samples, 0));
        out.into_text()
    }

    #[test]
    fn every_kind_is_written() {
        let bits = 0.75_f64.to_bits();
        let samples = vec![
            sample(Kind::Histogram, "h", &[("a", "b")], &[0.5, 1.0], &[1, 2, 1, bits, bits]),
            sample(Kind::Counter, "c", &[], &[], &[7]),
            sample(Kind::Gauge, "g", &[], &[], &[u64::MAX]),
            sample(Kind::RealGauge, "g2", &[], &[], &[bits]),
            sample(Kind::Max, "m", &[], &[], &[0]),
            sample(Kind::Flag, "f", &[], &[], &[2]),
            sample(Kind::RateLimiter, "r", &[], &[], &[2]),
        ];
        let expected = "# HELP c H\n# TYPE c counter\nc 7\n# HELP f H\n# TYPE f gauge\nf 1\n\
            # HELP g H\n# TYPE g gauge\ng -1\n# HELP g2 H\n# TYPE g2 gauge\ng2 0.75\n# HELP h H\n# TYPE h histogram\n\
            h_bucket{a=\"b\",le=\"0.5\"} 1\nh_bucket{a=\"b\",le=\"1\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
            h_sum{a=\"b\"} 0.75\nh_count{a=\"b\"} 4\n# HELP m H\n# TYPE m gauge\n";
        assert_eq!(text(samples), expected);
    }

    #[test]
    fn help_that_is_empty_is_left_out() {
        let mut out = Exposition::default();
        out.family("a", MetricKind::Gauge, "").unwrap().add(&[], 1_u64);
        assert_eq!(out.into_text(), "# TYPE a gauge\na 1\n");
    }

    #[test]
    fn families_are_together_and_sorted() {
        let counter = |value: &str| sample(Kind::Counter, "c", &[("a", value)], &[], &[1]);
        let samples = vec![counter("z\\"), sample(Kind::Counter, "b", &[], &[], &[1]), counter("\"\n")];
        let expected = "# HELP b H\n# TYPE b counter\nb 1\n# HELP c H\n# TYPE c counter\n\
            c{a=\"\\\"\\n\"} 1\nc{a=\"z\\\\\"} 1\n";
        assert_eq!(text(samples), expected);
    }

    #[test]
    fn of_two_kinds_with_one_name_the_newer_is_shown() {
        let samples = vec![
            sample(Kind::Counter, "a", &[("x", "1")], &[], &[1]),
            sample(Kind::Gauge, "a", &[("x", "1")], &[], &[2]),
        ];
        assert_eq!(text(samples), "# HELP a H\n# TYPE a gauge\na{x=\"1\"} 2\n");
    }

    #[test]
    fn name_that_is_a_part_of_a_histogram_is_left_out() {
        let samples = vec![
            sample(Kind::Counter, "h_sum", &[], &[], &[1]),
            sample(Kind::Histogram, "h", &[], &[1.0], &[0, 0, 0, 0]),
            sample(Kind::Counter, "i_sum", &[], &[], &[1]),
        ];
        let text = text(samples);
        assert!(!text.contains("h_sum 1") && text.contains("h_sum 0") && text.contains("i_sum 1"), "{text}");
    }
}
