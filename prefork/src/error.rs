//! The errors that a user can act on.
//!
//! - `error.rs`: why a fleet did not start, or ended
//! - `failure.rs`: how a child failed
//! - `chain.rs`: an error with its causes and its hint, on one line, as `Debug` prints it

mod chain;
mod failure;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

pub(crate) use chain::{chain, plain};
pub use failure::Failure;
pub(crate) use failure::Status;

use crate::sys;
use prefork_options::Network;

/// An error of user code, as hooks return it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a fleet did not start, or why it ended.
///
/// [`Prefork::listen_and_serve`](crate::Prefork::listen_and_serve) and its siblings return it in the
/// master.
///
/// `Display` is one lower-case line that names the value at fault. It does not repeat what
/// [`source`](std::error::Error::source) returns, so that printers of whole chains (`anyhow`, `eyre`)
/// show each cause once. [`hint`](Self::hint) says what to do, where that is known.
///
/// `Debug` prints the error, its causes and the hint on one line. A `main` that returns this error
/// therefore prints
///
/// ```text
/// Error: cannot bind 127.0.0.1:80: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE
/// ```
#[non_exhaustive]
pub enum Error {
    /// The address is in use, needs a privilege, or does not belong to this machine.
    #[non_exhaustive]
    Bind {
        /// The address as the options name it.
        addr: String,
        /// The network of the socket.
        network: Network,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The address is not of the form `host:port`, or its host has no address on this network.
    #[non_exhaustive]
    Resolve {
        /// The address as the options name it.
        addr: String,
        /// The network of the lookup.
        network: Network,
        /// What is wrong with the address.
        reason: String,
    },
    /// An option, or an environment variable or a line of the configuration file that sets one, has an invalid value.
    #[non_exhaustive]
    BadOption {
        /// The option's name as the user writes it: `workers`, `PREFORK_WORKERS`,
        /// `/etc/app/prefork.toml:3:11: workers`.
        option: String,
        /// The value as given; empty if it is missing.
        value: String,
        /// Which values are valid.
        expected: String,
        /// Who set it, where the name does not say so: `attribute` or `builder`.
        set_by: Option<&'static str>,
    },
    /// More children failed than the recover policy allows.
    #[non_exhaustive]
    OverRecovery {
        /// The number of failures, including the last one.
        failures: u32,
        /// How many failures the policy recovers from.
        threshold: u32,
        /// The failure that exceeded the threshold.
        last: Failure,
    },
    /// A hook returned an error.
    #[non_exhaustive]
    Hook {
        /// The hook's name, as in the attribute.
        hook: &'static str,
        /// The error that the hook returned.
        source: BoxError,
    },
    /// A child process could not be started, and another attempt cannot help.
    #[non_exhaustive]
    Spawn {
        /// The operating system's answer.
        source: io::Error,
    },
    /// `command_producer` returned an error, or a process that did not take the handshake.
    #[non_exhaustive]
    CommandProducer {
        /// The hook's error, or a description of the process.
        source: io::Error,
    },
    /// Master and child could not communicate.
    #[non_exhaustive]
    Handshake {
        /// What went wrong.
        source: io::Error,
    },
    /// Children cannot run with the privileges that the options ask for.
    #[non_exhaustive]
    Privileges {
        /// What was attempted, as in `run children as www-data`.
        attempt: String,
        /// The operating system's answer, or a sentence in place of it.
        source: io::Error,
    },
    /// The configuration file cannot be read, or has an unknown option. An invalid value in it is a
    /// [`BadOption`](Self::BadOption) whose name has the place.
    #[non_exhaustive]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1; `None` if no place is at fault.
        place: Option<(usize, usize)>,
        /// What is wrong there.
        reason: String,
        /// The operating system's answer, if there is one.
        source: Option<io::Error>,
    },
    /// The pid file cannot be created, or another process holds it.
    #[non_exhaustive]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The operating system's answer, or a sentence in place of it.
        source: io::Error,
    },
    /// The control socket cannot be opened, or another process listens there.
    #[non_exhaustive]
    Control {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer, or a sentence in place of it.
        source: io::Error,
    },
    /// A certificate or key cannot be read or parsed, or does not match its counterpart.
    #[non_exhaustive]
    Tls {
        /// The file at fault; `None` for embedded material.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
        /// The underlying error, if there is one.
        source: Option<BoxError>,
    },
    /// `reuseport = false` on Windows, where `true` is the default.
    OnlyReuseportOnWindows,
    /// The operating system refused something that the master needs.
    #[non_exhaustive]
    Os {
        /// What the master attempted.
        operation: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: the system refused this operation.
    pub(crate) fn os(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Os { operation, source }
    }

    /// The error for sockets of the service manager that cannot be taken.
    pub(crate) fn activation(source: io::Error) -> Self {
        Self::Os { operation: "take the sockets of the service manager", source }
    }

    /// What to do about this error, where that is known: `ports below 1024 need root or
    /// CAP_NET_BIND_SERVICE`. `Debug` prints it at the end of its line, `Display` does not.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        use io::ErrorKind;
        let hint = match self {
            Self::Bind { network: Network::Unix, source, .. } => match source.kind() {
                ErrorKind::AddrInUse => "another process listens there: stop it or choose another path",
                ErrorKind::PermissionDenied => "the master must be allowed to write to its directory",
                ErrorKind::NotFound => "its directory must exist",
                _ => return None,
            },
            Self::Bind { source, .. } => match source.kind() {
                ErrorKind::AddrInUse => "another process listens there: stop it or choose another port",
                ErrorKind::PermissionDenied => sys::ADDRESS_DENIED_HINT,
                ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
                _ => return sys::shortage_hint(source),
            },
            Self::PidFile { source, .. } if source.kind() == ErrorKind::ResourceBusy => {
                "stop that process, or set another `pidfile`"
            }
            Self::PidFile { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "the master must be allowed to write to its directory"
            }
            Self::PidFile { source, .. } if source.kind() == ErrorKind::NotFound => {
                "its directory must exist"
            }
            Self::Control { source, .. } => match source.kind() {
                ErrorKind::AddrInUse => "another process listens there: stop it, or set another `control`",
                ErrorKind::PermissionDenied => "the master must be allowed to write to its directory",
                ErrorKind::NotFound => "its directory must exist",
                _ => return sys::shortage_hint(source),
            },
            Self::Os { source, .. } | Self::PidFile { source, .. } => return sys::shortage_hint(source),
            Self::OverRecovery { last, .. } => return last.hint(),
            _ => return None,
        };
        Some(hint)
    }
}

/// Escapes control characters: values, paths and the reasons that quote them may contain any, and a text is one line.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, control)) = rest.char_indices().find(|(_, letter)| letter.is_control()) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", control.escape_debug())?;
            rest = &rest[at + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut OneLine(f);
        match self {
            Self::Bind { addr, .. } => write!(f, "cannot bind {addr}"),
            Self::Resolve { addr, network, reason } => {
                write!(f, "cannot listen on `{addr}` ({network}): {reason}")
            }
            Self::BadOption { option, value, expected, .. } if value.is_empty() => {
                write!(f, "{option} is not set: expected {expected}")
            }
            Self::BadOption { option, value, expected, set_by } => {
                write!(f, "{option} cannot be `{value}`: expected {expected}")?;
                set_by.map_or(Ok(()), |set_by| write!(f, " (set by the {set_by})"))
            }
            Self::OverRecovery { failures, threshold, .. } => {
                let noun = if *failures == 1 { "failure" } else { "failures" };
                write!(f, "too many children failed: {failures} {noun}, {threshold} allowed")
            }
            Self::Hook { hook, .. } => write!(f, "hook {hook} failed"),
            Self::Spawn { .. } => f.write_str("cannot start a child"),
            Self::CommandProducer { .. } => f.write_str("command_producer failed"),
            Self::Handshake { .. } => f.write_str("handshake between master and child failed"),
            Self::Privileges { attempt, .. } => write!(f, "cannot {attempt}"),
            Self::ConfigFile { path, place: Some((line, column)), reason, .. } => {
                write!(f, "{}:{line}:{column}: {reason}", path.display())
            }
            Self::ConfigFile { path, place: None, reason, .. } => {
                write!(f, "cannot use the configuration file {}: {reason}", path.display())
            }
            Self::PidFile { path, .. } => write!(f, "cannot use the pid file {}", path.display()),
            Self::Control { path, .. } => write!(f, "cannot open the control socket {}", path.display()),
            Self::Tls { path: Some(path), reason, .. } => {
                write!(f, "cannot use {}: {reason}", path.display())
            }
            Self::Tls { path: None, reason, .. } => {
                write!(f, "cannot use the embedded TLS material: {reason}")
            }
            Self::OnlyReuseportOnWindows => f.write_str("windows only supports reuseport = true"),
            Self::Os { operation, .. } => write!(f, "cannot {operation}"),
        }
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
            | Self::PidFile { source, .. }
            | Self::Control { source, .. }
            | Self::Os { source, .. } => Some(source),
            Self::Hook { source, .. } => Some(&**source),
            Self::Tls { source, .. } => source.as_deref().map(|source| source as _),
            Self::ConfigFile { source, .. } => source.as_ref().map(|source| source as _),
            Self::OverRecovery { last, .. } => Some(last),
            Self::Resolve { .. } | Self::BadOption { .. } | Self::OnlyReuseportOnWindows => None,
        }
    }
}
