//! The Prometheus text format, version 0.0.4.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Signed(i64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<bool> for Number {
    fn from(condition: bool) -> Self {
        Self::Whole(condition.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// The text, family by family.
///
/// Names of metrics and labels are the caller's responsibility; help and the values of labels may be any text.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    families: BTreeSet<String>,
}

impl Exposition {
    /// A text that has room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), families: BTreeSet::new() }
    }

    /// Begins a family; `None` if there is one of this name already, which a scraper would refuse.
    pub(crate) fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> Option<Samples<'_>> {
        if !self.families.insert(name.to_owned()) {
            return None;
        }
        if !help.is_empty() {
            self.text.extend(["# HELP ", name, " "]);
            escape(help, false, &mut self.text);
            self.text.push('\n');
        }
        self.text.extend(["# TYPE ", name, " ", kind.name(), "\n"]);
        Some(Samples { text: &mut self.text, name: name.to_owned() })
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one family.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    name: String,
}

impl Samples<'_> {
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.add_part("", labels, value);
    }

    /// A sample of a part of a histogram: `_bucket`, `_sum` or `_count`.
    pub(crate) fn add_part(&mut self, part: &str, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.text.extend([&self.name, part]);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.extend([if place == 0 { "{" } else { "," }, name, "=\""]);
            escape(value, true, self.text);
            self.text.push('"');
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        write_number(value.into(), self.text);
        self.text.push('\n');
    }
}

/// In help, quotes stay as they are.
fn escape(text: &str, quotes: bool, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// A number alone, for the bound of a bucket.
pub(crate) fn number_text(number: Number) -> String {
    let mut text = String::new();
    write_number(number, &mut text);
    text
}

fn write_number(number: Number, out: &mut String) {
    // `write!` to a String cannot fail.
    let _ = match number {
        Number::Whole(number) => write!(out, "{number}"),
        Number::Signed(number) => write!(out, "{number}"),
        Number::Real(number) if number == f64::INFINITY => out.write_str("+Inf"),
        Number::Real(number) if number == f64::NEG_INFINITY => out.write_str("-Inf"),
        Number::Real(number) => write!(out, "{number}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_has_help_type_and_samples() {
        let mut out = Exposition::default();
        let mut samples = out.family("jobs_total", MetricKind::Counter, "Jobs.").unwrap();
        samples.add(&[], 7_u64);
        samples.add(&[("kind", "a"), ("size", "b")], u64::MAX);
        let expected = "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total 7\n\
                        jobs_total{kind=\"a\",size=\"b\"} 18446744073709551615\n";
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn text_is_escaped() {
        let mut out = Exposition::default();
        let hostile = "a\\b\"c\nd\u{e4}} 1";
        out.family("a", MetricKind::Gauge, hostile).unwrap().add(&[("b", hostile)], 1_u64);
        let expected =
            "# HELP a a\\\\b\"c\\nd\u{e4}} 1\n# TYPE a gauge\na{b=\"a\\\\b\\\"c\\nd\u{e4}} 1\"} 1\n";
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn numbers_are_those_that_go_can_read() {
        for (number, expected) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut text = String::new();
            write_number(number.into(), &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn name_is_used_once() {
        let mut out = Exposition::default();
        assert!(out.family("a", MetricKind::Gauge, "").is_some());
        assert!(out.family("a", MetricKind::Counter, "").is_none());
    }
}
