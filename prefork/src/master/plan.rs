//! The checked options of a fleet.

use std::path::PathBuf;

use super::{Configuration, FleetHandle};
use crate::hooks::Hooks;
use crate::listen::{Endpoint, Sharing, SocketOptions};
use crate::logging::Logger;
use crate::privileges::Privileges;
use crate::supervisor::Settings;
use crate::sys::{self, Activated};
use crate::tls::TlsOptions;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<Endpoint>,
    /// Sockets that the service manager opened, until the master takes them.
    pub(crate) activated: Vec<Activated>,
    pub(crate) sharing: Sharing,
    pub(crate) sockets: SocketOptions,
    /// Who loads what `preload` gives; `None` without it.
    pub(crate) loaded_by: Option<LoadedBy>,
    /// Why there are `settings.workers` children, if the system decides that.
    pub(crate) workers_reason: Option<String>,
    /// Address of the health endpoint.
    pub(crate) health: Option<String>,
    /// Path of the control socket.
    pub(crate) control: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) settings: Settings,
    /// What children run with.
    pub(crate) privileges: Privileges,
    /// Name in process titles; empty leaves titles alone.
    pub(crate) title: String,
    /// The CPUs that children are pinned to, one each, cyclically; empty pins none.
    pub(crate) cpus: Vec<usize>,
    pub(crate) hooks: Hooks,
    pub(crate) tls: TlsOptions,
    pub(crate) logger: Logger,
    /// The program's own handle, if it took one.
    pub(crate) handle: Option<FleetHandle>,
    /// The configuration file, if there is one.
    pub(crate) config: Option<Box<dyn Configuration>>,
}

/// The process that loads what `preload` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadedBy {
    /// A template, which then forks the children.
    Template,
    /// Each child for itself: this system cannot fork children so.
    Child,
    /// The one process that there is.
    OneProcess,
}

impl LoadedBy {
    /// In a fleet of this size.
    pub(crate) fn with(workers: usize) -> Self {
        match workers {
            0 => Self::OneProcess,
            _ if sys::can_fork_for_parent() => Self::Template,
            _ => Self::Child,
        }
    }
}

impl Plan {
    /// Whether children are forked by a template.
    pub(super) fn has_templates(&self) -> bool {
        self.loaded_by == Some(LoadedBy::Template)
    }
}
