//! An error with its causes and its hint, on one line, as `Debug` prints it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::{Error, Failure};
use crate::child::StartError;

/// Displays `error`, its causes and its hint on one line: `cannot bind 127.0.0.1:80: permission denied;
/// ports below 1024 need root or CAP_NET_BIND_SERVICE`.
pub(crate) fn chain<'a>(error: &'a (dyn StdError + 'static)) -> Chain<'a> {
    Chain(error)
}

/// See [`chain`].
pub(crate) struct Chain<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        let mut hint = None;
        for error in std::iter::successors(Some(self.0), |error| (*error).source()) {
            let text = text_of(error);
            // An error of user code may repeat its cause in its own text.
            if !text.is_empty() && line != text && !line.ends_with(&format!(": {text}")) {
                let separator = if line.is_empty() { "" } else { ": " };
                line.extend([separator, &text]);
            }
            hint = hint.or_else(|| hint_of(error));
        }
        f.write_str(&line)?;
        hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// The error, its causes and the hint, on one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&chain(self), f)
    }
}

/// The failure and its causes, on one line.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&chain(self), f)
    }
}

fn hint_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a str> {
    let of_fleet = error.downcast_ref::<Error>().and_then(Error::hint);
    let of_start = || error.downcast_ref::<StartError>().and_then(StartError::hint);
    of_fleet.or_else(of_start).or_else(|| error.downcast_ref::<Failure>().and_then(Failure::hint))
}

/// The error's own text, on one line.
fn text_of(error: &(dyn StdError + 'static)) -> String {
    let text = error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), plain);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The system's text without its capital letter, full stop and number: `permission denied`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_some() { without_number(&text) } else { text }
}

pub(super) fn without_number(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
