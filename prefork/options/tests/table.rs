//! Properties of every row.

use std::path::Path;
use std::time::Duration;

use prefork_options::{Kind, OPTIONS, OptionDefault, Problem, Value, find, meant_by};

#[test]
fn names_and_aliases_are_unique() {
    let normalized = |name: &str| name.replace('_', "").to_lowercase();
    let mut names: Vec<String> = OPTIONS.iter().map(|row| normalized(row.name)).collect();
    names.extend(OPTIONS.iter().flat_map(|row| row.aliases).map(|alias| (*alias).to_owned()));
    for alias in OPTIONS.iter().flat_map(|row| row.aliases) {
        assert_eq!(*alias, normalized(alias), "aliases are compared in this form");
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn default_values_are_values() {
    for row in OPTIONS {
        let is_value = matches!(row.default, OptionDefault::Value(_));
        assert_eq!(row.default_value().is_ok(), is_value, "{}: {:?}", row.name, row.default);
    }
}

#[test]
fn settings_and_docs_are_complete() {
    for row in OPTIONS {
        assert!(find(row.setting()).is_some(), "{}", row.name);
        assert!(row.doc.ends_with('.') && !row.example.is_empty(), "{}", row.name);
        assert!(!row.environment || row.sets.is_none(), "{}: one variable for one setting", row.name);
    }
}

/// The guide's table has each option that a file can set in the row of what a reload does with it.
#[test]
fn guide_says_when_a_change_of_the_file_applies() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, section) = guide.split_once("\n## A configuration file\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<(&str, &str)> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | ")).collect();
    for row in OPTIONS.iter().filter(|row| row.is_in_file()) {
        let names = |names: &str| names.split(", ").any(|name| name.trim_matches('`') == row.name);
        let found: Vec<bool> = rows
            .iter()
            .filter(|(options, _)| names(options))
            .map(|(_, when)| when.starts_with("with the next upgrade"))
            .collect();
        assert_eq!(found, [row.needs_upgrade()], "{}: one row of the table", row.name);
    }
}

/// The bounds of a row, as values and as text.
fn bounds(kind: Kind) -> Option<[(Value, String); 2]> {
    let both = |value: Value| (value.clone(), value.spell());
    match kind {
        Kind::Count(least, most) => Some([both(Value::Count(least)), both(Value::Count(most))]),
        Kind::Signed(least, most) => Some([both(Value::Signed(least)), both(Value::Signed(most))]),
        Kind::Duration(least, most) => Some([both(least.into()), both(most.into())]),
        _ => None,
    }
}

#[test]
fn bounds_are_the_same_for_text_and_value() {
    for row in OPTIONS {
        for (value, text) in bounds(row.kind).into_iter().flatten() {
            assert_eq!(row.kind.check(&value), Ok(()), "{} {text}", row.name);
            assert_eq!(row.kind.parse(&text), Ok(value), "{} {text}", row.name);
        }
    }
    assert_eq!(find("max_rss").unwrap().kind.parse("0"), Err(Problem::Below("1".to_owned())));
    let keepalive = find("keepalive").unwrap().kind;
    assert!(matches!(keepalive.parse("10h"), Err(Problem::Above(_))));
    assert!(keepalive.check(&Duration::from_secs(32_768).into()).is_err());
    let workers = find("workers").unwrap().kind;
    for text in ["-1", "8193", "99999999999999999999"] {
        assert!(workers.parse(text).is_err(), "{text}");
    }
}

#[test]
fn mistakes_and_foreign_spellings_find_the_option() {
    let cases = [
        ("reuse_port", "reuseport"),
        ("Reuseport", "reuseport"),
        ("RecoverThreshold", "recover"),
        ("ShutdownGracePeriod", "shutdown_grace"),
        ("OnChildSpawn", "on_child_spawn"),
        ("worker", "workers"),
        ("adrr", "addr"),
        ("netwrok", "network"),
        ("on_child_recovered", "on_child_recover"),
        ("port", "addr"),
    ];
    for (written, meant) in cases {
        assert_eq!(meant_by(written).map(|row| row.name), Some(meant), "{written}");
    }
    assert!(meant_by("colour").is_none());
    assert!(meant_by("x").is_none());
}
