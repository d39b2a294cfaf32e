//! What went wrong, and the exit status.

use std::fmt;
use std::process::ExitCode;

use crate::shown;

/// See the [module](self). Its text may be that of a fleet, and is shown in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was not done, or undone.
    NotDone(String),
    /// The command line is wrong.
    Usage(String),
    /// No fleet answers.
    NoFleet(String),
    /// Another operation is under way.
    Busy(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NotDone(_) => 1,
            Self::Usage(_) => 2,
            Self::NoFleet(_) => 3,
            Self::Busy(_) => 4,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotDone(text) | Self::Usage(text) | Self::NoFleet(text) | Self::Busy(text)) = self;
        f.write_str(&shown::line(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_line_without_control_characters() {
        let failure = Failure::NotDone("the fleet has answered 500: a\n\u{1b}]0;b\u{7}".to_owned());
        assert_eq!(failure.to_string(), r"the fleet has answered 500: a\n\u{1b}]0;b\u{7}");
    }
}
