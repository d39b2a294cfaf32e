//! Why a child cannot start, and the one place that reports it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::role;
use crate::error::{BoxError, Error, chain};
use crate::logging::{self, Logger, this_process};
use crate::sys::Role;

/// What went wrong in a child between its handshake and the call of its serve function.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// What a master can meet as well: handshake, privileges, options, TLS.
    Fleet(Error),
    /// `init` returned an error.
    Init(BoxError),
    /// What `preload` calls returned an error.
    Load(BoxError),
    /// This process cannot fork children.
    Template(io::Error),
    /// The listeners that the master sent do not fit the serve function.
    Listeners(io::Error),
    /// The async runtime cannot be built.
    Runtime(io::Error),
    /// The serve function takes TLS material that the options of this program do not name.
    NoTls(&'static str),
    /// An argument of the serve function cannot be made.
    Argument {
        /// The argument's type.
        argument: &'static str,
        /// The error of `from_child`.
        source: BoxError,
    },
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Fleet(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet(error) => error.fmt(f),
            Self::Init(_) => f.write_str("init failed"),
            Self::Load(_) => f.write_str("load failed"),
            Self::Template(_) => f.write_str("it cannot fork children"),
            Self::Listeners(_) => f.write_str("its listeners cannot be used"),
            Self::Runtime(_) => f.write_str("cannot build the tokio runtime"),
            Self::NoTls(what) => write!(f, "the serve function takes {what}, and the options name none"),
            Self::Argument { argument, .. } => write!(f, "cannot make the argument `{argument}`"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Fleet(error) => error.source(),
            Self::Init(source) | Self::Load(source) | Self::Argument { source, .. } => Some(&**source),
            Self::Template(source) | Self::Listeners(source) | Self::Runtime(source) => Some(source),
            Self::NoTls(_) => None,
        }
    }
}

/// Reports on one line that the serve function cannot be called: `child 3 (pid 4711) cannot start: …`. Returns the
/// status that the process has to end with.
pub(crate) fn report_start_error(error: &StartError, logger: &Logger) -> ExitCode {
    logger.event("cannot_start").error(format_args!("{} cannot start: {}", process_name(), chain(error)));
    logging::flush_at_failed_start();
    ExitCode::FAILURE
}

/// This process in messages about it: `child 3 (pid 4711)`, or `this process (pid 4711)`.
pub(crate) fn process_name() -> impl fmt::Display {
    let pid = std::process::id();
    match (this_process().slot(), this_process().generation()) {
        (Some(slot), _) => format!("child {slot} (pid {pid})"),
        (None, Some(generation)) => format!("template of generation {generation} (pid {pid})"),
        (None, None) if role() == Role::Master => format!("this process (pid {pid})"),
        // Without a handshake the slot is unknown.
        (None, None) => format!("a child (pid {pid})"),
    }
}

impl StartError {
    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Fleet(error) => error.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_cause_once_in_the_line() {
        let cause = || io::Error::other("the cause");
        for (error, line) in [
            (
                Error::Handshake { source: cause() }.into(),
                "handshake between master and child failed: the cause",
            ),
            (StartError::Init(cause().into()), "init failed: the cause"),
            (StartError::Load(cause().into()), "load failed: the cause"),
            (StartError::Template(cause()), "it cannot fork children: the cause"),
            (StartError::Listeners(cause()), "its listeners cannot be used: the cause"),
            (StartError::Runtime(cause()), "cannot build the tokio runtime: the cause"),
            (StartError::NoTls("a key"), "the serve function takes a key, and the options name none"),
            (
                StartError::Argument { argument: "app::Pool", source: cause().into() },
                "cannot make the argument `app::Pool`: the cause",
            ),
        ] {
            assert_eq!(chain(&error).to_string(), line);
        }
    }
}
