//! Functions of the program that run when something happens to the fleet.
//!
//! | hook | process | when | an error |
//! |---|---|---|---|
//! | `on_child_spawn(pid)` | master | once for each child, right after its start | stops the fleet |
//! | `on_master_ready(pids)` | master | once, when every slot is ready for the first time | stops the fleet |
//! | `on_child_recover(old, new)` | master | after `on_child_spawn(new)`, if the new child replaces one that failed | stops the fleet |
//! | `on_master_death()` | child | when the master has died; the child then drains and exits with 1 | is logged |
//! | `on_log_reopen()` | master and child | when log files were rotated | is logged |
//! | `on_canary(canary)` | master | each second while a reload holds | rolls the reload back |
//! | `command_producer(command)` | master | to start a child | stops the fleet, unless another attempt can help |
//!
//! With `workers = 0` there are no children: `on_master_ready` and `on_log_reopen` run, in a thread beside the
//! serve function, and the others do not.
//!
//! Hooks of the master run on its only thread: while a hook runs, the master replaces no child and
//! handles no signal. Where an error stops the fleet, a panic stops it too; the panic continues when no child
//! is left.

mod canary;

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{BoxError, chain};
use crate::logging::Logger;

pub(crate) use canary::reason_of;
pub use canary::{Canary, CanaryGroup, CanaryResult, CanaryVerdict};

/// What a hook may return: nothing, or a `Result` whose error stops the fleet. Sealed.
#[diagnostic::on_unimplemented(
    message = "a hook cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "a hook returns `()` or `Result<(), E>`, where `E` converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait HookResult: sealed::HookResult {
    /// The result, with the error in a box.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

impl HookResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HookResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// For hooks that never return, such as `|| std::process::exit(3)`. The type `!` cannot be named on stable
/// Rust, but the return type of a function pointer can.
impl HookResult for <fn() -> ! as sealed::Returns>::Type {
    fn into_result(self) -> Result<(), BoxError> {
        self
    }
}

/// Supertraits that only this crate can implement.
mod sealed {
    use super::BoxError;

    pub trait HookResult {}
    impl HookResult for () {}
    impl<E: Into<BoxError>> HookResult for Result<(), E> {}
    impl HookResult for <fn() -> ! as Returns>::Type {}

    /// Names what a function returns.
    pub trait Returns {
        type Type;
    }

    impl<T> Returns for fn() -> T {
        type Type = T;
    }
}

type HookOutcome = Result<(), BoxError>;
type PidHook = dyn Fn(u32) -> HookOutcome + Send + Sync;
type PidsHook = dyn Fn(&[u32]) -> HookOutcome + Send + Sync;
type CanaryHook = dyn Fn(&Canary) -> Result<CanaryVerdict, BoxError> + Send + Sync;
type TwoPidsHook = dyn Fn(u32, u32) -> HookOutcome + Send + Sync;
pub(crate) type BareHook = dyn Fn() -> HookOutcome + Send + Sync;
pub(crate) type CommandProducer = dyn Fn(Command) -> io::Result<Child> + Send + Sync;

/// The hooks that the program set, of both processes.
#[derive(Default, Clone)]
pub(crate) struct Hooks {
    pub(crate) on_master_death: Option<Arc<BareHook>>,
    pub(crate) on_child_spawn: Option<Arc<PidHook>>,
    pub(crate) on_master_ready: Option<Arc<PidsHook>>,
    pub(crate) on_child_recover: Option<Arc<TwoPidsHook>>,
    pub(crate) on_log_reopen: Option<Arc<BareHook>>,
    pub(crate) on_canary: Option<Arc<CanaryHook>>,
    pub(crate) command_producer: Option<Arc<CommandProducer>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_master_death", &self.on_master_death.is_some())
            .field("on_child_spawn", &self.on_child_spawn.is_some())
            .field("on_master_ready", &self.on_master_ready.is_some())
            .field("on_child_recover", &self.on_child_recover.is_some())
            .field("on_log_reopen", &self.on_log_reopen.is_some())
            .field("on_canary", &self.on_canary.is_some())
            .field("command_producer", &self.command_producer.is_some())
            .finish()
    }
}

/// How a hook failed.
#[derive(Debug)]
pub(crate) enum HookFailure {
    Error(BoxError),
    Panic(Box<dyn std::any::Any + Send>),
}

/// Runs a hook and catches its panic, so that the fleet can stop in order.
pub(crate) fn run<T>(hook: impl FnOnce() -> Result<T, BoxError>) -> Result<T, HookFailure> {
    match panic::catch_unwind(AssertUnwindSafe(hook)) {
        Ok(outcome) => outcome.map_err(HookFailure::Error),
        Err(payload) => Err(HookFailure::Panic(payload)),
    }
}

/// Why log files are not opened again. It is logged as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotReopened {
    /// The program has no hook for it.
    NoHook,
    /// The hook has failed in the master.
    HookFailed(String),
}

/// Runs a hook whose failure changes nothing else.
///
/// # Errors
///
/// How it has failed, as it is logged.
pub(crate) fn run_and_log(name: &str, hook: &BareHook, logger: &Logger) -> Result<(), String> {
    run(hook).map_err(|failure| {
        let problem = match failure {
            HookFailure::Error(error) => format!("hook {name} failed: {}", chain(&*error)),
            HookFailure::Panic(_) => format!("hook {name} panicked"),
        };
        logger.event("hook_failed").error(&problem);
        problem
    })
}

/// Runs of a hook in a thread of their own, one after the other. One run answers every request from before it.
#[derive(Debug, Default, Clone)]
pub(crate) struct HookRuns(Arc<AtomicU32>);

impl HookRuns {
    /// Requests a run. Returns whether a thread is needed that [makes](Self::make) the runs: otherwise there is one.
    pub(crate) fn request(&self) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst) == 0
    }

    /// Makes the runs that are requested, also those that are requested meanwhile.
    pub(crate) fn make(&self, mut run: impl FnMut()) {
        loop {
            let requests = self.0.load(Ordering::SeqCst);
            run();
            if self.0.fetch_sub(requests, Ordering::SeqCst) == requests {
                return;
            }
        }
    }

    /// Forgets the requests: there is no thread.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_during_a_run_are_one_more_run() {
        let runs = HookRuns::default();
        assert!(runs.request() && !runs.request());
        let mut made = 0;
        runs.make(|| {
            made += 1;
            if made == 1 {
                assert!(!runs.request() && !runs.request());
            }
        });
        assert_eq!(made, 2);
        assert!(runs.request(), "the next request needs a thread again");
    }
}
