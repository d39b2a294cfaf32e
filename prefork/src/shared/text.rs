//! The values of the fleet as text, in the format of Prometheus (`text/plain; version=0.0.4`).

use std::fmt::{self, Write as _};

use super::series::Kind;
use super::snapshot::{Sample, Snapshot, Value};

impl Snapshot {
    /// Adds the text of every series to `text`.
    pub(crate) fn write_to(&self, text: &mut String) {
        // `write!` to a String cannot fail.
        let _ = self.try_write(text);
    }

    fn try_write(&self, text: &mut String) -> fmt::Result {
        writeln!(
            text,
            "# HELP prefork_shared_full Shared values that processes count for themselves, for lack of room.\n\
             # TYPE prefork_shared_full gauge\n\
             prefork_shared_full {}",
            self.unplaced
        )?;
        for family in self.samples.chunk_by(|one, other| one.entry.name == other.entry.name) {
            let Some(first) = family.first() else { continue };
            let name = &first.entry.name;
            let kind = match first.entry.kind {
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
                _ => "gauge",
            };
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", Escaped(&first.entry.help, false))?;
            family.iter().try_for_each(|sample| sample.write_to(text))?;
        }
        Ok(())
    }
}

impl Sample {
    fn write_to(&self, text: &mut String) -> fmt::Result {
        let name = &self.entry.name;
        let labels = Labels(&self.entry.labels, None);
        match &self.value {
            Value::Counter(count) => writeln!(text, "{name}{labels} {count}"),
            Value::Gauge(value) => writeln!(text, "{name}{labels} {value}"),
            Value::Flag(value) => writeln!(text, "{name}{labels} {}", u8::from(*value)),
            Value::Extreme(Some(value)) => writeln!(text, "{name}{labels} {}", Number(*value)),
            Value::Extreme(None) => Ok(()),
            Value::Histogram { buckets, sum } => {
                let mut count = 0_u64;
                let bounds = self.entry.bounds.iter().copied().chain([f64::INFINITY]);
                for (bound, bucket) in bounds.zip(buckets) {
                    count = count.wrapping_add(*bucket);
                    writeln!(text, "{name}_bucket{} {count}", Labels(&self.entry.labels, Some(bound)))?;
                }
                writeln!(text, "{name}_sum{labels} {}\n{name}_count{labels} {count}", Number(*sum))
            }
        }
    }
}

/// Labels in braces, with the upper bound of a bucket if there is one; nothing without any.
struct Labels<'a>(&'a [(String, String)], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(labels, bound) = self;
        let mut before = '{';
        for (name, value) in *labels {
            write!(f, "{before}{name}=\"{}\"", Escaped(value, true))?;
            before = ',';
        }
        if let Some(bound) = bound {
            write!(f, "{before}le=\"{}\"", Number(*bound))?;
            before = ',';
        }
        if before == ',' { f.write_char('}') } else { Ok(()) }
    }
}

/// A text without line breaks; in a label value without quotes as well.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, is_quoted) = self;
        for character in text.chars() {
            match character {
                '\\' => f.write_str("\\\\"),
                '\n' => f.write_str("\\n"),
                '"' if *is_quoted => f.write_str("\\\""),
                other => f.write_char(other),
            }?;
        }
        Ok(())
    }
}

/// A number as Go writes it where it is not finite.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            finite_or_nan => write!(f, "{finite_or_nan}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::entry::Entry;
    use super::*;

    fn sample(
        kind: Kind,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        cells: &[u64],
    ) -> Option<Sample> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, help, bounds) = (name.to_owned(), "Some\nhelp \\ \"".to_owned(), bounds.to_vec());
        Sample::new(&Arc::new(Entry { kind, name, help, labels, bounds }), cells)
    }

    fn text(samples: Vec<Option<Sample>>) -> String {
        let mut text = String::new();
        Snapshot::new(samples, 2).write_to(&mut text);
        let (full, rest) = text.split_once("prefork_shared_full 2\n").unwrap();
        assert!(full.ends_with("# TYPE prefork_shared_full gauge\n"), "{full}");
        rest.replace("Some\\nhelp \\\\ \"", "HELP")
    }

    #[test]
    fn every_kind_is_written() {
        let bits = 0.75_f64.to_bits();
        let samples = vec![
            sample(Kind::Histogram, "h", &[("a", "b")], &[0.5, 1.0], &[1, 2, 1, bits, bits]),
            sample(Kind::Counter, "c", &[], &[], &[7]),
            sample(Kind::Gauge, "g", &[], &[], &[u64::MAX]),
            sample(Kind::Max, "m", &[], &[], &[0]),
            sample(Kind::Flag, "f", &[], &[], &[2]),
            sample(Kind::RateLimiter, "r", &[], &[], &[2]),
        ];
        let expected = "# HELP c HELP\n# TYPE c counter\nc 7\n# HELP f HELP\n# TYPE f gauge\nf 1\n\
            # HELP g HELP\n# TYPE g gauge\ng -1\n# HELP h HELP\n# TYPE h histogram\n\
            h_bucket{a=\"b\",le=\"0.5\"} 1\nh_bucket{a=\"b\",le=\"1\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
            h_sum{a=\"b\"} 0.75\nh_count{a=\"b\"} 4\n# HELP m HELP\n# TYPE m gauge\n";
        assert_eq!(text(samples), expected);
    }

    #[test]
    fn families_are_together_sorted_and_escaped() {
        let counter = |value: &str| sample(Kind::Counter, "c", &[("a", value)], &[], &[1]);
        let samples = vec![counter("z\\"), sample(Kind::Counter, "b", &[], &[], &[1]), counter("\"\n")];
        let expected = "# HELP b HELP\n# TYPE b counter\nb 1\n# HELP c HELP\n# TYPE c counter\n\
            c{a=\"\\\"\\n\"} 1\nc{a=\"z\\\\\"} 1\n";
        assert_eq!(text(samples), expected);
    }

    #[test]
    fn of_two_kinds_with_one_name_the_newer_is_shown() {
        let samples = vec![
            sample(Kind::Counter, "a", &[("x", "1")], &[], &[1]),
            sample(Kind::Gauge, "a", &[("x", "1")], &[], &[2]),
        ];
        assert_eq!(text(samples), "# HELP a HELP\n# TYPE a gauge\na{x=\"1\"} 2\n");
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
