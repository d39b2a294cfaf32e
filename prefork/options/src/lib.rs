//! The options of a `prefork` fleet: one table, and the only parsers of their values.
//!
//! The attribute and the builder are made from the rows of [`OPTIONS`]: what the attribute accepts as a
//! literal, what a builder method and an environment variable accept when the program starts, the
//! bounds, the defaults, and the reference in the documentation. The three cannot disagree.
//!
//! This crate is an implementation detail of `prefork` and `prefork-macros`: all three have the same
//! version, and the API of this one has no stability promise.
//!
//! - `table.rs`: the rows
//! - `kind.rs`: which values an option takes, how text becomes a value, and which values are in bounds
//! - `value.rs`: values
//! - `names.rs`: options whose values are names
//! - `address.rs`: the form of addresses
//! - `markdown.rs`: the reference
//!
//! # To add an option
//!
//! A boolean option takes four edits: its row in `table.rs`; a method of `prefork::Prefork`, whose one
//! line is `self.set(&options::NAME, value)`; its effect, which asks for `self.get(&options::NAME)`; and a
//! test of the effect. Then `UPDATE_DOCS=1 cargo test -p prefork-options` writes the reference anew. The
//! attribute's argument, its error messages, the environment variable and its errors follow from the
//! row.
//!
//! An option that the environment can set also takes a place in the guide's table of what a reload applies
//! (`operations.md`), and in `NEEDS_UPGRADE` below if a running fleet cannot change it. One that is about children
//! is added to `IDLE` in `builder/without_children.rs` and to the table of `workers = 0` in `serving.md`. Tests
//! compare both.

#![forbid(unsafe_code)]

pub mod address;
mod kind;
mod markdown;
mod names;
mod table;
mod value;

pub use kind::{Kind, Names, Problem};
pub use markdown::markdown;
pub use names::{CpuAffinity, Network, ParseOptionError, Readiness, Runtime};
pub use table::*;
pub use value::{FileMode, Value};

/// The prefix of every environment variable.
pub const PREFIX: &str = "PREFORK_";

/// See [`OptionRow::needs_upgrade`].
const NEEDS_UPGRADE: [&str; 10] = [
    "addr",
    "network",
    "reuseport",
    "unix_mode",
    "unix_owner",
    "health",
    "control",
    "pidfile",
    "title",
    "config",
];

/// One option.
#[derive(Debug)]
#[non_exhaustive]
pub struct OptionRow {
    /// The name of the attribute's argument and of the builder's method.
    pub name: &'static str,
    /// Which values the option takes.
    pub kind: Kind,
    /// What applies where nothing sets the option.
    pub default: OptionDefault,
    /// A value that fits, as Rust source: for messages and for the reference.
    pub example: &'static str,
    /// Whether an environment variable can set the option, because its value is the operator's choice.
    pub environment: bool,
    /// Names of the option in other servers, in lower case and without underscores.
    pub aliases: &'static [&'static str],
    /// The feature of `prefork` without which the option does not exist.
    pub feature: Option<&'static str>,
    /// The option that this one sets in another form: `cert` for `cert_pem`.
    pub sets: Option<&'static str>,
    /// What the option does, in one or two sentences.
    pub doc: &'static str,
}

/// What applies where nothing sets an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionDefault {
    /// A value, written as an environment variable would hold it.
    Value(&'static str),
    /// A rule, described for the reference.
    Rule(&'static str),
}

impl OptionRow {
    /// The name of the setting: `cert` for `cert` and for `cert_pem`, which set one thing.
    pub fn setting(&self) -> &'static str {
        self.sets.unwrap_or(self.name)
    }

    /// The value that applies where nothing sets the option.
    ///
    /// # Errors
    ///
    /// The rule that applies in its place.
    pub fn default_value(&self) -> Result<Value, &'static str> {
        match self.default {
            // Tests parse those of all rows.
            OptionDefault::Value(text) => self.kind.parse(text).map_err(|_| text),
            OptionDefault::Rule(rule) => Err(rule),
        }
    }

    /// The name of the environment variable: `PREFORK_WORKERS`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase())
    }

    /// Whether a configuration file can set the option: it is the operator's choice, and not the file itself.
    pub fn is_in_file(&self) -> bool {
        self.environment && self.name != CONFIG.name
    }

    /// Whether only a start or an upgrade can change the option: it is about which sockets and files are open, or
    /// about the master's own process.
    pub fn needs_upgrade(&self) -> bool {
        NEEDS_UPGRADE.contains(&self.name)
    }

    /// The option with a value that fits, as the attribute takes it: `workers = 4`.
    pub fn usage(&self) -> String {
        if self.kind == Kind::Switch && self.example == "true" {
            return self.name.to_owned();
        }
        format!("{} = {}", self.name, self.example)
    }
}

impl PartialEq for OptionRow {
    /// Whether both are the same row.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OptionRow {}

/// The option of this name.
pub fn find(name: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().copied().find(|row| row.name == name)
}

/// The option that an unknown `name` most likely means: the one with this alias, or with a similar name.
pub fn meant_by(name: &str) -> Option<&'static OptionRow> {
    let wanted = normalized(name);
    let by_alias = OPTIONS.iter().copied().find(|row| row.aliases.contains(&wanted.as_str()));
    by_alias.or_else(|| nearest(&wanted, OPTIONS.iter().map(|row| (*row, normalized(row.name)))))
}

/// The entry of `known` whose name is most similar to `wanted`, if one is similar enough.
pub fn nearest<T>(wanted: &str, known: impl Iterator<Item = (T, String)>) -> Option<T> {
    // More than a third of the letters wrong is no typing mistake.
    let tolerance = wanted.chars().count().div_ceil(3);
    known
        .map(|(entry, name)| (strsim::levenshtein(wanted, &name), entry))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, entry)| entry)
}

/// Compared in this form, Go's `RecoverThreshold` and `recover_threshold` are one name.
fn normalized(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}
