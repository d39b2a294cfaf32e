//! A boxed serve function of any shape.

use std::fmt;
use std::process::{ExitCode, Termination};

#[cfg(feature = "tokio")]
use super::runtime;
use super::{Demand, ServeContext};
use crate::child::StartError;
use crate::preload::Load;

/// Which TLS arguments a serve function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsForm {
    /// No certificate and key of its own.
    Plain,
    /// `cert_file: &Path, key_file: &Path`.
    Files,
    /// `cert: &[u8], key: &[u8]`.
    Embedded,
}

/// Makes the arguments, calls the function and returns its status.
type Call = Box<dyn FnOnce(&ServeContext) -> Result<ExitCode, StartError>>;

/// A serve function of any shape, ready to be called.
pub struct ServeFn {
    call: Call,
    pub(crate) form: TlsForm,
    /// Which listeners it takes.
    pub(crate) demand: Demand,
    /// Whether one of its further arguments needs certificate and key.
    pub(crate) needs_tls: bool,
    blocking: bool,
    /// Loads what its argument `Preloaded` gives, if the program has such a function.
    load: Option<Load>,
}

impl fmt::Debug for ServeFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFn").field("form", &self.form).finish_non_exhaustive()
    }
}

impl ServeFn {
    /// Boxes a plain function. `prepare` makes the arguments and returns the call.
    pub(crate) fn blocking<S, R>(
        form: TlsForm,
        demand: Demand,
        prepare: impl FnOnce(&ServeContext) -> Result<S, StartError> + 'static,
    ) -> Self
    where
        S: FnOnce() -> R,
        R: Termination + 'static,
    {
        let call = |context: &ServeContext| {
            let serve = prepare(context)?;
            context.announce_ready();
            Ok(context.status_of(serve()))
        };
        Self { call: Box::new(call), form, demand, needs_tls: false, blocking: true, load: None }
    }

    /// Boxes an `async` function. `prepare` makes its arguments, on the child's runtime, and returns its
    /// call.
    #[cfg(feature = "tokio")]
    pub(crate) fn on_runtime<S, F>(
        form: TlsForm,
        demand: Demand,
        prepare: impl AsyncFnOnce(&ServeContext) -> Result<S, StartError> + 'static,
    ) -> Self
    where
        S: FnOnce() -> F,
        F: Future<Output: Termination + 'static>,
    {
        let call = |context: &ServeContext| runtime::run(context, prepare);
        Self { call: Box::new(call), form, demand, needs_tls: false, blocking: false, load: None }
    }

    /// Records whether one of the further arguments needs certificate and key.
    #[doc(hidden)]
    #[must_use]
    pub fn needing_tls(self, arguments: &[bool]) -> Self {
        Self { needs_tls: arguments.contains(&true), ..self }
    }

    pub(crate) fn set_load(&mut self, load: Load) {
        self.load = Some(load);
    }

    pub(crate) fn take_load(&mut self) -> Option<Load> {
        self.load.take()
    }

    pub(crate) fn has_load(&self) -> bool {
        self.load.is_some()
    }

    /// Whether it is a plain function, which accepts in threads.
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking
    }

    pub(super) fn call(self, context: &ServeContext) -> Result<ExitCode, StartError> {
        (self.call)(context)
    }
}
