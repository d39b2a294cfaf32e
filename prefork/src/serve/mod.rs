//! The serve function: which shapes it can have, and how a child calls it.

mod listeners;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::Socket;

pub(crate) use listeners::Demand;
pub use listeners::{FromListener, FromListeners};

use crate::child::{Ending, FromChild, Limits};
use crate::listen::Listener;
use crate::logging::Logger;
use crate::tls::{self, PemSource};

/// Names the kind of serve function in types and messages: a plain `fn`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Blocking {}

/// Names the kind of serve function in types and messages: an `async fn`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Async {}

#[cfg(feature = "tokio")]
pub use prefork_options::Runtime;

/// What a child needs to know of the options.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServeOptions {
    pub(crate) tls: tls::TlsOptions,
    /// Whether the server itself says when it is ready.
    pub(crate) manual_ready: bool,
    pub(crate) limits: Limits,
    #[cfg(feature = "tokio")]
    pub(crate) runtime: Runtime,
}

/// What the serve function's arguments are made from.
pub struct ServeContext<Kind> {
    listeners: Mutex<Vec<Socket>>,
    options: &'static ServeOptions,
    ending: Arc<Ending>,
    logger: Logger,
    kind: PhantomData<fn() -> Kind>,
}

impl<Kind> fmt::Debug for ServeContext<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeContext").field("context", &self.ending.context).finish_non_exhaustive()
    }
}

impl ServeContext<()> {
    pub(crate) fn new(
        listeners: Vec<Socket>,
        options: ServeOptions,
        ending: Arc<Ending>,
        logger: Logger,
    ) -> Self {
        Self {
            listeners: Mutex::new(listeners),
            // A child serves once and for its whole life: what it lends to the user is never freed.
            options: Box::leak(Box::new(options)),
            ending,
            logger,
            kind: PhantomData,
        }
    }

    fn of<Kind>(self) -> ServeContext<Kind> {
        let Self { listeners, options, ending, logger, kind: _ } = self;
        ServeContext { listeners, options, ending, logger, kind: PhantomData }
    }
}

impl<Kind> ServeContext<Kind> {
    /// Says that the serve function is about to be called, unless the server says so itself.
    fn announce_ready(&self) {
        if !self.options.manual_ready {
            self.ending.context.ready();
        }
    }

    pub(crate) fn listeners<L>(&self, make: impl FnOnce(Vec<Listener>) -> io::Result<L>) -> L {
        let sockets = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let listeners = sockets.into_iter().map(Listener::from_socket).collect::<io::Result<_>>();
        match listeners.and_then(make) {
            Ok(made) => made,
            Err(error) => self.give_up(format_args!("its listeners cannot be used: {error}")),
        }
    }

    pub(crate) fn argument<T: FromChild>(&self) -> T {
        T::from_child(&self.ending.context)
    }

    pub(crate) fn cert_file(&self) -> &'static Path {
        self.file(self.options.tls.cert.as_ref())
    }

    pub(crate) fn key_file(&self) -> &'static Path {
        self.file(self.options.tls.key.as_ref())
    }

    pub(crate) fn cert_pem(&self) -> &'static [u8] {
        self.embedded(self.options.tls.cert.as_ref())
    }

    pub(crate) fn key_pem(&self) -> &'static [u8] {
        self.embedded(self.options.tls.key.as_ref())
    }

    fn file(&self, origin: Option<&'static PemSource>) -> &'static Path {
        match origin {
            Some(PemSource::File(path)) => path,
            Some(PemSource::Embedded(_)) | None => self.lacks_tls("certificate and key files"),
        }
    }

    fn embedded(&self, origin: Option<&'static PemSource>) -> &'static [u8] {
        match origin {
            Some(PemSource::Embedded(pem)) => pem,
            Some(PemSource::File(_)) | None => self.lacks_tls("an embedded certificate and key"),
        }
    }

    /// The master has compared the function with the options before it started this child.
    fn lacks_tls(&self, what: &str) -> ! {
        self.give_up(format_args!("the serve function takes {what}, and the options name none"))
    }

    fn give_up(&self, why: fmt::Arguments<'_>) -> ! {
        let slot = self.ending.context.slot();
        self.logger.event("cannot_serve").error(format_args!("child {slot} cannot serve: {why}"));
        std::process::exit(1)
    }
}

/// Which TLS arguments a serve function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsForm {
    /// None that can be seen.
    Plain,
    /// `cert_file: &Path, key_file: &Path`.
    Files,
    /// `cert: &[u8], key: &[u8]`.
    Embedded,
}

/// A serve function of any shape, ready to be called.
pub struct ServeFn {
    call: Box<dyn FnOnce(ServeContext<()>) -> ExitCode>,
    pub(crate) form: TlsForm,
    /// What it takes as listeners.
    pub(crate) demand: Demand,
    /// Whether one of its further arguments is made of certificate and key.
    pub(crate) needs_tls: bool,
    blocking: bool,
}

impl fmt::Debug for ServeFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeFn").field("form", &self.form).finish_non_exhaustive()
    }
}

impl ServeFn {
    pub(crate) fn blocking<R: Termination>(
        form: TlsForm,
        demand: Demand,
        serve: impl FnOnce(&ServeContext<Blocking>) -> R + 'static,
    ) -> Self {
        let call = |context: ServeContext<()>| {
            context.announce_ready();
            serve(&context.of()).report()
        };
        Self { call: Box::new(call), form, demand, needs_tls: false, blocking: true }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn on_runtime<F>(
        form: TlsForm,
        demand: Demand,
        serve: impl FnOnce(&ServeContext<Async>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output: Termination>,
    {
        let call = |context: ServeContext<()>| {
            let context = context.of();
            match build(&context) {
                Ok(runtime) => runtime.block_on(drive(&context, serve)),
                Err(error) => context.give_up(format_args!("no tokio runtime: {error}")),
            }
        };
        Self { call: Box::new(call), form, demand, needs_tls: false, blocking: false }
    }

    /// Notes what each of the further arguments says of that.
    #[doc(hidden)]
    #[must_use]
    pub fn needing_tls(self, arguments: &[bool]) -> Self {
        Self { needs_tls: arguments.contains(&true), ..self }
    }

    /// Whether it is a plain function, which accepts in threads.
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking
    }

    pub(crate) fn call(self, context: ServeContext<()>) -> ExitCode {
        (self.call)(context)
    }
}

#[cfg(feature = "tokio")]
fn build<Kind>(context: &ServeContext<Kind>) -> io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = match context.options.runtime {
        Runtime::MultiThread => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    #[cfg(feature = "tracing")]
    {
        let span = context.ending.context.span();
        // Entered for as long as the thread lives.
        builder.on_thread_start(move || std::mem::forget(span.clone().entered()));
    }
    builder.enable_all().build()
}

#[cfg(feature = "tokio")]
async fn drive<F>(context: &ServeContext<Async>, serve: impl FnOnce(&ServeContext<Async>) -> F) -> ExitCode
where
    F: Future<Output: Termination>,
{
    if let Some(heartbeat) = context.ending.context.watchdog().heartbeat() {
        tokio::spawn(heartbeat);
    }
    let serving = serve(context);
    context.announce_ready();
    let code = serving.await.report();
    // Tasks that the function left behind run on this runtime: drive them to the end of the drain.
    if let Some(drained) = context.ending.drain() {
        drained.await;
    }
    code
}

/// A serve function, as [`Prefork::new`](crate::Prefork::new) takes it.
///
/// `Args` stands for the shape and is always inferred. The shapes are: a plain or (feature `tokio`)
/// an `async` function or closure, whose arguments are the listeners ([`FromListeners`]); then, for TLS, either
/// `&Path, &Path` or `&[u8], &[u8]`, certificate first; then up to four that are [`FromChild`]. It
/// returns whatever `fn main` may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a serve function",
    label = "not a serve function",
    note = "a serve function takes a listener (`std::net::TcpListener`, or `tokio::net::TcpListener` in an \
            `async fn` with the feature `tokio`), then `&Path, &Path` or `&[u8], &[u8]` for TLS, then \
            `prefork::Shutdown` and `prefork::ChildContext` as it likes, and returns what `fn main` may return"
)]
pub trait Serve<Args> {
    /// The function in a box.
    #[doc(hidden)]
    fn into_serve_fn(self) -> ServeFn;
}

impl Serve<ServeFn> for ServeFn {
    fn into_serve_fn(self) -> ServeFn {
        self
    }
}

/// Implements [`Serve`] for one form of TLS arguments and one number of further arguments. The
/// tuple in each impl's `Args` only keeps the impls apart.
macro_rules! serve_shape {
    ($form:ident, [$($tls:ident: $tls_type:ty),*], [$($extra:ident),*]) => {
        impl<F, R, L, $($extra),*> Serve<(Blocking, L, $($tls_type,)* $($extra,)* R)> for F
        where
            F: FnOnce(L, $($tls_type,)* $($extra),*) -> R + 'static,
            L: FromListeners<Blocking>,
            R: Termination,
            $($extra: FromChild,)*
        {
            fn into_serve_fn(self) -> ServeFn {
                ServeFn::blocking(TlsForm::$form, L::DEMAND, |context| {
                    self(context.listeners(L::from_listeners), $(context.$tls(),)* $(context.argument::<$extra>()),*)
                })
                .needing_tls(&[$($extra::NEEDS_TLS),*])
            }
        }

        #[cfg(feature = "tokio")]
        impl<F, R, L, $($extra),*> Serve<(Async, L, $($tls_type,)* $($extra,)* R)> for F
        where
            F: FnOnce(L, $($tls_type,)* $($extra),*) -> R + 'static,
            L: FromListeners<Async>,
            R: Future<Output: Termination>,
            $($extra: FromChild,)*
        {
            fn into_serve_fn(self) -> ServeFn {
                ServeFn::on_runtime(TlsForm::$form, L::DEMAND, |context| {
                    self(context.listeners(L::from_listeners), $(context.$tls(),)* $(context.argument::<$extra>()),*)
                })
                .needing_tls(&[$($extra::NEEDS_TLS),*])
            }
        }
    };
}

macro_rules! serve_shapes {
    ($([$($extra:ident),*])*) => {$(
        serve_shape!(Plain, [], [$($extra),*]);
        serve_shape!(Files, [cert_file: &'static Path, key_file: &'static Path], [$($extra),*]);
        serve_shape!(Embedded, [cert_pem: &'static [u8], key_pem: &'static [u8]], [$($extra),*]);
    )*};
}

serve_shapes! { [] [A] [A, B] [A, B, C] [A, B, C, D] }
