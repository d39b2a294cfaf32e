//! The serve function: its shapes, its arguments, and how a child calls it.
//!
//! - `shapes.rs`: which functions are serve functions
//! - `listeners.rs`: the first argument
//! - `arguments.rs`: the further arguments
//! - `function.rs`: a boxed serve function
//! - `serve_context.rs`: what the arguments are made from
//! - `returned_error.rs`: the error that it has returned
//! - `runtime.rs` (feature `tokio`): the runtime of an `async` one
//! - `mod.rs`: from the options of a child to the call

mod arguments;
mod function;
mod listeners;
mod returned_error;
#[cfg(feature = "tokio")]
mod runtime;
mod serve_context;
mod shapes;

use std::process::ExitCode;

#[cfg(feature = "tokio")]
pub(crate) use arguments::Argument;
#[cfg(feature = "tokio")]
pub use arguments::AsyncFromChild;
pub use arguments::FromChild;
pub(crate) use arguments::Needs;
pub(crate) use function::{ServeFn, TlsForm};
pub(crate) use listeners::Demand;
pub use listeners::{FromListener, FromListeners};
pub(crate) use returned_error::note_returned_error;
#[cfg(feature = "tokio")]
pub use runtime::Runtime;
pub(crate) use serve_context::ServeContext;
pub use shapes::Serve;

use crate::child::{self, Adopted, ChildOptions, Limits, StartError, reporting_panics};
use crate::hooks::Hooks;
use crate::logging::Logger;
use crate::tls;

/// Marks a plain serve function in types and messages.
#[derive(Debug)]
#[non_exhaustive]
pub enum Blocking {}

/// Marks an `async` serve function in types and messages.
#[derive(Debug)]
#[non_exhaustive]
pub enum Async {}

/// What a child needs of the options.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServeOptions {
    pub(crate) tls: tls::TlsOptions,
    /// Whether the server itself says when it is ready.
    pub(crate) manual_ready: bool,
    pub(crate) limits: Limits,
    #[cfg(feature = "tokio")]
    pub(crate) runtime: Runtime,
}

/// Serves in this child. Returns the status that the process has to end with.
pub(crate) fn run(serve: ServeFn, options: ServeOptions, hooks: Hooks, logger: &Logger) -> ExitCode {
    child::adopted()
        .and_then(|adopted| start_and_call(adopted, serve, options, hooks, logger))
        .unwrap_or_else(|error| child::report_start_error(&error, logger))
}

/// Serves as the child that was `adopted`. Returns the status that the process has to end with.
///
/// # Errors
///
/// Why the serve function cannot be called.
pub(crate) fn start_and_call(
    adopted: Adopted,
    mut serve: ServeFn,
    options: ServeOptions,
    hooks: Hooks,
    logger: &Logger,
) -> Result<ExitCode, StartError> {
    // A child serves once, for its whole life: what user code borrows is never freed.
    let options: &'static ServeOptions = Box::leak(Box::new(options));
    let child_options =
        ChildOptions { tls: &options.tls, limits: options.limits, hooks, blocking: serve.is_blocking() };
    // In a child that a template has forked it has been taken.
    serve.take_load().map_or(Ok(()), |load| load.run(logger))?;
    let (state, listeners) = child::start(adopted, child_options, logger)?;
    #[cfg(feature = "tracing")]
    let _child = state.context.span().entered();
    let context = ServeContext::new(listeners, options, state.clone(), logger.clone());
    let code = reporting_panics(logger, || serve.call(&context))?;
    Ok(state.status_after_drain(code))
}
