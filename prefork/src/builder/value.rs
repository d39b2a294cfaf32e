//! Values of options, as users write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{CpuAffinity, Prefork};
use crate::error::Error;
use crate::listen::Network;

/// More children than any machine has use for; a bound for slips of the pen.
pub(super) const MAX_WORKERS: usize = 4096;
/// No option waits longer; what is longer is a slip of the pen.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 86_400);
pub(super) const ANY_DURATION: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
/// Where zero has no meaning; timers do not tell shorter ones from it.
pub(super) const SOME_DURATION: RangeInclusive<Duration> = Duration::from_millis(1)..=LONGEST;

/// A value that an option takes as `T`, or as the text that stands for one.
///
/// A [`Duration`] can be written `"250ms"`, `"5s"` or `"2m"`, a [`Network`] `"tcp"`, `"tcp4"` or
/// `"tcp6"`. Text that does not fit is an [`Error::BadOption`] when the fleet is started.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value for this option",
    label = "not `{T}`, nor text that stands for one"
)]
pub trait OptionValue<T> {
    /// The value; else the value as it was written, and what was expected.
    #[doc(hidden)]
    fn into_value(self) -> Result<T, (String, String)>;
}

/// A type whose values have a spelling.
#[doc(hidden)]
pub trait Spelled: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl<T: Spelled> OptionValue<T> for T {
    fn into_value(self) -> Result<T, (String, String)> {
        Ok(self)
    }
}

impl<T: Spelled> OptionValue<T> for &str {
    fn into_value(self) -> Result<T, (String, String)> {
        T::read(self).map_err(|expected| (self.to_owned(), expected))
    }
}

impl<T: Spelled> OptionValue<T> for String {
    fn into_value(self) -> Result<T, (String, String)> {
        self.as_str().into_value()
    }
}

impl Spelled for Duration {
    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| "a duration such as `250ms`, `5s` or `2m`".to_owned())
    }
}

/// A size.
impl Spelled for u64 {
    fn read(text: &str) -> Result<Self, String> {
        parse_size::parse_size(text).map_err(|_| "a size such as `512MiB` or `2GB`, or bytes".to_owned())
    }
}

/// A count of things that there are.
impl Spelled for usize {
    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "a whole number".to_owned())
    }
}

/// A count of things that happen.
impl Spelled for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "a whole number".to_owned())
    }
}

impl Spelled for i32 {
    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "a whole number".to_owned())
    }
}

impl Spelled for bool {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "`true` or `false`".to_owned())
    }
}

/// Permissions of a file: a number such as `0o660`, or the text `"660"`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub(super) u32);

const MODES: RangeInclusive<u32> = 0..=0o777;

impl OptionValue<FileMode> for u32 {
    fn into_value(self) -> Result<FileMode, (String, String)> {
        let expected = || (format!("{self:#o}"), "permissions from `0o000` to `0o777`".to_owned());
        MODES.contains(&self).then_some(FileMode(self)).ok_or_else(expected)
    }
}

impl Spelled for FileMode {
    fn read(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| MODES.contains(mode));
        mode.map(Self).ok_or_else(|| "permissions in octal, such as `660`".to_owned())
    }
}

/// When a child is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Readiness {
    /// `"auto"`: when its serve function is about to be called. The default.
    #[default]
    Auto,
    /// `"manual"`: when it calls [`ChildContext::ready`](crate::ChildContext::ready).
    Manual,
}

impl Spelled for Readiness {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "manual" => Ok(Self::Manual),
            _ => Err("`auto` or `manual`".to_owned()),
        }
    }
}

impl Spelled for CpuAffinity {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Self::from_list(text).ok_or_else(|| "`auto`, or CPUs such as `0-3,8`".to_owned()),
        }
    }
}

impl Spelled for Network {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(feature = "tokio")]
impl Spelled for crate::serve::Runtime {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "current_thread" => Ok(Self::CurrentThread),
            "multi_thread" => Ok(Self::MultiThread),
            _ => Err("`current_thread` or `multi_thread`".to_owned()),
        }
    }
}

/// A value of which an option takes a range.
pub(super) trait Ranged: Spelled + PartialOrd {
    /// What a value must be to be in the range; `value` is one that is not, if it could be read.
    fn expected(range: &RangeInclusive<Self>, value: Option<&Self>) -> String;
    fn spell(&self) -> String;
}

impl Ranged for usize {
    fn expected(range: &RangeInclusive<Self>, _value: Option<&Self>) -> String {
        expected_number(range)
    }

    fn spell(&self) -> String {
        self.to_string()
    }
}

impl Ranged for u32 {
    fn expected(range: &RangeInclusive<Self>, _value: Option<&Self>) -> String {
        expected_number(range)
    }

    fn spell(&self) -> String {
        self.to_string()
    }
}

impl Ranged for i32 {
    fn expected(range: &RangeInclusive<Self>, _value: Option<&Self>) -> String {
        expected_number(range)
    }

    fn spell(&self) -> String {
        self.to_string()
    }
}

impl Ranged for Duration {
    fn expected(range: &RangeInclusive<Self>, value: Option<&Self>) -> String {
        match value {
            None => "a duration such as `250ms`, `5s` or `2m`".to_owned(),
            Some(short) if short < range.start() => {
                format!("at least {}", humantime::format_duration(*range.start()))
            }
            Some(_) if *range.end() == LONGEST => "at most 365 days".to_owned(),
            Some(_) => format!("at most {}", humantime::format_duration(*range.end())),
        }
    }

    fn spell(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

fn expected_number<T: std::fmt::Display>(range: &RangeInclusive<T>) -> String {
    format!("a number from {} to {}", range.start(), range.end())
}

pub(super) fn bad(option: &'static str, value: impl ToString, expected: impl Into<String>) -> Error {
    Error::BadOption { option, value: value.to_string(), expected: expected.into() }
}

impl Prefork {
    /// Reads an option's value. A bad one is the fleet's error when it is started; the first counts.
    pub(super) fn read<T>(&mut self, option: &'static str, value: impl OptionValue<T>) -> Option<T> {
        let name = self.note_author(option);
        value.into_value().map_err(|(value, expected)| self.refuse(bad(name, value, expected))).ok()
    }

    /// Reads the value of an option that takes a range of them.
    pub(super) fn read_in<T: Ranged>(
        &mut self,
        option: &'static str,
        value: impl OptionValue<T>,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let name = self.note_author(option);
        let (text, expected) = match value.into_value() {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(value) => (value.spell(), T::expected(&range, Some(&value))),
            Err((text, _)) => (text, T::expected(&range, None)),
        };
        self.refuse(bad(name, text, expected));
        None
    }

    pub(super) fn refuse(&mut self, problem: Error) {
        self.problem.get_or_insert(problem);
    }
}
