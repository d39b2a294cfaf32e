//! The values of options, and where each comes from.

use std::collections::BTreeMap;
use std::time::Duration;

use prefork_options::{self as options, FileMode, OptionRow, Problem, Value};

use super::Prefork;
use crate::error::Error;
use crate::listen::Network;

/// Where the value of an option comes from. A later one overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The attribute, whose values are the program's defaults.
    Attribute,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A method of the builder.
    Builder,
}

impl Source {
    /// What in the program has set the value; `None` for an operator's value, whose messages name the variable or
    /// the place in the file.
    pub(super) fn setter(self) -> Option<&'static str> {
        match self {
            Self::Attribute => Some("attribute"),
            Self::Builder => Some("builder"),
            _ => None,
        }
    }
}

/// Values of options, by the name of their setting and their source.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(BTreeMap<(&'static str, Source), Value>);

impl Values {
    pub(super) fn insert(&mut self, row: &OptionRow, source: Source, value: Value) {
        self.0.insert((row.setting(), source), value);
    }

    /// The value that applies, and its source.
    pub(super) fn get(&self, row: &OptionRow) -> Option<(Source, &Value)> {
        let setting = row.setting();
        let mut values = self.0.range((setting, Source::Attribute)..=(setting, Source::Builder));
        values.next_back().map(|((_, source), value)| (*source, value))
    }

    /// The values of all other sources.
    #[cfg(feature = "config")]
    pub(super) fn without(&self, left_out: Source) -> Self {
        let values = self.0.iter().filter(|((_, source), _)| *source != left_out);
        Self(values.map(|(key, value)| (*key, value.clone())).collect())
    }

    /// Takes one source's value of an option, or its absence, from other values.
    #[cfg(feature = "config")]
    pub(super) fn copy(&mut self, row: &OptionRow, source: Source, from: &Self) {
        let key = (row.setting(), source);
        match from.0.get(&key) {
            Some(value) => drop(self.0.insert(key, value.clone())),
            None => drop(self.0.remove(&key)),
        }
    }

    pub(super) fn source(&self, row: &OptionRow) -> Option<Source> {
        self.get(row).map(|(source, _)| source)
    }

    /// The value of a source, and the value that it overrides.
    pub(super) fn overridden(&self, row: &OptionRow, by: Source) -> Option<(&Value, &Value)> {
        let setting = row.setting();
        let mut below = self.0.range((setting, Source::Attribute)..(setting, by));
        Some((self.0.get(&(setting, by))?, below.next_back()?.1))
    }

    /// Makes what the builder has set the values of the attribute.
    pub(super) fn into_attribute(self) -> Self {
        Self(self.0.into_iter().map(|((setting, _), value)| ((setting, Source::Attribute), value)).collect())
    }
}

/// Whether an override changes anything.
pub(super) fn differ((ours, theirs): &(&Value, &Value)) -> bool {
    ours != theirs
}

/// A value that an option takes as `T`, or as the text that stands for one.
///
/// A [`Duration`] can be written `"250ms"`, `"5s"` or `"2m"`, a [`Network`] `"tcp"`, `"tcp4"` or
/// `"tcp6"`. Invalid text is an [`Error::BadOption`] when the fleet is started. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value for this option",
    label = "neither `{T}` nor text that stands for one"
)]
pub trait OptionValue<T>: sealed::Sealed<T> {
    /// The value as it was written.
    #[doc(hidden)]
    fn into_input(self) -> Input;
}

/// A value as it was written.
#[doc(hidden)]
#[derive(Debug)]
pub enum Input {
    Value(Value),
    Text(String),
}

/// A type of option values.
#[doc(hidden)]
pub trait OptionType: Into<Value> {}

impl OptionType for Duration {}
impl OptionType for u64 {}
impl OptionType for usize {}
impl OptionType for u32 {}
impl OptionType for i32 {}
impl OptionType for bool {}
impl OptionType for FileMode {}
impl OptionType for Network {}
impl OptionType for options::Readiness {}
impl OptionType for options::Runtime {}
impl OptionType for options::CpuAffinity {}

mod sealed {
    use super::{FileMode, OptionType};

    pub trait Sealed<T> {}

    impl<T: OptionType> Sealed<T> for T {}
    impl<T: OptionType> Sealed<T> for &str {}
    impl<T: OptionType> Sealed<T> for String {}
    impl Sealed<FileMode> for u32 {}
}

impl<T: OptionType> OptionValue<T> for T {
    fn into_input(self) -> Input {
        Input::Value(self.into())
    }
}

impl<T: OptionType> OptionValue<T> for &str {
    fn into_input(self) -> Input {
        Input::Text(self.to_owned())
    }
}

impl<T: OptionType> OptionValue<T> for String {
    fn into_input(self) -> Input {
        Input::Text(self)
    }
}

/// Permissions as a number, such as `0o660`.
impl OptionValue<FileMode> for u32 {
    fn into_input(self) -> Input {
        Input::Value(FileMode(self).into())
    }
}

pub(super) fn bad(option: impl Into<String>, value: impl ToString, expected: impl Into<String>) -> Error {
    let value = value.to_string();
    // A message is one line, and an empty value is not a missing one.
    let value = match value.as_str() {
        "" => r#""""#.to_owned(),
        text if text.contains(char::is_control) => text.escape_debug().to_string(),
        _ => value,
    };
    Error::BadOption { option: option.into(), value, expected: expected.into(), set_by: None }
}

/// The error for a value that an option, called `name`, does not take.
pub(super) fn refusal(name: &str, row: &OptionRow, value: impl ToString, problem: &Problem) -> Error {
    match problem {
        Problem::Address(reason) => Error::Resolve {
            addr: value.to_string(),
            network: Network::Tcp,
            reason: format!("{name}: {reason}"),
        },
        problem => bad(name, value, row.kind.expected(problem)),
    }
}

/// The error for an option that has no value and needs one.
pub(super) fn missing(option: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::BadOption { option: option.into(), value: String::new(), expected: expected.into(), set_by: None }
}

impl Prefork {
    /// Sets an option. An invalid value is the fleet's error when it is started.
    pub(super) fn set<T>(self, row: &'static OptionRow, value: impl OptionValue<T>) -> Self {
        match value.into_input() {
            Input::Value(value) => self.put(row, value),
            Input::Text(text) => match row.kind.parse(&text) {
                Ok(value) => self.put(row, value),
                Err(problem) => self.refuse_own_value(row, text, &problem),
            },
        }
    }

    /// Sets an option whose method takes one type only.
    pub(super) fn put(mut self, row: &'static OptionRow, value: impl Into<Value>) -> Self {
        let value = value.into();
        match row.kind.check(&value) {
            Ok(()) => {
                self.values.insert(row, Source::Builder, value);
                self
            }
            Err(problem) => self.refuse_own_value(row, value.spell(), &problem),
        }
    }

    /// The value of an option: the one that is set, else the default, if that is a value.
    pub(super) fn get<T: TryFrom<Value>>(&self, row: &OptionRow) -> Option<T> {
        let set = self.values.get(row).map(|(_, value)| value.clone());
        set.or_else(|| row.default_value().ok()).and_then(|value| T::try_from(value).ok())
    }

    /// [`get`](Self::get), for an option whose default is a value.
    pub(super) fn get_or_default<T: TryFrom<Value> + Default>(&self, row: &OptionRow) -> T {
        self.get(row).unwrap_or_default()
    }

    /// The name of an option in messages: the variable that sets it, or its place in the configuration file.
    pub(super) fn name_of(&self, row: &OptionRow) -> String {
        match (self.values.source(row), &self.config) {
            (Some(Source::Environment), _) => row.variable(),
            (Some(Source::File), Some(file)) => format!("{}: {}", file.place_of(row), row.name),
            _ => row.name.to_owned(),
        }
    }

    /// Whether an operator has set the option: by a variable, or in the configuration file.
    pub(super) fn is_by_operator(&self, row: &OptionRow) -> bool {
        matches!(self.values.source(row), Some(Source::Environment | Source::File))
    }

    /// Refuses a value that a method of the builder has got.
    fn refuse_own_value(self, row: &OptionRow, value: impl ToString, problem: &Problem) -> Self {
        let mut refused = self.refuse_value(row.name, row, value, problem);
        refused.problems.name_setters(|_| Some(Source::Builder));
        refused
    }

    pub(super) fn refuse_value(
        mut self,
        name: &str,
        row: &OptionRow,
        value: impl ToString,
        problem: &Problem,
    ) -> Self {
        self.problems.add_value(row, refusal(name, row, value, problem));
        self
    }
}
