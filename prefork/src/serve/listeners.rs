//! The serve function's first argument: its listeners.

use std::io;
use std::net::TcpListener;

use super::{Async, Blocking};
use crate::listen::{Listener, Network};
#[cfg(feature = "tokio")]
use crate::sys::TokioUnixListener;
use crate::sys::UnixListener;

/// Which listeners a serve function takes. Known before anything is started.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// One for each address, of these kinds.
    Each(&'static [ListenerKind]),
    /// Any number, of any kind.
    Any,
}

/// The kind of a listener.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    Tcp,
    Unix,
    Either,
}

impl ListenerKind {
    /// Whether an address on `network` gives such a listener.
    pub(crate) fn fits(self, network: Network) -> bool {
        match self {
            Self::Tcp => network != Network::Unix,
            Self::Unix => network == Network::Unix,
            Self::Either => true,
        }
    }

    /// The address that goes with such a listener, and why, for a message.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Tcp => "`host:port`, because the serve function takes a `TcpListener` there",
            Self::Unix => "`unix:/path`, because the serve function takes a `UnixListener` there",
            Self::Either => "`host:port` or `unix:/path`",
        }
    }
}

/// The first argument of a serve function: all its listeners. Sealed.
///
/// - With one address it is a listener: [`TcpListener`], `std::os::unix::net::UnixListener`, or
///   [`Listener`](crate::Listener) for either. An `async` function takes tokio's own.
/// - With several addresses it is a tuple of up to four, in their order, or a `Vec<Listener>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the listener of this serve function",
    label = "not the listener that this function needs",
    note = "the first argument is `std::net::TcpListener` (or `UnixListener`); in an `async fn`, with the \
            feature `tokio`, it is `tokio::net::TcpListener`; with several addresses it is a tuple of \
            these, or `Vec<prefork::Listener>`"
)]
pub trait FromListeners<Style>: Sized + sealed::FromListeners<Style> {
    /// Which listeners it is made from.
    #[doc(hidden)]
    const DEMAND: Demand;

    /// Makes it from the listeners that the master handed over.
    #[doc(hidden)]
    fn from_listeners(listeners: Vec<Listener>) -> io::Result<Self>;
}

/// A single listener among the arguments of a serve function; see [`FromListeners`]. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a listener of this serve function",
    label = "neither a `TcpListener` nor a `UnixListener` of the kind that this function needs"
)]
pub trait FromListener<Style>: Sized + sealed::FromListener<Style> {
    /// The kind of the listener.
    #[doc(hidden)]
    const KIND: ListenerKind;

    /// Makes it from a listener that the master handed over.
    #[doc(hidden)]
    fn from_listener(listener: Listener) -> io::Result<Self>;
}

impl FromListener<Blocking> for TcpListener {
    const KIND: ListenerKind = ListenerKind::Tcp;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        listener.into_tcp().map_err(wrong_kind)
    }
}

impl FromListener<Blocking> for UnixListener {
    const KIND: ListenerKind = ListenerKind::Unix;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        listener.into_unix().map_err(wrong_kind)
    }
}

impl FromListener<Blocking> for Listener {
    const KIND: ListenerKind = ListenerKind::Either;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        Ok(listener)
    }
}

/// The blocking mode belongs to the socket, which children share. An `async` fleet sets it in each.
impl FromListener<Async> for Listener {
    const KIND: ListenerKind = ListenerKind::Either;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        Ok(listener)
    }
}

#[cfg(feature = "tokio")]
impl FromListener<Async> for tokio::net::TcpListener {
    const KIND: ListenerKind = ListenerKind::Tcp;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        Self::from_std(listener.into_tcp().map_err(wrong_kind)?)
    }
}

#[cfg(feature = "tokio")]
impl FromListener<Async> for TokioUnixListener {
    const KIND: ListenerKind = ListenerKind::Unix;

    fn from_listener(listener: Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        Self::from_std(listener.into_unix().map_err(wrong_kind)?)
    }
}

/// Supertraits that only this crate can implement.
mod sealed {
    #[cfg(feature = "tokio")]
    use super::Async;
    use super::{Blocking, Listener, TcpListener, UnixListener};

    pub trait FromListener<Style> {}
    pub trait FromListeners<Style> {}

    impl FromListener<Blocking> for TcpListener {}
    impl FromListener<Blocking> for UnixListener {}
    impl<Style> FromListener<Style> for Listener {}
    impl<Style> FromListeners<Style> for Vec<Listener> {}
    #[cfg(feature = "tokio")]
    impl FromListener<Async> for tokio::net::TcpListener {}
    #[cfg(feature = "tokio")]
    impl FromListener<Async> for super::TokioUnixListener {}
}

fn wrong_kind(listener: Listener) -> io::Error {
    io::Error::other(format!("the master sent a listener of another kind: {listener:?}"))
}

/// Implements [`FromListeners`] for types that are the only listener.
macro_rules! only_listener {
    ($($listener:ty, $mode:ty;)*) => {$(
        impl sealed::FromListeners<$mode> for $listener {}

        impl FromListeners<$mode> for $listener {
            const DEMAND: Demand = Demand::Each(&[<Self as FromListener<$mode>>::KIND]);

            fn from_listeners(listeners: Vec<Listener>) -> io::Result<Self> {
                let (only,) = FromListeners::<$mode>::from_listeners(listeners)?;
                Ok(only)
            }
        }
    )*};
}

only_listener! {
    TcpListener, Blocking;
    UnixListener, Blocking;
    Listener, Blocking;
    Listener, Async;
}

#[cfg(feature = "tokio")]
only_listener! {
    tokio::net::TcpListener, Async;
    TokioUnixListener, Async;
}

/// Implements [`FromListeners`] for a tuple: one listener for each address.
macro_rules! listener_tuple {
    ($($listener:ident),*) => {
        impl<Style, $($listener: FromListener<Style>),*> sealed::FromListeners<Style> for ($($listener,)*) {}

        impl<Style, $($listener: FromListener<Style>),*> FromListeners<Style> for ($($listener,)*) {
            const DEMAND: Demand = Demand::Each(&[$($listener::KIND),*]);

            fn from_listeners(listeners: Vec<Listener>) -> io::Result<Self> {
                let mut listeners = listeners.into_iter();
                let missing = || io::Error::other("the master sent fewer listeners than the serve function takes");
                let tuple = ($($listener::from_listener(listeners.next().ok_or_else(missing)?)?,)*);
                match listeners.next() {
                    None => Ok(tuple),
                    Some(_) => Err(io::Error::other("the master sent more listeners than the serve function takes")),
                }
            }
        }
    };
}

listener_tuple!(A);
listener_tuple!(A, B);
listener_tuple!(A, B, C);
listener_tuple!(A, B, C, D);

impl<Style> FromListeners<Style> for Vec<Listener>
where
    Listener: FromListener<Style>,
{
    const DEMAND: Demand = Demand::Any;

    fn from_listeners(listeners: Vec<Listener>) -> io::Result<Self> {
        listeners.into_iter().map(FromListener::from_listener).collect()
    }
}
