//! What went wrong, and the exit status.

use std::fmt;
use std::process::ExitCode;

/// See the [module](self).
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
        f.write_str(text)
    }
}
