//! The reference: a table of all options, for the guide and for the attribute's documentation.

use crate::kind::LONGEST;
use crate::{Kind, OPTIONS, OptionDefault, OptionRow};

/// The reference of all options, in Markdown.
pub fn markdown() -> String {
    let mut text = "| option | values | default | environment | effect |\n|---|---|---|---|---|\n".to_owned();
    for row in OPTIONS {
        text += &line(row);
    }
    text
}

fn line(row: &OptionRow) -> String {
    let default = match row.default {
        OptionDefault::Value("false") => "off".to_owned(),
        OptionDefault::Value(value) => format!("`{value}`"),
        OptionDefault::Rule(rule) => rule.to_owned(),
    };
    let variable = if row.environment { format!("`{}`", row.variable()) } else { String::new() };
    let feature = row.feature.map(|feature| format!(" Feature `{feature}`.")).unwrap_or_default();
    let values = values(row.kind);
    format!("| `{}` | {values} | {default} | {variable} | {}{feature} |\n", row.usage(), row.doc)
}

fn values(kind: Kind) -> String {
    let Kind::Duration(least, most) = kind else { return kind.to_string() };
    let bound = |word: &str, duration| format!(" {word} {}", humantime::format_duration(duration));
    let from = if least.is_zero() { String::new() } else { bound("from", least) };
    let to = if most == LONGEST { String::new() } else { bound("to", most) };
    format!("a duration{from}{to}")
}
