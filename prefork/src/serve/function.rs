//! A boxed serve function of any shape.

use std::fmt;
use std::process::{ExitCode, Termination};

#[cfg(feature = "tokio")]
use super::runtime;
use super::{Demand, Needs, ServeContext};
use crate::child::StartError;
use crate::preload::{Load, LoadedType};

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
    /// What that function loads, also after it was called.
    pub(crate) loads: Option<LoadedType>,
    /// What its arguments `Preloaded` give.
    pub(crate) preloaded: Vec<LoadedType>,
}

impl fmt::Debug for ServeFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFn").field("form", &self.form).finish_non_exhaustive()
    }
}

impl ServeFn {
    fn new(call: Call, form: TlsForm, demand: Demand, blocking: bool) -> Self {
        let preloaded = Vec::new();
        Self { call, form, demand, needs_tls: false, blocking, load: None, loads: None, preloaded }
    }

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
        Self::new(Box::new(call), form, demand, true)
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
        Self::new(Box::new(call), form, demand, false)
    }

    /// Records what the further arguments need.
    #[doc(hidden)]
    #[must_use]
    pub fn needing(self, arguments: &[Needs]) -> Self {
        let needs_tls = arguments.iter().any(|argument| argument.tls);
        let preloaded = arguments.iter().filter_map(|argument| argument.preloaded).map(|get| get()).collect();
        Self { needs_tls, preloaded, ..self }
    }

    pub(crate) fn set_load(&mut self, load: Load) {
        self.loads = Some(load.loads());
        self.load = Some(load);
    }

    pub(crate) fn take_load(&mut self) -> Option<Load> {
        self.load.take()
    }

    /// What an argument takes that the program does not load.
    pub(crate) fn not_loaded(&self) -> Option<LoadedType> {
        self.preloaded.iter().copied().find(|wanted| self.loads != Some(*wanted))
    }

    /// Whether it is a plain function, which accepts in threads.
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking
    }

    pub(super) fn call(self, context: &ServeContext) -> Result<ExitCode, StartError> {
        (self.call)(context)
    }
}
