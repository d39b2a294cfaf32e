//! Names, labels and help as Prometheus has them.

use std::collections::BTreeMap;

use metrics::{Key, Unit};

use super::super::entry::Entry;
use super::super::family::OTHER;
use super::super::layout::{MAX_HELP, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME};
use super::super::series::{Kind, Label, is_reserved};

/// Labels by name.
pub(super) type Labels<'a> = BTreeMap<String, &'a str>;

/// The name as Prometheus allows it, and this crate.
pub(super) fn metric_name(name: &str) -> String {
    let name = allowed(name, ":");
    if is_reserved(&name) { format!("_{name}") } else { name }
}

/// The text with `_` for what is neither a letter, a digit, `_` nor one of `also`. It does not begin with a digit.
fn allowed(name: &str, also: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() || also.contains(letter) { letter } else { '_' }
    };
    let begins_well = name.starts_with(|first: char| !first.is_ascii_digit());
    let prefix = if begins_well { None } else { Some('_') };
    // Room for one more at either end.
    prefix.into_iter().chain(name.chars().map(letter)).take(MAX_NAME - 2).collect()
}

/// The labels; of those with one name the last. An empty value is no label, as in Prometheus. `None` if they are too
/// many, or their names too long for any value.
pub(super) fn labels_of(key: &Key, kind: Kind) -> Option<Labels<'_>> {
    let labels = key.labels().map(|label| (label_name(label.key(), kind), label.value()));
    let mut labels: Labels<'_> = labels.collect();
    labels.retain(|_, value| !value.is_empty());
    let of_other: Labels<'_> = labels.keys().map(|name| (name.clone(), OTHER)).collect();
    (labels.len() <= MAX_LABELS && fit(&of_other)).then_some(labels)
}

/// Whether there is room for their texts.
pub(super) fn fit(labels: &Labels<'_>) -> bool {
    let length = |(name, value): (&String, &&str)| name.len() + value.len() + 2 * size_of::<u16>();
    labels.iter().map(length).sum::<usize>() <= MAX_LABEL_BYTES
}

pub(super) fn label_name(name: &str, kind: Kind) -> String {
    let name = allowed(name, "");
    // Prometheus keeps names with two of them to itself.
    let name = if name.starts_with("__") { format!("_{}", name.trim_start_matches('_')) } else { name };
    match name.as_str() {
        "_" => "_label".to_owned(),
        "le" if kind == Kind::Histogram => "le_".to_owned(),
        _ => name,
    }
}

/// The series, without a help.
pub(super) fn entry(kind: Kind, name: &str, labels: &Labels<'_>, bounds: &[f64]) -> Entry {
    let labels = labels.iter().map(|(name, value)| (name.clone(), (*value).to_owned()));
    let (name, bounds) = (name.to_owned(), bounds.to_vec());
    Entry { kind, name, help: String::new(), labels: labels.collect(), bounds }
}

/// Labels for a series, of which there are as many as there may be series.
pub(super) fn leak(labels: &Labels<'_>, value_of_all: Option<&'static str>) -> &'static [Label] {
    let labels = labels.iter().map(|(name, value)| {
        let value = value_of_all.unwrap_or_else(|| String::leak((*value).to_owned()));
        (&*String::leak(name.clone()), value)
    });
    labels.collect::<Vec<Label>>().leak()
}

/// The description, and the unit if the name does not tell it.
pub(super) fn help_text(name: &str, unit: Option<Unit>, description: &str) -> String {
    let unit = unit.filter(|unit| *unit != Unit::Count && !name.contains(unit.as_str()));
    let unit = unit.map(|unit| format!(" ({})", unit.as_str())).unwrap_or_default();
    let room = MAX_HELP - unit.len();
    let end = (0..=room.min(description.len())).rev().find(|end| description.is_char_boundary(*end));
    format!("{}{unit}", &description[..end.unwrap_or(0)])
}
