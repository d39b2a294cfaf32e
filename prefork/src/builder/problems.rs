//! The errors of options: all of them, in the order in which they were found.

use std::collections::BTreeSet;

use prefork_options::{OptionRow, find};

use super::values::Source;
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
    pub(super) fn add_error_of(&mut self, outcome: Result<(), Error>) {
        self.errors.extend(outcome.err());
    }

    /// Whether the value of one of these options was refused. A rule across them would report the value as
    /// missing.
    pub(super) fn concern(&self, rows: &[&OptionRow]) -> bool {
        rows.iter().any(|row| self.refused.contains(row.setting()))
    }

    /// Adds to the errors of the program's own values what has set them, if it is missing: the attribute or the
    /// builder. The errors of other values name a variable or a place in the file, and no option.
    pub(super) fn name_setters(&mut self, source: impl Fn(&OptionRow) -> Option<Source>) {
        for error in &mut self.errors {
            let Error::BadOption { option, set_by: set_by @ None, .. } = error else { continue };
            *set_by = find(option).and_then(&source).and_then(Source::setter);
        }
    }

    /// What the builder has refused so far was the attribute's.
    pub(super) fn into_attribute(mut self) -> Self {
        for error in &mut self.errors {
            if let Error::BadOption { set_by: Some(set_by), .. } = error {
                *set_by = "attribute";
            }
        }
        self
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Prefork;
    use crate::error::chain;
    use crate::privileges::Privileges;

    fn serve(_: TcpListener) {}

    fn problems(mut fleet: Prefork) -> Vec<String> {
        let problems = fleet.plan(Vec::new(), &Privileges::default()).unwrap_err();
        problems.into_errors().iter().map(|error| chain(error).to_string()).collect()
    }

    #[test]
    fn error_of_a_value_names_its_setter() {
        let fleet = Prefork::new(serve).workers(8193).addrs(["127.0.0.1:0", "[::1]:0"]);
        let found = problems(fleet.with_attribute_values().backlog(0));
        let setters = [
            ("workers cannot be `8193`", "attribute"),
            ("backlog cannot be `0`", "builder"),
            ("addr cannot be `127.0.0.1:0, [::1]:0`", "attribute"),
        ];
        assert_eq!(found.len(), setters.len(), "{found:#?}");
        for (error, (start, setter)) in found.iter().zip(setters) {
            assert!(error.starts_with(start), "{found:#?}");
            assert!(error.ends_with(&format!("(set by the {setter})")), "{found:#?}");
        }
    }
}
