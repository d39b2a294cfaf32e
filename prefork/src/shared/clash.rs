//! Series that `/metrics` cannot show together.

use super::entry::{Entry, name_number};
use super::series::Kind;

/// What the text of a histogram adds to its name.
pub(super) const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Why two series cannot be shown together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Clash {
    /// They have one name, and another kind or other bounds.
    Family { other: Entry },
    /// One has the name of a part of the other, which is a histogram.
    Part { part: String, histogram: String },
}

impl Entry {
    /// The numbers of the names that series may have with which this one cannot be shown, besides its own.
    pub(super) fn names_of_parts(&self) -> Vec<u64> {
        let wholes = PARTS.iter().filter_map(|part| self.name.strip_suffix(part)).map(name_number);
        let parts = PARTS.iter().filter(|_| self.kind == Kind::Histogram);
        wholes.chain(parts.map(|part| name_number(&format!("{}{part}", self.name)))).collect()
    }

    /// Why this series and another cannot be shown together; `None` if they can.
    pub(super) fn clash(&self, other: &Self) -> Option<Clash> {
        if self.name == other.name {
            return (self.family() != other.family()).then(|| Clash::Family { other: other.clone() });
        }
        let is_part = |part: &Self, whole: &Self| {
            let rest = part.name.strip_prefix(whole.name.as_str());
            whole.kind == Kind::Histogram && part.is_shown() && rest.is_some_and(|rest| PARTS.contains(&rest))
        };
        let clash = |part: &Self, whole: &Self| {
            is_part(part, whole)
                .then(|| Clash::Part { part: part.name.clone(), histogram: whole.name.clone() })
        };
        clash(self, other).or_else(|| clash(other, self))
    }

    fn is_shown(&self) -> bool {
        !matches!(self.kind, Kind::RateLimiter | Kind::KeyedRateLimiter)
    }

    /// What tells a family from others of its name: `counter`, `histogram with the bounds 1, 2.5`.
    pub(super) fn shape_text(&self) -> String {
        let bounds: Vec<String> = self.bounds.iter().map(f64::to_string).collect();
        let kind = self.kind.name();
        if bounds.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind} with the bounds {}", bounds.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, name: &str) -> Entry {
        let bounds = if kind == Kind::Histogram { vec![0.5, 2.0] } else { Vec::new() };
        Entry { kind, name: name.to_owned(), help: String::new(), labels: Vec::new(), bounds }
    }

    #[test]
    fn names_of_parts_of_a_histogram_clash_with_it_and_no_others() {
        let histogram = entry(Kind::Histogram, "h");
        for name in ["h_bucket", "h_sum", "h_count"] {
            let part = entry(Kind::Counter, name);
            let expected = Some(Clash::Part { part: name.to_owned(), histogram: "h".to_owned() });
            assert_eq!((part.clash(&histogram), histogram.clash(&part)), (expected.clone(), expected));
            assert!(histogram.names_of_parts().contains(&name_number(name)));
            assert!(part.names_of_parts().contains(&name_number("h")));
        }
        for other in [
            entry(Kind::Counter, "h_total"),
            entry(Kind::RateLimiter, "h_count"),
            entry(Kind::Counter, "h_count_sum"),
        ] {
            assert_eq!((other.clash(&histogram), histogram.clash(&other)), (None, None), "{other:?}");
        }
        assert_eq!(entry(Kind::Counter, "a").clash(&entry(Kind::Counter, "a_sum")), None);
    }

    #[test]
    fn families_of_one_name_clash_and_series_of_one_family_do_not() {
        let counter = entry(Kind::Counter, "a");
        let gauge = entry(Kind::Gauge, "a");
        assert_eq!(counter.clash(&gauge), Some(Clash::Family { other: gauge }));
        let labelled = Entry { labels: vec![("x".to_owned(), "1".to_owned())], ..counter.clone() };
        assert_eq!(counter.clash(&labelled), None);
        assert_eq!(entry(Kind::Histogram, "h").shape_text(), "histogram with the bounds 0.5, 2");
    }
}
