//! The tokio runtime of a child.

use std::io;
use std::process::{ExitCode, Termination};

use super::ServeContext;
use crate::child::StartError;

pub use prefork_options::Runtime;

/// Makes the arguments and runs the serve function, on a runtime of this child's own.
pub(super) fn run<S, F>(
    context: &ServeContext,
    prepare: impl AsyncFnOnce(&ServeContext) -> Result<S, StartError>,
) -> Result<ExitCode, StartError>
where
    S: FnOnce() -> F,
    F: Future<Output: Termination + 'static>,
{
    let runtime = build(context).map_err(StartError::Runtime)?;
    let outcome = runtime.block_on(drive(context, prepare));
    if outcome.is_err() {
        // Pending work of an unfinished argument, such as a name lookup, must not delay the exit.
        runtime.shutdown_background();
    }
    outcome
}

fn build(context: &ServeContext) -> io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = match context.options.runtime {
        Runtime::MultiThread => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    #[cfg(feature = "tracing")]
    {
        let span = context.state.context.span();
        // The span stays entered until the thread ends.
        builder.on_thread_start(move || std::mem::forget(span.clone().entered()));
    }
    builder.enable_all().build()
}

async fn drive<S, F>(
    context: &ServeContext,
    prepare: impl AsyncFnOnce(&ServeContext) -> Result<S, StartError>,
) -> Result<ExitCode, StartError>
where
    S: FnOnce() -> F,
    F: Future<Output: Termination + 'static>,
{
    if let Some(heartbeat) = context.state.context.watchdog().heartbeat() {
        tokio::spawn(heartbeat);
    }
    let serve = prepare(context).await?;
    let serving = serve();
    context.announce_ready();
    let code = context.status_of(serving.await);
    // Tasks that the function left behind run on this runtime: drive them to the end of the drain.
    if let Some(drained) = context.state.note_return() {
        drained.await;
    }
    Ok(code)
}
