//! What `#[prefork::main]` expands to. Not part of the public API: it changes with the macro, in any
//! release.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::Path;
#[cfg(feature = "tokio")]
use std::pin::Pin;
pub use std::process::ExitCode;
use std::process::Termination;
pub use std::time::Duration;

use crate::builder::{End, Prefork, status_of_failure};
use crate::child::{self, StartError, reporting_panics};
use crate::error::{BoxError, chain};
use crate::hooks::HookResult;
use crate::listen::Listener;
use crate::logging::{self, Logger};
pub use crate::preload::Load;
#[cfg(feature = "tokio")]
use crate::serve::Argument;
use crate::serve::{Demand, FromChild, FromListeners, Needs, ServeContext, ServeFn, TlsForm};

/// The whole of a generated `main`. A child takes its handshake first, so that no user code runs in a
/// process that does not know its role.
pub fn main<I: HookResult>(init: impl FnOnce() -> I, configure: impl FnOnce() -> Prefork) -> ExitCode {
    if let Err(error) = child::adopt_early() {
        return fail(&chain(&error));
    }
    let logger = Logger::default();
    if let Err(error) = reporting_panics_of_child(&logger, init).into_result() {
        let error = StartError::Init(error);
        return if child::is_child() {
            child::report_start_error(&error, &logger)
        } else {
            fail(&chain(&error))
        };
    }
    match reporting_panics_of_child(&logger, configure).with_attribute_values().run_to_end() {
        Ok(End::Process(code)) => code,
        Ok(End::Fleet) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(&error)),
    }
}

/// What a child says of its panic reaches its master.
fn reporting_panics_of_child<T>(logger: &Logger, call: impl FnOnce() -> T) -> T {
    if child::is_child() { reporting_panics(logger, call) } else { call() }
}

fn fail(error: &dyn fmt::Display) -> ExitCode {
    logging::report_end(format_args!("{error}"));
    status_of_failure()
}

/// The `init` of a program that names none.
pub fn no_init() {}

/// The serve function's first argument: which listeners it takes, and how it is made from them.
#[derive(Debug)]
pub struct First<L> {
    demand: Demand,
    make: fn(Vec<Listener>) -> io::Result<L>,
}

/// Names the type of that argument, so that the compiler reports an error of the type there.
pub fn listener<L: FromListeners<Style>, Style>() -> First<L> {
    First { demand: L::DEMAND, make: L::from_listeners }
}

/// Wraps a plain serve function: `prepare` makes its arguments and returns its call.
pub fn call<L: 'static, S, R: Termination + 'static>(
    first: First<L>,
    prepare: impl FnOnce(&ServeContext, L) -> Result<S, StartError> + 'static,
) -> ServeFn
where
    S: FnOnce() -> R,
{
    ServeFn::blocking(TlsForm::Plain, first.demand, move |context| {
        prepare(context, context.listeners(first.make)?)
    })
}

/// Wraps an `async` serve function: `prepare` makes its arguments and returns its call.
#[cfg(feature = "tokio")]
pub fn call_async<L: 'static, S, F>(
    first: First<L>,
    prepare: impl AsyncFnOnce(&ServeContext, L) -> Result<S, StartError> + 'static,
) -> ServeFn
where
    S: FnOnce() -> F,
    F: Future<Output: Termination + 'static>,
{
    ServeFn::on_runtime(TlsForm::Plain, first.demand, async move |context| {
        prepare(context, context.listeners(first.make)?).await
    })
}

/// A further argument of a plain serve function.
pub fn argument<T: FromChild>(context: &ServeContext) -> Result<T, StartError> {
    context.argument()
}

/// An argument that is being made.
#[cfg(feature = "tokio")]
pub type Making<'a, T> = Pin<Box<dyn Future<Output = Result<T, StartError>> + 'a>>;

/// A further argument of an `async` serve function. In a box, because the compiler reports a type that
/// is no argument a second time where it awaits an opaque future.
#[cfg(feature = "tokio")]
pub fn async_argument<'a, T: Argument<How> + 'a, How: 'a>(context: &'a ServeContext) -> Making<'a, T> {
    Box::pin(context.async_argument())
}

/// What a further argument of a plain serve function needs of the options.
pub fn needs<T: FromChild>() -> Needs {
    Needs::of::<T>()
}

/// What a further argument of an `async` serve function needs of the options.
#[cfg(feature = "tokio")]
pub fn async_needs<T: Argument<How>, How>() -> Needs {
    T::NEEDS
}

/// The certificate's path.
pub fn cert_file(context: &ServeContext) -> Result<&'static Path, StartError> {
    context.cert_file()
}

/// The key's path.
pub fn key_file(context: &ServeContext) -> Result<&'static Path, StartError> {
    context.key_file()
}

/// The embedded certificate.
pub fn cert_pem(context: &ServeContext) -> Result<&'static [u8], StartError> {
    context.cert_pem()
}

/// The embedded key.
pub fn key_pem(context: &ServeContext) -> Result<&'static [u8], StartError> {
    context.key_pem()
}

/// Notes the error in what a serve function has returned. Its type is known where the macro is used: of these traits,
/// the method of the first is called that fits. A trait fits with one reference fewer than the one before it.
#[doc(hidden)]
#[macro_export]
macro_rules! __note_error {
    ($returned:ident) => {{
        use $crate::__private::returned::*;
        (&&&&Returned::new(&$returned)).note_error();
    }};
}

pub use crate::__note_error as note_error;

/// See [`note_error`].
pub mod returned {
    use std::error::Error;
    use std::fmt::{Debug, Display};

    use crate::error::chain;
    use crate::serve::note_returned_error;

    /// What a serve function has returned.
    #[derive(Debug)]
    pub struct Returned<'a, R>(&'a R);

    impl<'a, R> Returned<'a, R> {
        pub fn new(returned: &'a R) -> Self {
            Self(returned)
        }
    }

    /// An error with its sources.
    pub trait NoteError {
        fn note_error(&self);
    }

    impl<T, E: Error + 'static> NoteError for &&&Returned<'_, Result<T, E>> {
        fn note_error(&self) {
            if let Err(error) = self.0 {
                note_returned_error(chain(error).to_string());
            }
        }
    }

    /// What has a text for people, such as an `anyhow::Error`, which has its sources in the alternate form.
    pub trait NoteText {
        fn note_error(&self);
    }

    impl<T, E: Display> NoteText for &&Returned<'_, Result<T, E>> {
        fn note_error(&self) {
            if let Err(error) = self.0 {
                note_returned_error(format!("{error:#}"));
            }
        }
    }

    /// What has a text for programmers only.
    pub trait NoteDebug {
        fn note_error(&self);
    }

    impl<T, E: Debug> NoteDebug for &Returned<'_, Result<T, E>> {
        fn note_error(&self) {
            if let Err(error) = self.0 {
                note_returned_error(format!("{error:?}"));
            }
        }
    }

    /// What has no error.
    pub trait NoteNothing {
        fn note_error(&self);
    }

    impl<R> NoteNothing for Returned<'_, R> {
        fn note_error(&self) {}
    }
}

/// Names the type of what `prepare` returns.
pub fn prepared<S>(serve: S) -> Result<S, StartError> {
    Ok(serve)
}

/// A function that loads what [`Preloaded`](crate::Preloaded) gives, and that returns a value or a `Result`. The
/// compiler finds the method of the trait that fits: a reference to a reference is tried first.
pub struct Loader<F>(Cell<Option<F>>);

impl<F> fmt::Debug for Loader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

/// Names a function that loads.
pub fn loader<F: FnOnce() -> R, R>(load: F) -> Loader<F> {
    Loader(Cell::new(Some(load)))
}

impl<F> Loader<F> {
    fn take(&self) -> F {
        #[expect(clippy::expect_used, reason = "generated code loads once")]
        self.0.take().expect("a function that was not taken")
    }
}

/// A function that returns a `Result`. What its error has to be is required by the method: if it were required by the
/// implementation, a function with another error would be one that returns any value.
pub trait LoadsResult {
    type Error;

    /// The function in a box.
    fn load(self) -> Load
    where
        Self::Error: Into<BoxError>;
}

impl<F, T: 'static, E> LoadsResult for &&Loader<F>
where
    F: FnOnce() -> Result<T, E> + 'static,
{
    type Error = E;

    fn load(self) -> Load
    where
        E: Into<BoxError>,
    {
        let load = self.take();
        Load::new(|| load().map_err(Into::into))
    }
}

/// A function that returns any other value.
pub trait LoadsValue {
    /// The function in a box.
    fn load(self) -> Load;
}

impl<F, T: 'static> LoadsValue for &Loader<F>
where
    F: FnOnce() -> T + 'static,
{
    fn load(self) -> Load {
        let load = self.take();
        Load::new(|| Ok(load()))
    }
}
