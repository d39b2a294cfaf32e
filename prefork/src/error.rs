//! Everything that can go wrong in a way that somebody can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::listen::Network;
use crate::sys;

/// Any error of user code, as hooks return it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a fleet did not start, or stopped.
///
/// Returned in the master by [`Prefork::listen_and_serve`](crate::Prefork::listen_and_serve) and
/// its siblings. The message is one lower-case line that names the value at fault and, where it is
/// known, what to do; the cause is in [`source`](std::error::Error::source) as well.
///
/// `Debug` says the same as `Display`, so that a `main` which returns it prints the line and not the
/// structure.
#[non_exhaustive]
pub enum Error {
    /// The address is taken, privileged, or not one of this machine's.
    Bind {
        /// The address as it was given.
        addr: String,
        /// The network it was to be bound on.
        network: Network,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The address is not of the form `host:port`, or its host has no address on this network.
    Resolve {
        /// The address as it was given.
        addr: String,
        /// The network it was looked up for.
        network: Network,
        /// What is wrong with it.
        reason: String,
    },
    /// An option, or an environment variable that stands for one, has a value it cannot have.
    BadOption {
        /// The option's name as the user writes it: `workers`, `PREFORK_WORKERS`.
        option: &'static str,
        /// The value as it was given.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// More children failed than the recover policy allows.
    OverRecovery {
        /// How many failures were counted, the last one included.
        failures: u32,
        /// How many the policy would have recovered.
        threshold: u32,
        /// The failure that was one too many.
        last: Failure,
    },
    /// A hook returned an error.
    Hook {
        /// The hook's name, as in the attribute.
        hook: &'static str,
        /// What it returned.
        source: BoxError,
    },
    /// A child process could not be started, and trying again cannot help.
    Spawn {
        /// The operating system's answer.
        source: io::Error,
    },
    /// `command_producer` returned an error, or a process that did not take the handshake.
    CommandProducer {
        /// What went wrong.
        source: io::Error,
    },
    /// Master and child could not talk to each other.
    Handshake {
        /// What went wrong.
        source: io::Error,
    },
    /// Children cannot run under the privileges that the options ask for: as that user, within those
    /// limits, in that place.
    Privileges {
        /// What was tried, as in `run children as www-data`.
        attempt: String,
        /// Why not: the operating system's answer, or a sentence in place of it.
        source: io::Error,
    },
    /// A certificate or key cannot be read, cannot be understood, or does not fit its partner.
    Tls {
        /// The file at fault; `None` for embedded material.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
        /// The error behind it, if there is one.
        source: Option<BoxError>,
    },
    /// On Windows a fleet has to ask for `reuseport`; `reuseport = cfg!(windows)` does so portably.
    OnlyReuseportOnWindows,
    /// The operating system refused something that the master cannot work without.
    Os {
        /// What the master tried.
        operation: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// How a child failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It ended without being asked to.
    Exited {
        /// The child's place in the fleet, from 0.
        slot: usize,
        /// Its process id.
        pid: u32,
        /// Whether it had become ready.
        ready: bool,
        /// How it ended.
        status: ExitStatus,
    },
    /// It was not ready within the start timeout, and was killed.
    NotReady {
        /// The child's place in the fleet, from 0.
        slot: usize,
        /// Its process id.
        pid: u32,
        /// How long it had.
        timeout: Duration,
    },
    /// It could not be started.
    NotStarted {
        /// The child's place in the fleet, from 0.
        slot: usize,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { slot, pid, ready, status } => {
                let when = if *ready { "" } else { " before it was ready" };
                write!(f, "child {slot} (pid {pid}) ended{when}: {status}")
            }
            Self::NotReady { slot, pid, timeout } => write!(
                f,
                "child {slot} (pid {pid}) was not ready within {}",
                humantime::format_duration(*timeout)
            ),
            Self::NotStarted { slot, source } => {
                write!(f, "child {slot} could not be started: {}", plain(source))?;
                f.write_str(&shortage_hint(source))
            }
        }
    }
}

/// What to do where the system is out of something.
fn shortage_hint(error: &io::Error) -> String {
    sys::shortage_hint(error).map_or_else(String::new, |hint| format!("; {hint}"))
}

/// The system's own words, in the style of the rest of the line: `permission denied`, without the
/// capital, the full stop and the number that come with them.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_some() { in_our_style(&text) } else { text }
}

fn in_our_style(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { addr, network: Network::Unix, source } => {
                write!(f, "cannot bind {addr}: {}", plain(source))?;
                f.write_str(match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; another process listens there: stop it or choose another path"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "; the master must be allowed to write to its directory"
                    }
                    io::ErrorKind::NotFound => "; its directory must exist",
                    _ => "",
                })
            }
            Self::Bind { addr, source, .. } => {
                write!(f, "cannot bind {addr}: {}", plain(source))?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        f.write_str("; another process listens there: stop it or choose another port")
                    }
                    io::ErrorKind::PermissionDenied => write!(f, "; {}", sys::ADDRESS_DENIED_HINT),
                    io::ErrorKind::AddrNotAvailable => {
                        f.write_str("; no interface of this machine has that address")
                    }
                    _ => f.write_str(&shortage_hint(source)),
                }
            }
            Self::Resolve { addr, network, reason } => {
                write!(f, "cannot listen on `{addr}` ({network}): {reason}")
            }
            Self::BadOption { option, value, expected } => {
                write!(f, "{option} cannot be `{value}`: expected {expected}")
            }
            Self::OverRecovery { failures, threshold, last } => {
                let noun = if *failures == 1 { "failure" } else { "failures" };
                write!(
                    f,
                    "too many children failed: {failures} {noun}, {threshold} allowed; the last: {last}"
                )
            }
            Self::Hook { hook, source } => write!(f, "hook {hook} failed: {source}"),
            Self::Spawn { source } => write!(f, "cannot start a child: {}", plain(source)),
            Self::CommandProducer { source } => write!(f, "command_producer failed: {}", plain(source)),
            Self::Handshake { source } => {
                write!(f, "handshake between master and child failed: {}", plain(source))
            }
            Self::Privileges { attempt, source } => write!(f, "cannot {attempt}: {}", plain(source)),
            Self::Tls { path, reason, source } => {
                match path {
                    Some(path) => write!(f, "cannot use {}: {reason}", path.display())?,
                    None => write!(f, "cannot use the embedded TLS material: {reason}")?,
                }
                match source {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::OnlyReuseportOnWindows => f.write_str("windows only supports reuseport = true"),
            Self::Os { operation, source } => {
                write!(f, "cannot {operation}: {}", plain(source))?;
                f.write_str(&shortage_hint(source))
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. }
            | Self::Spawn { source }
            | Self::CommandProducer { source }
            | Self::Handshake { source }
            | Self::Privileges { source, .. }
            | Self::Os { source, .. } => Some(source),
            Self::Hook { source, .. } => Some(&**source),
            Self::Tls { source, .. } => source.as_deref().map(|source| source as _),
            Self::OverRecovery { last: Failure::NotStarted { source, .. }, .. } => Some(source),
            Self::OverRecovery { .. }
            | Self::Resolve { .. }
            | Self::BadOption { .. }
            | Self::OnlyReuseportOnWindows => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_system_are_lower_case_and_plain() {
        assert_eq!(in_our_style("Permission denied (os error 13)"), "permission denied");
        assert_eq!(in_our_style("Access is denied. (os error 5)"), "access is denied");
        assert!(!plain(&io::Error::from_raw_os_error(2)).contains("os error 2"));
        assert_eq!(plain(&io::Error::other("Own words")), "Own words");
    }
}
