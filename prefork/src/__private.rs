//! What `#[prefork::main]` expands to. Not for you: it changes with the macro, in any release.

use std::io;
use std::path::Path;
pub use std::process::ExitCode;
use std::process::Termination;
pub use std::time::Duration;

use crate::builder::Prefork;
use crate::child::{self, FromChild};
use crate::error::chain;
use crate::hooks::HookResult;
use crate::listen::Listener;
use crate::logging;
#[cfg(feature = "tokio")]
use crate::serve::Async;
use crate::serve::{Blocking, Demand, FromListeners, ServeContext, ServeFn, TlsForm};

/// The whole of a generated `main`. A child takes its handshake first, so that no code of the user's
/// ever runs in a process that does not know its role.
pub fn main<I: HookResult>(init: impl FnOnce() -> I, configure: impl FnOnce() -> Prefork) -> ExitCode {
    if let Err(error) = child::adopt_early() {
        return fail(&chain(&error));
    }
    if let Err(error) = init().into_result() {
        return fail(&format_args!("init failed: {}", chain(&*error)));
    }
    match configure().run_to_end() {
        Ok(code) => code,
        Err(error) => fail(&chain(&error)),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    logging::to_stderr(format_args!("prefork: error: {error}"));
    ExitCode::FAILURE
}

/// What runs first where the user named nothing.
pub fn no_init() {}

/// The serve function's first argument: what it wants, and how it is made.
#[derive(Debug)]
pub struct First<L> {
    demand: Demand,
    make: fn(Vec<Listener>) -> io::Result<L>,
}

/// Names the type of that argument, so that what is wrong with it is reported there.
pub fn listener<L: FromListeners<Style>, Style>() -> First<L> {
    First { demand: L::DEMAND, make: L::from_listeners }
}

/// Wraps the call of a plain serve function.
pub fn call<L: 'static, R: Termination>(
    first: First<L>,
    serve: impl FnOnce(&ServeContext<Blocking>, L) -> R + 'static,
) -> ServeFn {
    ServeFn::blocking(TlsForm::Plain, first.demand, move |context| {
        serve(context, context.listeners(first.make))
    })
}

/// Wraps the call of an `async` serve function.
#[cfg(feature = "tokio")]
pub fn call_async<L: 'static, F>(
    first: First<L>,
    serve: impl FnOnce(&ServeContext<Async>, L) -> F + 'static,
) -> ServeFn
where
    F: Future<Output: Termination>,
{
    ServeFn::on_runtime(TlsForm::Plain, first.demand, move |context| {
        serve(context, context.listeners(first.make))
    })
}

/// An argument of the serve function that is neither listener nor TLS.
pub fn argument<T: FromChild, Kind>(context: &ServeContext<Kind>) -> T {
    context.argument()
}

/// Whether such an argument cannot be made without a certificate.
pub fn needs_tls<T: FromChild>() -> bool {
    T::NEEDS_TLS
}

/// The certificate's path.
pub fn cert_file<Kind>(context: &ServeContext<Kind>) -> &'static Path {
    context.cert_file()
}

/// The key's path.
pub fn key_file<Kind>(context: &ServeContext<Kind>) -> &'static Path {
    context.key_file()
}

/// The embedded certificate.
pub fn cert_pem<Kind>(context: &ServeContext<Kind>) -> &'static [u8] {
    context.cert_pem()
}

/// The embedded key.
pub fn key_pem<Kind>(context: &ServeContext<Kind>) -> &'static [u8] {
    context.key_pem()
}
