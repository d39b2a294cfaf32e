//! The child: takes the handshake, keeps the link to the master, and drains when the master asks it to
//! stop or dies. What it calls in between, the serve function, is the business of `serve`.
//!
//! - `adopt.rs`: the handshake
//! - `mod.rs`: the role of this process, and what a child starts with
//! - `start_error.rs`: why a child cannot start, and the one place that reports it
//! - `context.rs`: what user code sees of the child
//! - `link.rs`: the link thread
//! - `panics.rs`: the panic that ends this process
//! - `relay.rs`: what this child logs, for its master
//! - `shutdown.rs`: the stop of the child: its decisions, which know no process and no clock
//! - `drain.rs`: the stop of the child: its system calls
//! - `watchdog.rs`: limits on memory and on unfinished work
//! - `own_size.rs`: the memory of a forked child that counts
//! - `leadership.rs`: the leadership, as a child sees it
//! - `latch.rs`: an event that happens once
//! - `fair_share.rs`: which child accepts first
//! - `host.rs`: the process that the child is: one of its own, or with `workers = 0` its master's
//!
//! The serve function has the main thread. The link thread sleeps until the master sends a message. It
//! alone ends the process, except where the serve function returns by itself.

mod adopt;
mod context;
mod drain;
mod fair_share;
mod host;
mod latch;
mod leadership;
mod link;
mod own_size;
mod panics;
mod relay;
mod shutdown;
mod start_error;
mod watchdog;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use socket2::Socket;

pub(crate) use adopt::{
    Adopted, UpgradeCheck, adopt_again, adopt_early, adopt_forked, adopted, config_file, privileges_on_trial,
};
pub use context::{ChildContext, Shutdown};
pub use fair_share::FairShare;

pub(crate) use host::Host;
pub(crate) use latch::Latch;
pub use leadership::{LeaderTerm, Leadership, NextTerm, TermOver};
use link::LinkThread;
pub(crate) use panics::reporting_panics;
pub(crate) use start_error::{StartError, process_name, report_start_error};

pub use watchdog::Busy;
pub(crate) use watchdog::Limits;

use crate::error::Error;
use crate::hooks::Hooks;
use crate::listen;
use crate::logging::{self, Logger};
use crate::protocol::GREETING;
use crate::shared;
use crate::sys::{self, AcceptGate, Role};
use crate::tls::{PreparedTls, TlsOptions};

/// Whether this process is a child of a prefork master.
///
/// Can be called at any time in any process. The answer is true from the very start of a child, and
/// never in a process that a child starts.
#[must_use]
pub fn is_child() -> bool {
    role() == Role::Child
}

pub(crate) fn role() -> Role {
    // The first answer counts: taking the handshake removes its traces from the environment.
    static ROLE: OnceLock<Role> = OnceLock::new();
    *ROLE.get_or_init(|| {
        sys::guard_inheritance();
        sys::role(GREETING)
    })
}

/// What a child does besides calling the serve function.
#[derive(Debug)]
pub(crate) struct ChildOptions<'a> {
    pub(crate) tls: &'a TlsOptions,
    pub(crate) limits: Limits,
    pub(crate) hooks: Hooks,
    /// Whether the serve function accepts in threads, and not on a runtime.
    pub(crate) blocking: bool,
}

/// Prepares the `adopted` child for its serve function, and starts the link thread. Returns the listeners too.
///
/// # Errors
///
/// [`StartError::Fleet`].
pub(crate) fn start(
    adopted: Adopted,
    options: ChildOptions<'_>,
    logger: &Logger,
) -> Result<(Arc<ServeState>, Vec<Socket>), StartError> {
    shared::use_logger(logger);
    let Adopted { handshake, listeners, channel, secrets, host, is_forked } = adopted;
    let limits = Limits { of_private: is_forked, ..options.limits };
    let broken = |source| Error::Handshake { source };
    let tls = PreparedTls::new(options.tls, secrets.into(), handshake.trial)?;
    let gate = AcceptGate::new(&listeners).map_err(broken)?;
    // A listener without a name is waited for by no master.
    let addrs = listeners.iter().map(|listener| listen::name_of(listener).unwrap_or_default()).collect();
    let (link, sender) = host.link(channel).map_err(broken)?;
    let state = Arc::new(ServeState {
        context: ChildContext::new(handshake, sender, limits, tls),
        host,
        blocking: options.blocking,
        drained: Latch::new(),
        called: AtomicBool::new(false),
        returned: AtomicBool::new(false),
        orphaned: AtomicBool::new(false),
    });
    let link_thread = LinkThread::new(Arc::clone(&state), options.hooks, logger.clone(), gate, addrs);
    thread::Builder::new()
        .name("prefork-link".to_owned())
        .spawn(move || link_thread.run(link))
        .map_err(|source| Error::Os { operation: "start the link thread", source })?;
    Ok((state, listeners))
}

/// What the main thread and the link thread both know of the serve function's progress.
#[derive(Debug)]
pub(crate) struct ServeState {
    pub(crate) context: ChildContext,
    host: Host,
    blocking: bool,
    /// Set when no connection is left after a stop.
    drained: Latch,
    /// Whether the serve function's arguments are made and it is being called.
    called: AtomicBool,
    /// Whether the serve function has returned.
    returned: AtomicBool,
    /// Whether the master died.
    orphaned: AtomicBool,
}

impl ServeState {
    /// Notes that the serve function is called next.
    pub(crate) fn note_call(&self) {
        self.called.store(true, Ordering::SeqCst);
    }

    /// Notes that the serve function has returned. While a stop is under way, returns what to wait for
    /// before the process may end, so that connections which other threads or tasks serve are not cut.
    pub(crate) fn note_return(&self) -> Option<Latch> {
        self.returned.store(true, Ordering::SeqCst);
        self.context.stop().is_set().then(|| self.drained.clone())
    }

    /// Turns the serve function's status into that of the process, after the drain.
    pub(crate) fn status_after_drain(&self, code: ExitCode) -> ExitCode {
        if let Some(drained) = self.note_return() {
            drained.wait();
        }
        logging::flush();
        if self.orphaned.load(Ordering::SeqCst) { ExitCode::FAILURE } else { code }
    }

    /// This child in messages: `child 3`, or `this process`.
    fn name(&self) -> String {
        match self.host {
            Host::ChildProcess => format!("child {}", self.context.slot()),
            Host::MasterProcess(_) => "this process".to_owned(),
        }
    }

    /// Whether the serve function is to return by itself after a stop: it took a [`Shutdown`], and it
    /// has been called.
    fn cooperates(&self) -> bool {
        self.context.cooperates() && self.called.load(Ordering::SeqCst)
    }

    fn has_returned(&self) -> bool {
        self.returned.load(Ordering::SeqCst)
    }
}
