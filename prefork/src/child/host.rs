//! The process in which a serve function runs: a child process, or the master's own (`workers = 0`).

use std::fmt;
use std::io;

use crate::logging;
use crate::sys::{self, Channel, MasterLink, MasterSender};

/// See the [module](self).
pub(crate) enum Host {
    /// A process of its own.
    ChildProcess,
    /// The master's own process (`workers = 0`). The function tells the master that no connection is left, and
    /// that the serve function does not return.
    MasterProcess(Box<dyn Fn() + Send + Sync>),
}

impl Host {
    /// The link to the master. In the master's own process, signals are the master's.
    pub(super) fn link(&self, channel: Channel) -> io::Result<(MasterLink, MasterSender)> {
        match self {
            Self::ChildProcess => MasterLink::new(channel),
            Self::MasterProcess(_) => MasterLink::inside(channel),
        }
    }

    /// Sends the process the signal for which a server may have a handler of its own. In the master's own
    /// process it has had the operator's signal, and another one would be a second request to stop.
    pub(super) fn raise_stop_signal(&self) {
        match self {
            Self::ChildProcess => sys::raise_stop_signal(),
            Self::MasterProcess(_) => {}
        }
    }

    /// Ends a child process. In the master's own process it is the master that ends it: it is told that no
    /// connection is left, and that the serve function does not return.
    pub(super) fn end_after_drain(&self, status: i32) {
        match self {
            Self::ChildProcess => {
                logging::flush();
                std::process::exit(status);
            }
            Self::MasterProcess(drained) => drained(),
        }
    }

    /// Whether the end of the link is the death of the master, and not the end of the serve function.
    pub(super) fn has_master_to_lose(&self) -> bool {
        matches!(self, Self::ChildProcess)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChildProcess => "ChildProcess",
            Self::MasterProcess(_) => "MasterProcess",
        })
    }
}
