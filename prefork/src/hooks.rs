//! Functions of the user's that run at turning points of the fleet.
//!
//! | hook | process | when | an error |
//! |---|---|---|---|
//! | `on_child_spawn(pid)` | master | once for each child, right after its start | stops the fleet |
//! | `on_master_ready(pids)` | master | once, when every slot is ready for the first time | stops the fleet |
//! | `on_child_recover(old, new)` | master | after `on_child_spawn(new)`, if it replaces a child that is gone | stops the fleet |
//! | `on_master_death()` | child | when the master is gone; the child then drains and exits with 1 | is logged |
//! | `command_producer(command)` | master | to start a child | stops the fleet, unless trying again can help |
//!
//! Hooks of the master run on its one thread: while a hook runs, no child is replaced and no signal
//! answered. A hook that panics stops the fleet too, and the panic goes on when no child is left.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command};
use std::sync::Arc;

use crate::error::BoxError;

/// What a hook may return: nothing, or a `Result` whose error stops the fleet.
#[diagnostic::on_unimplemented(
    message = "a hook cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "a hook returns `()` or `Result<(), E>`, where `E` converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait HookResult {
    /// The outcome, with the error in a box.
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

/// For hooks that never return, such as `|| std::process::exit(3)`. The type `!` has no name on
/// stable Rust, but the return type of a function pointer has.
impl HookResult for <fn() -> ! as Returns>::Type {
    fn into_result(self) -> Result<(), BoxError> {
        self
    }
}

/// Names what a function returns.
#[doc(hidden)]
pub trait Returns {
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

type Outcome = Result<(), BoxError>;
type PidHook = dyn Fn(u32) -> Outcome + Send + Sync;
type PidsHook = dyn Fn(&[u32]) -> Outcome + Send + Sync;
type TwoPidsHook = dyn Fn(u32, u32) -> Outcome + Send + Sync;
type BareHook = dyn Fn() -> Outcome + Send + Sync;
pub(crate) type CommandProducer = dyn Fn(Command) -> io::Result<Child> + Send + Sync;

/// The hooks that are set. Those of the other process are dead weight, and not heavy.
#[derive(Default, Clone)]
pub(crate) struct Hooks {
    pub(crate) on_master_death: Option<Arc<BareHook>>,
    pub(crate) on_child_spawn: Option<Arc<PidHook>>,
    pub(crate) on_master_ready: Option<Arc<PidsHook>>,
    pub(crate) on_child_recover: Option<Arc<TwoPidsHook>>,
    pub(crate) command_producer: Option<Arc<CommandProducer>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_master_death", &self.on_master_death.is_some())
            .field("on_child_spawn", &self.on_child_spawn.is_some())
            .field("on_master_ready", &self.on_master_ready.is_some())
            .field("on_child_recover", &self.on_child_recover.is_some())
            .field("command_producer", &self.command_producer.is_some())
            .finish()
    }
}

/// What became of a hook.
#[derive(Debug)]
pub(crate) enum HookFailure {
    Error(BoxError),
    Panic(Box<dyn std::any::Any + Send>),
}

/// Runs a hook; a panic comes back like an error, so that the fleet can be taken down in order.
pub(crate) fn run(hook: impl FnOnce() -> Outcome) -> Result<(), HookFailure> {
    match panic::catch_unwind(AssertUnwindSafe(hook)) {
        Ok(outcome) => outcome.map_err(HookFailure::Error),
        Err(payload) => Err(HookFailure::Panic(payload)),
    }
}
