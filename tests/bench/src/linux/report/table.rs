//! The figures of one comparison.

use std::borrow::Cow;

use crate::linux::statistics::{Summary, ratios};

/// An infinite time.
const NEVER: &str = "never";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Seconds,
    PerSecond,
    Bytes,
    Count,
    /// Between 0 and 1.
    Index,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        if value.is_infinite() {
            return NEVER.to_owned();
        }
        let (factor, name) = self.scale(value);
        format!("{}{name}", digits(value / factor))
    }

    /// The median, and the range if there is one, in one unit.
    pub(crate) fn show_range(self, summary: Summary) -> String {
        if summary.median.is_infinite() {
            return NEVER.to_owned();
        }
        let (factor, name) = self.scale(summary.median);
        let [median, lowest, highest] =
            [summary.median, summary.lowest, summary.highest].map(|value| digits(value / factor));
        if lowest == highest {
            format!("{median}{name}")
        } else {
            format!("{median}{name} ({lowest} to {highest})")
        }
    }

    fn scale(self, value: f64) -> (f64, &'static str) {
        let value = value.abs();
        match self {
            Self::Seconds if !value.is_finite() || value >= 1.0 => (1.0, " s"),
            Self::Seconds if value >= 1e-3 => (1e-3, " ms"),
            Self::Seconds => (1e-6, " µs"),
            Self::Bytes if value >= 1e6 => (1e6, " MB"),
            Self::Bytes => (1e3, " kB"),
            Self::PerSecond | Self::Count if value >= 1e6 => (1e6, "M"),
            Self::PerSecond | Self::Count if value >= 1e4 => (1e3, "k"),
            Self::PerSecond | Self::Count | Self::Index => (1.0, ""),
        }
    }
}

/// Three digits, or more before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        _ if value.is_infinite() => NEVER.to_owned(),
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Better {
    More,
    Less,
    /// No ratio says anything, for instance to zero.
    Neither,
}

#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) name: Cow<'static, str>,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
    pub(crate) plotted: bool,
}

impl Metric {
    /// One that is plotted.
    pub(crate) const fn new(name: &'static str, unit: Unit, better: Better) -> Self {
        Self { name: Cow::Borrowed(name), unit, better, plotted: true }
    }

    /// One that is in the table only.
    pub(crate) const fn unplotted(name: &'static str, unit: Unit, better: Better) -> Self {
        Self { name: Cow::Borrowed(name), unit, better, plotted: false }
    }
}

/// A contender's figures: for each metric those of all rounds.
pub(crate) struct Row {
    pub(crate) name: String,
    figures: Vec<Vec<Option<f64>>>,
}

pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) notes: Vec<String>,
    pub(crate) floor: &'static str,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) rows: Vec<Row>,
    /// The metrics are one metric at these sizes.
    pub(crate) sizes: Vec<usize>,
    rounds: usize,
}

impl Table {
    pub(crate) fn new(title: String, floor: &'static str, metrics: &[Metric]) -> Self {
        Self {
            title,
            notes: Vec::new(),
            floor,
            metrics: metrics.to_vec(),
            rows: Vec::new(),
            sizes: Vec::new(),
            rounds: 0,
        }
    }

    /// One metric at several sizes.
    pub(crate) fn of_sizes(
        title: &str,
        floor: &'static str,
        sizes: &[usize],
        unit: Unit,
        better: Better,
    ) -> Self {
        let metric = |size: &usize| Metric { name: size.to_string().into(), unit, better, plotted: false };
        let metrics: Vec<Metric> = sizes.iter().map(metric).collect();
        Self { sizes: sizes.to_vec(), ..Self::new(title.to_owned(), floor, &metrics) }
    }

    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(crate) fn next_round(&mut self) {
        self.rounds += 1;
    }

    /// Sets a figure of this round.
    pub(crate) fn set(&mut self, name: &str, metric: usize, value: f64) {
        let place = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), figures: vec![Vec::new(); self.metrics.len()] });
            self.rows.len() - 1
        });
        let figures = &mut self.rows[place].figures[metric];
        figures.resize(self.rounds, None);
        if let Some(last) = figures.last_mut() {
            *last = Some(value);
        }
    }

    pub(crate) fn summary(&self, row: &Row, metric: usize) -> Option<Summary> {
        Summary::of(row.figures[metric].iter().flatten().copied())
    }

    /// How many times the floor's figure this one is, in the same rounds.
    pub(crate) fn ratio(&self, row: &Row, metric: usize) -> Option<Summary> {
        if self.metrics[metric].better == Better::Neither {
            return None;
        }
        ratios(&row.figures[metric], &self.floor_row()?.figures[metric])
    }

    /// By how much the floor itself changed from round to round: a smaller difference between others is noise.
    pub(crate) fn drift(&self) -> Vec<(&str, f64)> {
        let Some(floor) = self.floor_row().filter(|_| self.rounds_of_each() > 1) else { return Vec::new() };
        let compared = self.metrics.iter().enumerate().filter(|(_, metric)| metric.better != Better::Neither);
        compared
            .filter_map(|(place, metric)| Some((&*metric.name, self.summary(floor, place)?.spread())))
            .collect()
    }

    /// The rounds of a metric. Each size has rounds of its own.
    fn rounds_of_each(&self) -> usize {
        self.rounds / self.sizes.len().max(1)
    }

    fn floor_row(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == self.floor)
    }

    /// A cell: the ratio first, then median, lowest and highest.
    pub(crate) fn cell(&self, row: &Row, metric: usize) -> String {
        let Some(summary) = self.summary(row, metric) else { return "–".to_owned() };
        let absolute = self.metrics[metric].unit.show_range(summary);
        match self.ratio(row, metric) {
            Some(ratio) if row.name != self.floor && ratio.median.is_finite() => {
                format!("×{} · {absolute}", digits(ratio.median))
            }
            _ => absolute,
        }
    }

    /// A sentence on the drift of the floor.
    pub(crate) fn drift_sentence(&self) -> Option<String> {
        let drift = self.drift();
        let parts: Vec<String> =
            drift.iter().map(|(name, spread)| format!("{name} {:.0}%", spread * 100.0)).collect();
        let rounds = self.rounds_of_each();
        (!parts.is_empty())
            .then(|| format!("Spread of the floor over {rounds} rounds: {}.", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: [Metric; 1] = [Metric::new("time", Unit::Seconds, Better::Less)];

    fn table() -> Table {
        let mut table = Table::new("Times".to_owned(), "floor", &METRICS);
        for factor in [1.0, 2.0, 3.0] {
            table.next_round();
            table.set("floor", 0, 0.001 * factor);
            table.set("other", 0, 0.002 * factor);
        }
        table
    }

    #[test]
    fn drift_of_the_machine_cancels_in_ratios() {
        let table = table();
        let ratio = table.ratio(&table.rows[1], 0);
        assert!(ratio.is_some_and(|ratio| (ratio.highest - 2.0).abs() < 1e-9 && ratio.spread() < 1e-9));
    }

    #[test]
    fn cell_has_ratio_median_and_range() {
        let table = table();
        assert_eq!(table.cell(&table.rows[0], 0), "2.00 ms (1.00 to 3.00)");
        assert_eq!(table.cell(&table.rows[1], 0), "×2.00 · 4.00 ms (2.00 to 6.00)");
    }

    #[test]
    fn drift_is_that_of_the_floor() {
        assert_eq!(
            table().drift_sentence().as_deref(),
            Some("Spread of the floor over 3 rounds: time 100%.")
        );
    }

    #[test]
    fn contender_that_missed_a_round_keeps_its_other_rounds() {
        let mut table = table();
        table.next_round();
        table.set("floor", 0, 0.001);
        table.set("late", 0, 0.005);
        let late = &table.rows[2];
        assert!(table.ratio(late, 0).is_some_and(|ratio| (ratio.median - 5.0).abs() < 1e-9));
    }

    #[test]
    fn what_never_ends_is_called_so() {
        assert_eq!(Unit::Seconds.show(f64::INFINITY), "never");
    }
}
