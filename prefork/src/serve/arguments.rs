//! The serve function's further arguments: made in each child, before it is ready.

use std::convert::Infallible;
#[cfg(feature = "tokio")]
use std::future::Future;
#[cfg(feature = "rustls")]
use std::sync::Arc;

use crate::child::{ChildContext, Leadership, Shutdown, StartError};
use crate::error::BoxError;
#[cfg(feature = "rustls")]
use crate::error::Error;
use crate::preload::LoadedType;

/// An argument of a serve function, after the listener and the certificate.
///
/// [`Shutdown`], [`ChildContext`] and [`Leadership`] are such arguments; with the feature `rustls`
/// `Arc<rustls::ServerConfig>`, and with `tokio-rustls` `tokio_rustls::TlsAcceptor`. Implement this trait
/// for a type of your own to have it made in each child, before the child is ready.
///
/// An error ends the child before it is ready, with its message in the log: `child 3 (pid 4711) cannot
/// start: cannot make the argument `app::Shard`: no such file`. At the first start of a fleet that
/// stops the fleet; during a reload the old children stay.
///
/// ```no_run
/// use std::fs::File;
/// use std::net::TcpListener;
///
/// /// The part of the data that this child serves.
/// struct Shard(File);
///
/// impl prefork::FromChild for Shard {
///     type Error = std::io::Error;
///
///     fn from_child(child: &prefork::ChildContext) -> Result<Self, Self::Error> {
///         Ok(Self(File::open(format!("shard-{}.db", child.slot()))?))
///     }
/// }
///
/// #[prefork::main]
/// fn serve(ln: TcpListener, shard: Shard) -> std::io::Result<()> {
///     # let _ = (ln, shard.0);
///     // …
///     Ok(())
/// }
/// # fn example() { main(); }
/// ```
///
/// An argument that has to be awaited, such as a database pool, implements `AsyncFromChild` (feature
/// `tokio`).
#[diagnostic::on_unimplemented(
    message = "a serve function cannot take `{Self}` here",
    label = "does not implement `prefork::FromChild`",
    note = "a serve function takes its listener first, then the certificate and the key if the options \
            name them, then `prefork::Shutdown`, `prefork::ChildContext`, with the feature `rustls` an \
            `Arc<prefork::rustls::ServerConfig>`, and types that implement `prefork::FromChild`, in any \
            order",
    note = "arguments that implement `prefork::AsyncFromChild` are for an `async fn`"
)]
pub trait FromChild: Sized {
    /// Why the argument cannot be made; [`Infallible`] if it always can.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;

    /// Whether the argument needs a certificate. If so, the master refuses options that name none
    /// before it starts a child.
    const NEEDS_TLS: bool = false;

    /// What the option `preload` has to give, if the argument is that. The master refuses another `preload` before it
    /// starts a child.
    #[doc(hidden)]
    const PRELOADED: Option<fn() -> LoadedType> = None;

    /// Makes the argument, in the child.
    ///
    /// # Errors
    ///
    /// An error ends the child before it is ready.
    fn from_child(child: &ChildContext) -> Result<Self, Self::Error>;
}

/// What an argument needs of the options. Known before anything is started.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    pub(super) tls: bool,
    pub(super) preloaded: Option<fn() -> LoadedType>,
}

impl Needs {
    pub(crate) const fn of<T: FromChild>() -> Self {
        Self { tls: T::NEEDS_TLS, preloaded: T::PRELOADED }
    }
}

impl FromChild for ChildContext {
    type Error = Infallible;

    fn from_child(child: &ChildContext) -> Result<Self, Infallible> {
        Ok(child.clone())
    }
}

impl FromChild for Shutdown {
    type Error = Infallible;

    fn from_child(child: &ChildContext) -> Result<Self, Infallible> {
        Ok(child.shutdown())
    }
}

impl FromChild for Leadership {
    type Error = Infallible;

    fn from_child(child: &ChildContext) -> Result<Self, Infallible> {
        Ok(child.leadership())
    }
}

/// The options' certificate and key, checked; ALPN for `h2` and `http/1.1` unless the option `alpn` names
/// others; TLS 1.2 and 1.3; session tickets that every child of the fleet can open; and with the option
/// `client_ca` a check of the clients' certificates.
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
impl FromChild for Arc<rustls::ServerConfig> {
    /// [`Error::BadOption`] if the options name no certificate. The master refuses such options before it
    /// starts a child. A type of your own that needs the configuration sets `NEEDS_TLS`.
    type Error = Error;

    const NEEDS_TLS: bool = true;

    fn from_child(child: &ChildContext) -> Result<Self, Error> {
        child.tls_config().ok_or_else(|| Error::BadOption {
            option: "cert".to_owned(),
            value: String::new(),
            expected: "a certificate, which an argument of the serve function needs".to_owned(),
            set_by: None,
        })
    }
}

/// An acceptor with the same configuration.
#[cfg(feature = "tokio-rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-rustls")))]
impl FromChild for tokio_rustls::TlsAcceptor {
    type Error = Error;

    const NEEDS_TLS: bool = true;

    fn from_child(child: &ChildContext) -> Result<Self, Error> {
        Ok(Arc::<rustls::ServerConfig>::from_child(child)?.into())
    }
}

/// An argument of an `async` serve function that has to be awaited: [`FromChild`] for what needs the
/// runtime.
///
/// The future runs on the child's runtime, before the child is ready. An error ends the child then,
/// as described at [`FromChild`]. A future that takes longer than the option `start_timeout` is a child
/// that did not become ready. A type implements one of the two traits; an `async` serve function takes
/// arguments of both.
///
/// ```no_run
/// # mod sqlx {
/// #     #[derive(Clone)]
/// #     pub struct PgPool;
/// #     impl PgPool {
/// #         pub async fn connect(_: &str) -> Result<Self, std::io::Error> { Ok(Self) }
/// #     }
/// #     pub type Error = std::io::Error;
/// # }
/// /// Each child has connections of its own.
/// struct Database(sqlx::PgPool);
///
/// impl prefork::AsyncFromChild for Database {
///     type Error = sqlx::Error;
///
///     async fn from_child(_: &prefork::ChildContext) -> Result<Self, Self::Error> {
///         Ok(Self(sqlx::PgPool::connect("postgres://localhost/app").await?))
///     }
/// }
///
/// #[prefork::main]
/// async fn serve(ln: tokio::net::TcpListener, database: Database) -> std::io::Result<()> {
///     # let _ = database.0.clone();
///     loop {
///         let (stream, _) = ln.accept().await?;
///         # drop(stream);
///         // …
///     }
/// }
/// # fn example() { main(); }
/// ```
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub trait AsyncFromChild: Sized {
    /// Why the argument cannot be made.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;

    /// As [`FromChild::NEEDS_TLS`].
    const NEEDS_TLS: bool = false;

    /// Makes the argument, in the child.
    ///
    /// # Errors
    ///
    /// An error ends the child before it is ready.
    fn from_child(child: &ChildContext) -> impl Future<Output = Result<Self, Self::Error>>;
}

/// An argument of an `async` serve function: [`FromChild`] or [`AsyncFromChild`]; `How` says which, and
/// is inferred. Sealed: an implementation elsewhere can name neither.
#[cfg(feature = "tokio")]
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a serve function cannot take `{Self}` here",
    label = "implements neither `prefork::FromChild` nor `prefork::AsyncFromChild`",
    note = "a serve function takes its listener first, then the certificate and the key if the options \
            name them, then `prefork::Shutdown`, `prefork::ChildContext`, with the feature `tokio-rustls` a \
            `prefork::tokio_rustls::TlsAcceptor`, and types that implement `prefork::FromChild` or \
            `prefork::AsyncFromChild`, in any order"
)]
pub trait Argument<How>: Sized + sealed::Argument<How> {
    const NEEDS: Needs;

    fn make(child: &ChildContext) -> impl Future<Output = Result<Self, StartError>>;
}

/// An [`Argument`] by [`FromChild`].
#[cfg(feature = "tokio")]
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Made {}

/// An [`Argument`] by [`AsyncFromChild`].
#[cfg(feature = "tokio")]
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Awaited {}

#[cfg(feature = "tokio")]
impl<T: FromChild> Argument<Made> for T {
    const NEEDS: Needs = Needs::of::<T>();

    async fn make(child: &ChildContext) -> Result<Self, StartError> {
        make(child)
    }
}

#[cfg(feature = "tokio")]
impl<T: AsyncFromChild> Argument<Awaited> for T {
    const NEEDS: Needs = Needs { tls: T::NEEDS_TLS, preloaded: None };

    async fn make(child: &ChildContext) -> Result<Self, StartError> {
        T::from_child(child).await.map_err(failed::<T>)
    }
}

#[cfg(feature = "tokio")]
mod sealed {
    pub trait Argument<How> {}
    impl<T: super::FromChild> Argument<super::Made> for T {}
    impl<T: super::AsyncFromChild> Argument<super::Awaited> for T {}
}

/// Makes an argument by [`FromChild`].
pub(super) fn make<T: FromChild>(child: &ChildContext) -> Result<T, StartError> {
    T::from_child(child).map_err(failed::<T>)
}

fn failed<T>(error: impl Into<BoxError>) -> StartError {
    StartError::Argument { argument: std::any::type_name::<T>(), source: error.into() }
}
