//! Reads metrics in the Prometheus text format, strictly: what a scraper would tolerate is an error here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::fleet::RunningFleet;
use crate::{client, wait};

/// The metrics of one scrape.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// The kind of each family.
    pub kinds: BTreeMap<String, String>,
    /// The value of each series, which is written as in the text: `name{label="value"}`.
    pub values: BTreeMap<String, f64>,
}

/// Asks for `/metrics`, and reads the answer.
///
/// # Panics
///
/// If it is no answer, or not in the format.
pub fn scrape(addr: SocketAddr) -> Metrics {
    let answer = client::exchange(addr, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answer = answer.expect("an answer");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    Metrics::parse(text).unwrap_or_else(|problem| panic!("{problem} in\n{text}"))
}

/// The text of `/metrics`, unread.
///
/// # Panics
///
/// If there is no answer.
pub fn text(addr: SocketAddr) -> String {
    let answer = client::exchange(addr, "GET /metrics HTTP/1.0\r\n\r\n").expect("an answer");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// Scrapes until `condition` holds. Counters must not shrink meanwhile.
pub fn wait_for(fleet: &RunningFleet, what: &str, condition: impl Fn(&Metrics) -> bool) -> Metrics {
    let addr = fleet.health_addr();
    let mut last = Metrics::default();
    let describe = || format!("{what}; standard error: {:#?}", fleet.console.lines());
    wait::for_value_or(describe, || {
        let metrics = scrape(addr);
        metrics.assert_grown_since(&last);
        last = metrics;
        condition(&last).then(|| last.clone())
    })
}

/// Waits until a series has the value.
pub fn wait_for_value(fleet: &RunningFleet, series: &str, value: f64) -> Metrics {
    wait_for(fleet, &format!("{series} {value}"), |metrics| metrics.find(series) == Some(value))
}

impl Metrics {
    /// # Errors
    ///
    /// A description of what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.strip_suffix('\n').ok_or("the last line does not end")?.split('\n');
        let mut metrics = Self::default();
        let mut family = None;
        let mut helped = None;
        for line in lines {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or(wrong("no help"))?;
                check_escapes(help, "\\n").ok_or(wrong("bad escape"))?;
                helped = Some(name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or(wrong("no kind"))?;
                if helped.take() != Some(name) || !is_name(name, ":") {
                    return Err(wrong("a type without help, or a bad name"));
                }
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(wrong("an unknown kind"));
                }
                if metrics.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(wrong("a family in two parts"));
                }
                family = Some((name, kind));
            } else {
                let (name, kind) = family.filter(|_| helped.is_none()).ok_or(wrong("a sample alone"))?;
                let (series, value) = line.rsplit_once(' ').ok_or(wrong("no value"))?;
                check_series(series, name, kind).map_err(|what| wrong(&what))?;
                let value = read_number(value).ok_or(wrong("no number"))?;
                if kind != "gauge" && (value.is_nan() || value < 0.0) && !series.contains("_sum") {
                    return Err(wrong("not a number that grows"));
                }
                if metrics.values.insert(series.to_owned(), value).is_some() {
                    return Err(wrong("a series twice"));
                }
            }
        }
        if let Some(helped) = helped {
            return Err(format!("help of {helped} without its type"));
        }
        Ok(metrics)
    }

    /// Panics unless counters, and nothing else, have the end of a name that is usual for them.
    pub fn assert_usual_names(&self) {
        for (name, kind) in &self.kinds {
            assert_eq!(name.ends_with("_total"), kind == "counter", "{kind} {name}");
        }
    }

    /// The value of a series.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("there is no {series} in {:#?}", self.values))
    }

    /// The value of a series, if there is one.
    pub fn find(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// The sum of all series of a family.
    pub fn sum(&self, family: &str) -> f64 {
        let of_family = |series: &str| series.split('{').next() == Some(family);
        self.values.iter().filter(|(series, _)| of_family(series)).map(|(_, value)| value).sum()
    }

    /// Panics if a counter of `before` has shrunk or is gone, except those of slots that are gone.
    pub fn assert_grown_since(&self, before: &Self) {
        for (series, value) in &before.values {
            let family = series.split('{').next().unwrap_or_default();
            if before.kinds.get(family).is_none_or(|kind| kind != "counter") {
                continue;
            }
            match self.find(series) {
                Some(now) => assert!(now >= *value, "{series} was {value} and is {now}"),
                None => assert!(series.contains("{slot="), "{series} is gone"),
            }
        }
    }
}

/// Runs the text through Prometheus's own check. Returns false if that is not installed.
///
/// # Panics
///
/// If it finds anything.
pub fn passes_promtool(text: &str) -> bool {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut process) = promtool.spawn() else { return false };
    process.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = process.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
    true
}

fn is_name(name: &str, also: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || also.contains(letter))
}

/// Every backslash begins one of these escapes, or is one itself.
fn check_escapes(text: &str, escapes: &str) -> Option<()> {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next().filter(|next| *next == '\\' || escapes[1..].contains(*next))?;
        }
    }
    Some(())
}

/// Checks `name{label="value",…}`.
fn check_series(series: &str, family: &str, kind: &str) -> Result<(), String> {
    let name = series.split('{').next().unwrap_or_default();
    let part = name.strip_prefix(family).ok_or("a sample of another family")?;
    let parts: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    if !parts.contains(&part) {
        return Err("a sample of another family".to_owned());
    }
    let mut rest = &series[name.len()..];
    let mut names = BTreeSet::new();
    if !rest.is_empty() {
        rest = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or("no braces")?;
        loop {
            let (label, value) = rest.split_once("=\"").ok_or("a label without value")?;
            if !is_name(label, "") || !names.insert(label) {
                return Err(format!("the label {label:?}"));
            }
            let end = end_of_value(value).ok_or("a value without end")?;
            check_escapes(&value[..end], "\\n\"").ok_or("a bad escape")?;
            rest = &value[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None if rest.is_empty() => break,
                None => return Err("something after a label".to_owned()),
            }
        }
    }
    if (part == "_bucket") != names.contains("le") {
        return Err("a bucket without bound, or a bound without bucket".to_owned());
    }
    Ok(())
}

/// The place of the quote that ends the value.
fn end_of_value(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.char_indices().find_map(|(place, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(place)
    })
}

fn read_number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text
            .chars()
            .all(|letter| letter.is_ascii_digit() || "+-.eE".contains(letter))
            .then(|| text.parse().ok())?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_the_format_is_read() {
        let text = "# HELP a_total One.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"} b\"} 2\na_total 3\n\
                    # HELP b Two \\n lines.\n# TYPE b histogram\nb_bucket{le=\"+Inf\"} 1\nb_sum 1.5\nb_count 1\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a_total"), 5.0);
        assert_eq!(metrics.get("b_sum"), 1.5);
    }

    #[test]
    fn text_that_a_scraper_might_refuse_is_an_error() {
        let with = |lines: &str| format!("# HELP a A.\n# TYPE a gauge\n{lines}");
        for text in [
            "",
            "a 1\n",
            "# HELP a A.\n",
            "# TYPE a gauge\na 1\n",
            "# HELP a A.\n# TYPE a number\na 1\n",
            "# HELP a_total A.\n# TYPE a_total counter\na_total -1\n",
            &with("a 1"),
            &with("\n"),
            &with("b 1\n"),
            &with("a_sum 1\n"),
            &with("a 1\na 1\n"),
            &with("a  1\n"),
            &with("a 0x1\n"),
            &with("a{} 1\n"),
            &with("a{b=\"1\",} 1\n"),
            &with("a{b=\"1\",b=\"2\"} 1\n"),
            &with("a{b=1} 1\n"),
            &with("a{b=\"\\t\"} 1\n"),
            &with("a{b=\"\"\"} 1\n"),
            &with("a{b-c=\"1\"} 1\n"),
            &with("a 1\n# HELP a A.\n# TYPE a gauge\n"),
        ] {
            assert!(Metrics::parse(text).is_err(), "{text:?}");
        }
    }
}
