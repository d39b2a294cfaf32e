//! The child: takes the handshake, calls the user's function, and drains when it is told to stop or
//! its master dies.
//!
//! The serve function has the main thread. A second thread sleeps until there is an order; it alone
//! decides when the process ends, except where the serve function returns by itself.

mod context;
mod drain;
mod latch;
mod watchdog;

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use socket2::Socket;

pub use context::{ChildContext, FromChild, Shutdown};
use drain::{Progress, Watcher};
pub(crate) use latch::Latch;
pub use watchdog::Busy;
pub(crate) use watchdog::Limits;

use crate::error::{Error, chain};
use crate::hooks::Hooks;
use crate::logging::{self, Logger};
use crate::privileges::Privileges;
use crate::protocol::{GREETING, Handshake, Secrets, ToMaster};
use crate::serve::{ServeContext, ServeFn, ServeOptions};
use crate::sys::{self, AcceptGate, MasterLink, Role};
use crate::title::title_child;
use crate::tls::PreparedTls;

/// Whether this process is a child of a prefork master; the seed's `IsChild`.
///
/// Can be asked at any time in any process. The answer is true from the very start of a child, and
/// never in a process that a child starts.
pub fn is_child() -> bool {
    role() == Role::Child
}

pub(crate) fn role() -> Role {
    // Asked once: after the handshake is taken, nothing in the environment tells any more.
    static ROLE: OnceLock<Role> = OnceLock::new();
    *ROLE.get_or_init(|| sys::role(GREETING))
}

/// A handshake that has been taken.
struct Adopted {
    handshake: Handshake,
    listeners: Vec<Socket>,
    channel: sys::Channel,
    secrets: Secrets,
}

/// Where a handshake waits that was taken before the fleet was configured.
static ADOPTED: Mutex<Option<Adopted>> = Mutex::new(None);

/// Takes the handshake now, before any code of the user's has run, and the privileges that come with it.
/// Does nothing in a master, nor the second time.
///
/// # Errors
///
/// [`Error::Handshake`] in a process that is marked as a child and has no handshake, or a broken one.
pub(crate) fn adopt_early() -> Result<(), Error> {
    match role() {
        Role::Master => Ok(()),
        Role::Stray => Err(stray()),
        Role::Child => {
            let mut waiting = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_none() {
                let adopted = adopt().map_err(|source| Error::Handshake { source })?;
                logging::note_child(adopted.handshake.slot, adopted.handshake.generation);
                title_child(&adopted.handshake.title, adopted.handshake.slot);
                if let Err(error) = adopted.handshake.privileges.apply() {
                    // Whoever gets an error may carry on; this process must not.
                    let slot = adopted.handshake.slot;
                    logging::to_stderr(format_args!("prefork: error: child {slot} {}", chain(&error)));
                    sys::exit_now(1);
                }
                *waiting = Some(adopted);
            }
            Ok(())
        }
    }
}

/// If this child is to replace another, which stays if it fails, so that what only a master needs has
/// to be in order as well: the privileges that it runs under.
pub(crate) fn privileges_on_trial() -> Option<Privileges> {
    let adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    adopted
        .as_ref()
        .filter(|adopted| adopted.handshake.trial)
        .map(|adopted| adopted.handshake.privileges.clone())
}

fn stray() -> Error {
    let marker = sys::MARKER;
    Error::Handshake {
        source: io::Error::other(format!(
            "{marker} is set, but standard input is not a handshake; unset {marker}, which is not for you to \
             set, or let command_producer keep the command's standard input"
        )),
    }
}

fn adopt() -> io::Result<Adopted> {
    let mut channel = sys::take_handshake()?;
    let line = channel.wait_for_line()?;
    let handshake = Handshake::from_line(&line)?;
    channel.send(ToMaster::Received.to_line(), &[])?;
    let listeners = channel.take_listeners()?;
    let text = if handshake.secrets { channel.take_secrets()? } else { String::new() };
    // Where secrets cannot be handed over, the text is empty, and the child reads the files itself.
    let secrets = if text.is_empty() { Secrets::default() } else { Secrets::from_text(&text)? };
    Ok(Adopted { handshake, listeners, channel, secrets })
}

/// Serves in this child; returns the status that the process is to end with.
pub(crate) fn run(serve: ServeFn, options: ServeOptions, hooks: Hooks, logger: &Logger) -> ExitCode {
    let adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let adopted =
        adopted.ok_or_else(|| Error::Handshake { source: io::Error::other("this process has none") });
    match adopted.and_then(|adopted| serve_adopted(adopted, serve, options, hooks, logger)) {
        Ok(code) => code,
        Err(error) => {
            logger.event("cannot_serve").error(format_args!("a child cannot start: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn serve_adopted(
    adopted: Adopted,
    serve: ServeFn,
    options: ServeOptions,
    hooks: Hooks,
    logger: &Logger,
) -> Result<ExitCode, Error> {
    let Adopted { handshake, listeners, channel, secrets } = adopted;
    let broken = |source| Error::Handshake { source };
    let tls = PreparedTls::new(&options.tls, secrets.into(), handshake.trial)?;
    let gate = AcceptGate::new(&listeners).map_err(broken)?;
    let (watch, voice) = MasterLink::new(channel).map_err(broken)?;
    let ending = Arc::new(Ending {
        context: ChildContext::new(handshake, voice, options.limits, tls),
        blocking: serve.is_blocking(),
        drained: Latch::new(),
        returned: AtomicBool::new(false),
        orphaned: AtomicBool::new(false),
    });
    let watcher = Watcher {
        ending: Arc::clone(&ending),
        hooks,
        logger: logger.clone(),
        gate,
        progress: Progress::default(),
    };
    thread::Builder::new()
        .name("prefork-watch".to_owned())
        .spawn(move || watcher.run(watch))
        .map_err(|source| Error::Os { operation: "start a thread to watch the master with", source })?;
    let context = ServeContext::new(listeners, options, Arc::clone(&ending), logger.clone());
    #[cfg(feature = "tracing")]
    let _child = ending.context.span().entered();
    let code = serve.call(context);
    Ok(ending.serve_returned(code))
}

/// How this process comes to its end: known to the main thread and to the one that watches.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) context: ChildContext,
    /// Whether the serve function accepts in threads, and not on a runtime.
    blocking: bool,
    /// Set when no connection is left after a stop.
    drained: Latch,
    /// Whether the serve function has returned.
    returned: AtomicBool,
    /// Whether the master died.
    orphaned: AtomicBool,
}

impl Ending {
    /// If a stop is under way: what to wait for before the process may end, so that connections
    /// which other threads or tasks still serve are not cut.
    pub(crate) fn drain(&self) -> Option<Latch> {
        self.returned.store(true, Ordering::SeqCst);
        self.context.stop().is_set().then(|| self.drained.clone())
    }

    fn serve_returned(&self, code: ExitCode) -> ExitCode {
        if let Some(drained) = self.drain() {
            drained.wait();
        }
        if self.orphaned.load(Ordering::SeqCst) { ExitCode::FAILURE } else { code }
    }
}
