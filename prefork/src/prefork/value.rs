//! Values of options, as users write them.

use std::env;
use std::time::Duration;

use crate::error::Error;
use crate::listener::Network;

/// More children than any machine has use for; a bound for slips of the pen.
pub(super) const MAX_WORKERS: usize = 4096;
/// No option waits longer; what is longer is a slip of the pen.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

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

impl Spelled for u64 {
    fn read(text: &str) -> Result<Self, String> {
        parse_size::parse_size(text).map_err(|_| "a size such as `512MiB` or `2GB`, or bytes".to_owned())
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

pub(super) fn bad(option: &'static str, value: impl ToString, expected: impl Into<String>) -> Error {
    Error::BadOption { option, value: value.to_string(), expected: expected.into() }
}

/// Checks a duration; `least` is what it must reach.
pub(super) fn check_duration(option: &'static str, value: Duration, least: Duration) -> Result<(), Error> {
    let text = || humantime::format_duration(value);
    if value < least {
        return Err(bad(option, text(), format!("at least {}", humantime::format_duration(least))));
    }
    if value > LONGEST {
        return Err(bad(option, text(), "at most 365 days"));
    }
    Ok(())
}

pub(super) fn check_workers(option: &'static str, value: usize) -> Result<usize, Error> {
    if (1..=MAX_WORKERS).contains(&value) { Ok(value) } else { Err(bad(option, value, expected_workers())) }
}

pub(super) fn expected_workers() -> String {
    format!("a number from 1 to {MAX_WORKERS}")
}

/// An environment variable that stands for an option; unset and empty are the same.
pub(super) fn from_environment(name: &'static str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(value)) => Err(bad(name, value.to_string_lossy(), "text in UTF-8")),
    }
}
