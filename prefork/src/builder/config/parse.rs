//! From the text of a configuration file to the values of options.
//!
//! Values have the type that TOML has for them: numbers, booleans, strings, and arrays of strings. What a string
//! stands for, the bounds, and the words of messages are those of the environment.

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
const PROBLEMS_MAX: usize = 50;
/// A longer value is cut in messages.
const SHOWN_MAX: usize = 60;

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
            // The nearest option is looked for here, because a file may have very many unknown keys.
            MistakeKind::Key(key, named) => unusable(unknown(&key, named)),
            MistakeKind::Value(row, _, Problem::Address(reason)) => {
                unusable(format!("{}: {reason}", row.name))
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

/// What is wrong with a key that sets nothing. `row` is the option of this name.
fn unknown(key: &str, row: Option<&OptionRow>) -> String {
    // A quoted key may contain anything.
    let escaped = key.escape_debug().to_string();
    let shown = cut(&escaped);
    match (row, meant_by(key)) {
        (Some(row), _) if !row.environment => format!("`{key}` can only be set by the program itself"),
        (Some(row), _) if !row.is_in_file() => format!("`{key}` names this file, and cannot be set in it"),
        (Some(row), _) => {
            let feature = row.feature.unwrap_or_default();
            format!("`{key}` has no effect: the program is built without the feature `{feature}` of prefork")
        }
        (None, Some(meant)) if meant.is_in_file() && has_feature(meant) => {
            format!("`{shown}` is no option: did you mean `{}`?", meant.name)
        }
        (None, _) => format!("`{shown}` is no option"),
    }
}

/// The value for an option of this kind; or the value as it is written, and what is wrong with it.
fn read(kind: Kind, value: &Spanned<DeValue<'_>>, text: &str) -> Result<Value, (String, Problem)> {
    let written = || cut(text.get(value.span()).unwrap_or_default()).into_owned();
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
    kind.parse(&text).map_err(|problem| (cut(&text).into_owned(), problem))
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
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_MAX) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &str = "/etc/app.toml";

    fn values(text: &str) -> Vec<String> {
        let Parsed { mut settings, problems } = parse(Path::new(PATH), text);
        assert!(problems.is_empty(), "{problems:?}");
        settings.sort_by_key(|setting| setting.place);
        settings
            .iter()
            .map(|Setting { row, value, place }| format!("{place} {} {}", row.name, value.spell()))
            .collect()
    }

    fn problems(text: &str) -> Vec<String> {
        let problems = parse(Path::new(PATH), text).problems;
        problems.iter().map(|(_, error)| error.to_string()).collect()
    }

    #[test]
    fn values_have_the_types_of_toml() {
        let text = r#"
# a comment
workers = 4
reuseport = true
shutdown_grace = "90s"
max_rss = "512MiB"
nice = -5
addr = ["127.0.0.1:80", "unix:/run/a, b"]
unix_mode = 0o660
backlog = 0x400
user = 33
landlock_read = ["/etc/ssl", "/a:b"]
landlock_write = "/var/lib:x"
"title" = 'it''is'
"#
        .replace("it''is", "it is");
        assert_eq!(
            values(&text),
            [
                "3:11 workers 4",
                "4:13 reuseport true",
                "5:18 shutdown_grace 1m 30s",
                "6:11 max_rss 536870912",
                "7:8 nice -5",
                "8:8 addr 127.0.0.1:80, unix:/run/a, b",
                "9:13 unix_mode 0o660",
                "10:11 backlog 1024",
                "11:8 user 33",
                "12:17 landlock_read /etc/ssl, /a:b",
                "13:18 landlock_write /var/lib:x",
                "14:11 title it is",
            ]
        );
        assert_eq!(
            values("max_rss = 1_000\r\nunix_mode = \"660\"\r\n"),
            ["1:11 max_rss 1000", "2:13 unix_mode 0o660"]
        );
        assert_eq!(values("\u{feff}workers = 1"), ["1:11 workers 1"]);
        assert_eq!(values(""), [""; 0]);
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let text = r#"workers = -1
shutdown_grace = 5
worker = 4
stop_delay = "soon"
reuseport = "yes"
recover = "5"
health = "here"
unix_mode = 660
addr = ["127.0.0.1:80", 80]
bind = ":80"
ready = "manual"
config = "/etc/other.toml"
colour = "blue"
on_child_spawn = "f"
max_lifetime = 1979-05-27
[server]
workers = 1
"#;
        assert_eq!(
            problems(text),
            [
                "/etc/app.toml:1:11: workers cannot be `-1`: expected a number from 0 to 4096",
                "/etc/app.toml:2:18: shutdown_grace cannot be `5`: expected a duration such as `250ms`, `5s` or `2m`",
                "/etc/app.toml:3:1: `worker` is no option: did you mean `workers`?",
                "/etc/app.toml:4:14: stop_delay cannot be `soon`: expected a duration such as `250ms`, `5s` or `2m`",
                "/etc/app.toml:5:13: reuseport cannot be `\"yes\"`: expected `true` or `false`",
                "/etc/app.toml:6:11: recover cannot be `\"5\"`: expected a number from 0 to 4294967295",
                "/etc/app.toml:7:10: health: `here` has no port: write `here:8080`",
                "/etc/app.toml:8:13: unix_mode cannot be `660`: expected permissions in octal, such as `660`, from `0o000` \
                 to `0o777`",
                "/etc/app.toml:9:8: addr cannot be `[\"127.0.0.1:80\", 80]`: expected `host:port`, `:port`, \
                 `[v6 address]:port` or `unix:/path`",
                "/etc/app.toml:10:1: `bind` is no option: did you mean `addr`?",
                "/etc/app.toml:11:1: `ready` can only be set by the program itself",
                "/etc/app.toml:12:1: `config` names this file, and cannot be set in it",
                "/etc/app.toml:13:1: `colour` is no option",
                "/etc/app.toml:14:1: `on_child_spawn` can only be set by the program itself",
                "/etc/app.toml:15:16: max_lifetime cannot be `1979-05-27`: expected a duration such as `250ms`, `5s` or `2m`",
                "/etc/app.toml:16:2: `server` is no option",
            ]
        );
    }

    #[test]
    fn message_about_a_key_is_one_line() {
        assert_eq!(problems("\"a\\n\\u001b\" = 1"), ["/etc/app.toml:1:1: `a\\n\\u{1b}` is no option"]);
    }

    #[test]
    fn malformed_lines_and_invalid_values_are_reported_together() {
        let text = "workers = \nbacklog = 0\nnice = ]\nnice = 3\nworkers = 3\n";
        let found = problems(text);
        assert!(found[0].starts_with("/etc/app.toml:1:11: "), "{found:#?}");
        assert!(found[1].starts_with("/etc/app.toml:2:11: backlog cannot be `0`"), "{found:#?}");
        assert!(found[2].starts_with("/etc/app.toml:3:8: "), "{found:#?}");
        assert_eq!(found[3..], ["/etc/app.toml:4:1: duplicate key", "/etc/app.toml:5:1: duplicate key"]);
    }

    #[cfg(not(feature = "rustls"))]
    #[test]
    fn option_of_a_missing_feature_names_it() {
        let expected = "/etc/app.toml:1:1: `client_ca` has no effect: the program is built without the feature `rustls` of \
                        prefork";
        assert_eq!(problems("client_ca = \"ca.pem\""), [expected]);
    }

    #[test]
    fn long_values_and_many_problems_are_cut() {
        let found = problems(&format!("title = 7{}", "7".repeat(100)));
        assert!(found[0].contains(&format!("`{}…`", "7".repeat(60))), "{found:#?}");
        // With a cost that grows with the square of their number, this takes minutes.
        let text: String = (0..40_000).map(|number| format!("a{number} = 1\nb{number} =\n")).collect();
        let last = "cannot use the configuration file /etc/app.toml: it has 79950 further problems";
        assert_eq!(problems(&text)[PROBLEMS_MAX..], [last]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String) {
            parse(Path::new(PATH), &text);
        }

        #[test]
        fn any_value_is_read_without_panic(
            lines in prop::collection::vec(
                (prop::sample::select(prefork_options::OPTIONS), r#"[ -~\n\u{e9}"'\[\]{},=.#0-9a-z]{0,12}"#),
                0..6,
            ),
        ) {
            let text: String = lines.iter().map(|(row, value)| format!("{} = {value}\n", row.name)).collect();
            parse(Path::new(PATH), &text);
        }
    }
}
