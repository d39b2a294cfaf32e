//! The shapes that a serve function can have.

#[cfg(feature = "tokio")]
use std::future::Future;
use std::path::Path;
use std::process::Termination;

#[cfg(feature = "tokio")]
use super::Async;
#[cfg(feature = "tokio")]
use super::arguments::Argument;
use super::arguments::{FromChild, Needs};
use super::listeners::FromListeners;
use super::{Blocking, ServeFn, TlsForm};

/// A serve function, as [`Prefork::new`](crate::Prefork::new) takes it.
///
/// It is a plain or (feature `tokio`) an `async` function or closure. Its arguments are the listeners
/// ([`FromListeners`]); then, for TLS, either `&Path, &Path` or `&[u8], &[u8]`, certificate first; then up
/// to four that implement [`FromChild`] or, in an `async` function, `AsyncFromChild`. It returns what
/// `fn main` may return.
///
/// `Args` stands for the shape and is always inferred. The trait is sealed: its method returns a type
/// that has no public name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a serve function",
    label = "not a serve function",
    note = "a serve function takes a listener (`std::net::TcpListener`, or `tokio::net::TcpListener` in an \
            `async fn` with the feature `tokio`), then `&Path, &Path` or `&[u8], &[u8]` for TLS, then \
            `prefork::Shutdown` and `prefork::ChildContext` as it likes, and returns what `fn main` may return"
)]
pub trait Serve<Args> {
    /// The boxed function.
    #[doc(hidden)]
    fn into_serve_fn(self) -> ServeFn;
}

impl Serve<ServeFn> for ServeFn {
    fn into_serve_fn(self) -> ServeFn {
        self
    }
}

/// Implements [`Serve`] for one form of TLS arguments and one number of further arguments. The tuple in
/// each impl's `Args` keeps the impls apart.
macro_rules! serve_shape {
    ($form:ident, [$($tls:ident: $tls_type:ty),*], [$($extra:ident $how:ident),*]) => {
        #[allow(non_snake_case, reason = "an argument has the name of its type")]
        impl<F, R, L, $($extra),*> Serve<(Blocking, L, $($tls_type,)* $($extra,)* R)> for F
        where
            F: FnOnce(L, $($tls_type,)* $($extra),*) -> R + 'static,
            L: FromListeners<Blocking>,
            R: Termination + 'static,
            $($extra: FromChild,)*
        {
            fn into_serve_fn(self) -> ServeFn {
                ServeFn::blocking(TlsForm::$form, L::DEMAND, |context| {
                    let listeners = context.listeners(L::from_listeners)?;
                    $(let $tls = context.$tls()?;)*
                    $(let $extra = context.argument::<$extra>()?;)*
                    Ok(move || self(listeners, $($tls,)* $($extra),*))
                })
                .needing(&[$(Needs::of::<$extra>()),*])
            }
        }

        #[cfg(feature = "tokio")]
        #[allow(non_snake_case, reason = "an argument has the name of its type")]
        impl<F, R, L, $($extra, $how),*> Serve<(Async, L, $($tls_type,)* $(($extra, $how),)* R)> for F
        where
            F: FnOnce(L, $($tls_type,)* $($extra),*) -> R + 'static,
            L: FromListeners<Async>,
            R: Future<Output: Termination + 'static>,
            $($extra: Argument<$how>,)*
        {
            fn into_serve_fn(self) -> ServeFn {
                ServeFn::on_runtime(TlsForm::$form, L::DEMAND, async move |context| {
                    let listeners = context.listeners(L::from_listeners)?;
                    $(let $tls = context.$tls()?;)*
                    $(let $extra = context.async_argument::<$extra, $how>().await?;)*
                    Ok(move || self(listeners, $($tls,)* $($extra),*))
                })
                .needing(&[$($extra::NEEDS),*])
            }
        }
    };
}

macro_rules! serve_shapes {
    ($([$($extra:ident $how:ident),*])*) => {$(
        serve_shape!(Plain, [], [$($extra $how),*]);
        serve_shape!(Files, [cert_file: &'static Path, key_file: &'static Path], [$($extra $how),*]);
        serve_shape!(Embedded, [cert_pem: &'static [u8], key_pem: &'static [u8]], [$($extra $how),*]);
    )*};
}

serve_shapes! { [] [A HowA] [A HowA, B HowB] [A HowA, B HowB, C HowC] [A HowA, B HowB, C HowC, D HowD] }
