//! What `#[prefork::main]` expands to. Not for you: it changes with the macro, in any release.

use std::path::Path;
pub use std::process::ExitCode;
use std::process::Termination;
pub use std::time::Duration;

use crate::child::{self, FromChild};
use crate::hooks::HookResult;
use crate::logging;
use crate::prefork::Prefork;
#[cfg(feature = "tokio")]
use crate::serve::Async;
use crate::serve::{Blocking, FromListeners, Seat, ServeFn, TlsForm};

/// The whole of a generated `main`. A child takes its handoff first, so that no code of the user's
/// ever runs in a process that does not know its role.
pub fn main<I: HookResult>(init: impl FnOnce() -> I, configure: impl FnOnce() -> Prefork) -> ExitCode {
    if let Err(error) = child::adopt_early() {
        return fail(&error);
    }
    if let Err(error) = init().into_result() {
        return fail(&format_args!("init failed: {error}"));
    }
    match configure().run_to_end() {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    logging::to_stderr(format_args!("prefork: error: {error}"));
    ExitCode::FAILURE
}

/// What runs first where the user named nothing.
pub fn no_init() {}

/// Wraps the call of a plain serve function, whose first argument is an `L`.
pub fn call<L: FromListeners<Blocking>, R: Termination>(
    serve: impl FnOnce(&Seat<Blocking>, L) -> R + 'static,
) -> ServeFn {
    ServeFn::blocking(TlsForm::Plain, L::DEMAND, |seat| serve(seat, seat.listeners()))
}

/// Wraps the call of an `async` serve function, whose first argument is an `L`.
#[cfg(feature = "tokio")]
pub fn call_async<L: FromListeners<Async>, F>(serve: impl FnOnce(&Seat<Async>, L) -> F + 'static) -> ServeFn
where
    F: Future<Output: Termination>,
{
    ServeFn::on_runtime(TlsForm::Plain, L::DEMAND, |seat| serve(seat, seat.listeners()))
}

/// An argument of the serve function that is neither listener nor TLS.
pub fn argument<T: FromChild, Kind>(seat: &Seat<Kind>) -> T {
    seat.argument()
}

/// The certificate's path.
pub fn cert_file<Kind>(seat: &Seat<Kind>) -> &'static Path {
    seat.cert_file()
}

/// The key's path.
pub fn key_file<Kind>(seat: &Seat<Kind>) -> &'static Path {
    seat.key_file()
}

/// The embedded certificate.
pub fn cert_pem<Kind>(seat: &Seat<Kind>) -> &'static [u8] {
    seat.cert_pem()
}

/// The embedded key.
pub fn key_pem<Kind>(seat: &Seat<Kind>) -> &'static [u8] {
    seat.key_pem()
}
