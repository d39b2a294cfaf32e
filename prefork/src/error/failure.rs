//! How a child failed.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::sys;

/// How a child failed.
///
/// `Display` and `Debug` follow the rules of [`Error`](crate::Error).
#[non_exhaustive]
pub enum Failure {
    /// The child exited although the master had not asked it to.
    #[non_exhaustive]
    Exited {
        /// The child's slot, from 0.
        slot: usize,
        /// The child's process id.
        pid: u32,
        /// Whether the child had become ready.
        ready: bool,
        /// The child's exit status.
        status: ExitStatus,
    },
    /// The child was not ready within the start timeout, and the master killed it.
    #[non_exhaustive]
    NotReady {
        /// The child's slot, from 0.
        slot: usize,
        /// The child's process id.
        pid: u32,
        /// The start timeout.
        timeout: Duration,
    },
    /// The child could not be started.
    #[non_exhaustive]
    NotStarted {
        /// The child's slot, from 0.
        slot: usize,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl Failure {
    /// What to do about this failure, where that is known; see [`Error::hint`](crate::Error::hint).
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotStarted { source, .. } => sys::shortage_hint(source),
            Self::Exited { .. } | Self::NotReady { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { slot, pid, ready, status } => {
                let when = if *ready { "" } else { " before it was ready" };
                write!(f, "child {slot} (pid {pid}) exited{when}: {}", Status(*status))
            }
            Self::NotReady { slot, pid, timeout } => write!(
                f,
                "child {slot} (pid {pid}) was not ready within {}",
                humantime::format_duration(*timeout)
            ),
            Self::NotStarted { slot, .. } => write!(f, "child {slot} could not be started"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } => Some(source),
            Self::Exited { .. } | Self::NotReady { .. } => None,
        }
    }
}

/// An exit status without std's inner colon: `status 1`, `signal 9 (SIGKILL)`.
pub(crate) struct Status(pub(crate) ExitStatus);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.strip_prefix("exit ").unwrap_or(&text);
        f.write_str(&text.replacen(": ", " ", 1))
    }
}
