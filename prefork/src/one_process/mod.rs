//! One process without children (`workers = 0`): for debuggers, profilers and tests.
//!
//! ```text
//!  thread of the caller                    thread "prefork-master"
//! ┌───────────────────────────────┐       ┌────────────────────────────────────┐
//! │ the child's part:             │       │ the master's part:                 │
//! │ arguments, serve function     │       │ signals, health, service manager,  │
//! │   thread "prefork-link":      │ socket│ FleetHandle, hooks, stop           │
//! │   the order to stop, the drain│◀─pair─│                                    │
//! └───────────────────────────────┘       └────────────────────────────────────┘
//! ```
//!
//! Both parts are the code of a fleet: the [`Supervisor`](crate::supervisor::Supervisor) decides about a fleet of
//! one child, the messages of `protocol` go over a socket pair, and `child` stops the server. So a stop keeps the
//! same promises. What differs is that nothing can be started, replaced or killed; where a child would be killed,
//! the process ends.
//!
//! - `mod.rs`: the caller's thread
//! - `master.rs`: the master's loop
//! - `serving.rs`: what one thread tells the other
//! - `messages.rs`: the log

mod master;
mod messages;
mod serving;

use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use master::OneProcess;
use serving::{Ended, Serving};

use crate::child::{self, StartError};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::logging::HeldMessages;
use crate::master::{Cause, EndNotice, Plan};
use crate::serve::{self, ServeFn, ServeOptions};
use crate::sys;

/// Serves in this process. Returns the status that the process has to end with. `held` keeps the process at one
/// thread until it has given up its privileges.
///
/// # Errors
///
/// As for a fleet with children, except that a serve function that cannot be called is reported here.
pub(crate) fn run(
    plan: Plan,
    serve: ServeFn,
    options: ServeOptions,
    held: HeldMessages,
) -> Result<ExitCode, Error> {
    let logger = plan.logger.clone();
    let _end_notice = EndNotice(plan.handle.clone());
    let privileges = plan.privileges.clone();
    let (mut master, adopted) = OneProcess::prepare(plan)?;
    privileges.apply()?;
    drop(held);
    master.begin()?;
    let part = MasterPart::start(master)?;
    let served = {
        // The terminal sends SIGTTOU to a process in its background that writes; the other thread handles it.
        let _guard = sys::TerminalGuard::begin();
        serve::start_and_call(adopted, serve, options, Hooks::default(), &logger)
    };
    let (how, result) = match served {
        Ok(code) => (Ended::Returned, Ok(code)),
        Err(StartError::Fleet(error)) => (Ended::NotCalled, Err(error)),
        Err(error) => (Ended::NotCalled, Ok(child::report_start_error(&error, &logger))),
    };
    match (part.end(how), result) {
        (Err(Cause::Panic(payload)), _) => panic::resume_unwind(payload),
        (Err(Cause::Error(error)), _) => Err(error),
        (Ok(()), result) => result,
    }
}

/// The thread of the master's part. Dropping it, after a panic of the serve function, ends it.
struct MasterPart {
    serving: Arc<Serving>,
    thread: Option<JoinHandle<Result<(), Cause>>>,
}

impl MasterPart {
    fn start(master: OneProcess) -> Result<Self, Error> {
        let serving = master.serving();
        // In this thread no signal is blocked, so that it receives those that are for the process.
        let thread = thread::Builder::new().name("prefork-master".to_owned()).spawn(move || master.run());
        let thread = thread.map_err(Error::os("start the master's thread"))?;
        Ok(Self { serving, thread: Some(thread) })
    }

    /// Waits for the end of the thread.
    fn end(mut self, how: Ended) -> Result<(), Cause> {
        self.join(how)
    }

    fn join(&mut self, how: Ended) -> Result<(), Cause> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.serving.end(how);
        thread.join().unwrap_or_else(|payload| Err(Cause::Panic(payload)))
    }
}

impl Drop for MasterPart {
    fn drop(&mut self) {
        let _ = self.join(Ended::Panicked);
    }
}
