//! The errors of options: all of them, in the order in which they were found.

use std::collections::BTreeSet;

use prefork_options::OptionRow;

use crate::error::{Error, chain};
use crate::logging::{self, Logger};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<Error>,
    /// The settings whose value was refused, and which therefore have none.
    refused: BTreeSet<&'static str>,
}

impl Problems {
    pub(super) fn add(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Adds the error of a value.
    pub(super) fn add_value(&mut self, row: &OptionRow, error: Error) {
        self.refused.insert(row.setting());
        self.errors.push(error);
    }

    /// The value; without it, its error is added.
    pub(super) fn note<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        outcome.map_err(|error| self.add(error)).ok()
    }

    /// Adds the error of a check, if it found one.
    pub(super) fn check(&mut self, outcome: Result<(), Error>) {
        self.errors.extend(outcome.err());
    }

    /// Whether the value of one of these options was refused. A rule across them would report the value as
    /// missing.
    pub(super) fn concern(&self, rows: &[&OptionRow]) -> bool {
        rows.iter().any(|row| self.refused.contains(row.setting()))
    }

    /// # Errors
    ///
    /// The problems, if there are any.
    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }

    /// The first error, for a caller that can return one. The others are logged, so that one start shows all
    /// that there is to correct.
    pub(super) fn into_first(self, logger: &Logger) -> Error {
        let mut errors = self.errors.into_iter();
        let first = errors.next();
        for other in errors {
            logger.event("bad_option").error(chain(&other));
        }
        // The process ends soon.
        logging::flush();
        first.unwrap_or_else(|| Error::Os {
            operation: "find the error of the options",
            source: std::io::Error::other("a bug in prefork"),
        })
    }
}
