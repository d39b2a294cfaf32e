//! From the text of a configuration file to the values of options.
//!
//! Values have the type that TOML has for them: numbers, booleans, strings, and arrays of strings. What a string
//! stands for, the bounds, and the words of messages are those of the environment.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prefork_options::{Kind, OptionRow, Problem, Value, find, meant_by};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::environment::has_feature;
use super::super::values::bad;
use super::{Place, at};
use crate::error::Error;

/// More problems than a reader corrects at once.
pub(super) const PROBLEMS_MAX: usize = 50;
/// A longer value is cut in messages.
const SHOWN_MAX: usize = 60;
/// A longer reason is cut: it quotes an address more than once.
const REASON_MAX: usize = 200;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) settings: Vec<Setting>,
    /// In the order of the file. With the option whose value was refused.
    pub(super) problems: Vec<(Option<&'static OptionRow>, Error)>,
}

/// A value that an option takes.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) row: &'static OptionRow,
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What is wrong at a place.
struct Mistake {
    offset: usize,
    row: Option<&'static OptionRow>,
    kind: MistakeKind,
}

enum MistakeKind {
    /// Of the text.
    Text(String),
    /// A key whose value is this: a table, or an array of tables.
    Table(String, &'static str),
    /// A key that sets nothing, and the option of this name.
    Key(String, Option<&'static OptionRow>),
    /// Of a value, which is shown.
    Value(&'static OptionRow, String, Problem),
}

/// Reads the text of the file at `path`. Every problem is found.
pub(super) fn parse(path: &Path, text: &str) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(text);
    let places = Places::new(text);
    let mut mistakes: Vec<Mistake> = errors
        .iter()
        .map(|error| {
            let offset = error.span().map_or(text.len(), |span| span.start);
            Mistake { offset, row: None, kind: MistakeKind::Text(error.message().to_owned()) }
        })
        .collect();
    // What the parser puts in place of malformed text is not the user's.
    let malformed: BTreeSet<usize> = mistakes.iter().map(|mistake| places.line(mistake.offset)).collect();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let (row, offset) = (find(key.get_ref()), value.span().start);
        if [key.span().start, offset].iter().any(|offset| malformed.contains(&places.line(*offset))) {
            continue;
        }
        if let Some(tables) = tables(value.get_ref()) {
            let kind = MistakeKind::Table(key.get_ref().to_string(), tables);
            mistakes.push(Mistake { offset: key.span().start, row: None, kind });
            continue;
        }
        match row.filter(|row| row.is_in_file() && has_feature(row)) {
            None => {
                let kind = MistakeKind::Key(key.get_ref().to_string(), row);
                mistakes.push(Mistake { offset: key.span().start, row: None, kind });
            }
            Some(row) => match read(row.kind, value, text) {
                Ok(value) => settings.push(Setting { row, value, place: places.of(offset) }),
                Err((shown, problem)) => {
                    let kind = MistakeKind::Value(row, shown, problem);
                    mistakes.push(Mistake { offset, row: Some(row), kind });
                }
            },
        }
    }
    Parsed { settings, problems: describe(path, &places, mistakes) }
}

/// The mistakes as errors, the first ones of very many.
fn describe(
    path: &Path,
    places: &Places<'_>,
    mut mistakes: Vec<Mistake>,
) -> Vec<(Option<&'static OptionRow>, Error)> {
    mistakes.sort_by_key(|mistake| mistake.offset);
    let further = mistakes.len().saturating_sub(PROBLEMS_MAX);
    let mut problems = Vec::new();
    for Mistake { offset, row, kind } in mistakes.into_iter().take(PROBLEMS_MAX) {
        let place = places.of(offset);
        let unusable = |reason| Error::ConfigFile {
            path: path.to_owned(),
            place: Some((place.line, place.column)),
            reason,
            source: None,
        };
        let error = match kind {
            MistakeKind::Text(reason) => unusable(reason),
            MistakeKind::Table(key, tables) => {
                let shown = key.escape_debug().to_string();
                let shown = cut(&shown, SHOWN_MAX);
                unusable(format!(
                    "`{shown}` is {tables}: options stand at the top of the file, without tables"
                ))
            }
            // The nearest option is looked for here, because a file may have very many unknown keys.
            MistakeKind::Key(key, named) => unusable(unknown(&key, named)),
            MistakeKind::Value(row, _, Problem::Address(reason)) => {
                unusable(format!("{}: {}", row.name, cut(&reason, REASON_MAX)))
            }
            MistakeKind::Value(row, shown, problem) => {
                bad(format!("{}: {}", at(path, place), row.name), shown, row.kind.expected(&problem))
            }
        };
        problems.push((row, error));
    }
    if further > 0 {
        let reason = format!("it has {further} further problems");
        problems.push((None, Error::ConfigFile { path: path.to_owned(), place: None, reason, source: None }));
    }
    problems
}

/// What the value is, if it has keys of its own: of `[x]`, `x.y = 1` and `[[x]]`.
fn tables(value: &DeValue<'_>) -> Option<&'static str> {
    match value {
        DeValue::Table(_) => Some("a table"),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
            Some("an array of tables")
        }
        _ => None,
    }
}

/// What is wrong with a key that sets nothing. `row` is the option of this name.
fn unknown(key: &str, row: Option<&OptionRow>) -> String {
    // A quoted key may contain anything.
    let escaped = key.escape_debug().to_string();
    let shown = cut(&escaped, SHOWN_MAX);
    match (row, meant_by(key)) {
        (Some(row), _) if !row.environment => format!("`{key}` can only be set by the program itself"),
        (Some(row), _) if !row.is_in_file() => format!("`{key}` names this file, and cannot be set in it"),
        (Some(row), _) => {
            let feature = row.feature.unwrap_or_default();
            format!("`{key}` has no effect: the program is built without the feature `{feature}` of prefork")
        }
        (None, Some(meant)) if meant.is_in_file() && has_feature(meant) => {
            format!("unknown option `{shown}`: did you mean `{}`?", meant.name)
        }
        (None, _) => format!("unknown option `{shown}`"),
    }
}

/// The value for an option of this kind; or the value as it is written, and what is wrong with it.
fn read(kind: Kind, value: &Spanned<DeValue<'_>>, text: &str) -> Result<Value, (String, Problem)> {
    let written = || cut(text.get(value.span()).unwrap_or_default(), SHOWN_MAX).into_owned();
    let malformed = || (written(), Problem::Malformed);
    let text = match (kind, value.get_ref()) {
        (Kind::Switch, DeValue::Boolean(on)) => return Ok(Value::Switch(*on)),
        (Kind::Count(..) | Kind::Signed(..) | Kind::Size | Kind::Account, DeValue::Integer(number)) => {
            Cow::Owned(decimal(number.as_str(), number.radix()).ok_or_else(malformed)?)
        }
        // `660` would be another number than the one that was meant.
        (Kind::Mode, DeValue::Integer(number)) if number.radix() == 8 => Cow::Borrowed(number.as_str()),
        (Kind::Duration(..), DeValue::Integer(_)) => return Err((written(), Problem::NoUnit)),
        (Kind::Switch | Kind::Count(..) | Kind::Signed(..), _) => return Err(malformed()),
        (Kind::Addrs, DeValue::Array(items)) => {
            let addrs = texts(items).ok_or_else(malformed)?;
            return checked(kind, addrs.map(str::to_owned).collect::<Vec<_>>().into(), written);
        }
        (Kind::Files, DeValue::Array(items)) => {
            let paths = texts(items).ok_or_else(malformed)?;
            return checked(kind, paths.map(PathBuf::from).collect::<Vec<_>>().into(), written);
        }
        // A path may contain what separates paths in a variable.
        (Kind::Files, DeValue::String(path)) => {
            return checked(kind, vec![PathBuf::from(path.as_ref())].into(), written);
        }
        (_, DeValue::String(text)) => Cow::Borrowed(text.as_ref()),
        _ => return Err(malformed()),
    };
    kind.parse(&text).map_err(|problem| (cut(&text, SHOWN_MAX).into_owned(), problem))
}

fn checked(kind: Kind, value: Value, written: impl Fn() -> String) -> Result<Value, (String, Problem)> {
    kind.check(&value).map_err(|problem| (written(), problem)).map(|()| value)
}

/// The texts of an array of strings.
fn texts<'a>(items: &'a [Spanned<DeValue<'_>>]) -> Option<impl Iterator<Item = &'a str>> {
    items
        .iter()
        .all(|item| item.get_ref().is_str())
        .then(|| items.iter().filter_map(|item| item.get_ref().as_str()))
}

/// An integer of any radix in decimal digits. One that is too large for any option stays as it is.
fn decimal(digits: &str, radix: u32) -> Option<String> {
    if radix == 10 {
        return Some(digits.to_owned());
    }
    i128::from_str_radix(digits, radix).ok().map(|number| number.to_string())
}

/// The beginning of a long text.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Lines and columns of a text.
pub(super) struct Places<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // A byte order mark is in no column.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let lines = [first].into_iter().chain(text.match_indices('\n').map(|(end, _)| end + 1));
        Self { text, lines: lines.collect() }
    }

    /// The index of the line at this offset.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    pub(super) fn of(&self, offset: usize) -> Place {
        let line = self.line(offset);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { line: line + 1, column: before.chars().count() + 1 }
    }
}
