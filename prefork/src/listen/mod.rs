//! Addresses, networks and the sockets that listen on them. All but [`Listener`] runs in the master.
//!
//! - `address.rs`: an address, as it was written and as it is meant
//! - `bind.rs`: from an address to a socket
//! - `group.rs`: the sockets of one address, and which slot each belongs to
//! - `socket_set.rs`: all of a fleet's

mod address;
mod bind;
mod group;
mod socket_set;

use std::io;
use std::net::{IpAddr, TcpListener};

pub use prefork_options::Network;
use socket2::{Domain, Socket};

use crate::sys::{self, UnixListener};

pub(crate) use address::Endpoint;
pub(crate) use bind::{SocketOptions, listen_beside};
pub(crate) use socket_set::{PassedSockets, SocketSet};

/// Whether addresses of a network include this one.
fn admits(network: Network, ip: IpAddr) -> bool {
    match network {
        Network::Tcp => true,
        Network::Tcp4 => ip.is_ipv4(),
        Network::Tcp6 => ip.is_ipv6(),
        _ => false,
    }
}

/// A listening socket of the fleet's, of whatever kind its address is.
///
/// A serve function of a fleet with several addresses takes them all as a `Vec<Listener>`, in the
/// order of the addresses. The sockets of an `async` serve function do not block: they are ready for
/// `tokio::net::TcpListener::from_std` and its sibling.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// Listens on an address of a TCP network.
    Tcp(TcpListener),
    /// Is a Unix socket; there are none on Windows.
    Unix(UnixListener),
}

impl Listener {
    /// Makes one of a socket that the master handed over.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        if socket.local_addr()?.domain() == Domain::UNIX {
            return Ok(Self::Unix(sys::into_unix_listener(socket)?));
        }
        Ok(Self::Tcp(socket.into()))
    }

    /// Has `accept` return at once where nothing waits.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// The TCP listener that this is; else itself.
    ///
    /// # Errors
    ///
    /// The listener, if it is a Unix socket.
    pub fn into_tcp(self) -> Result<TcpListener, Self> {
        match self {
            Self::Tcp(listener) => Ok(listener),
            other => Err(other),
        }
    }

    /// The Unix listener that this is; else itself.
    ///
    /// # Errors
    ///
    /// The listener, if it is one of TCP.
    pub fn into_unix(self) -> Result<UnixListener, Self> {
        match self {
            Self::Unix(listener) => Ok(listener),
            other => Err(other),
        }
    }
}

/// How the children share the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One socket that every child accepts from.
    Shared,
    /// A socket for each slot; the kernel spreads connections over them.
    Reuseport,
}

impl Sharing {
    /// What becomes of it on this system: on Windows every fleet shares one socket. Why is told where
    /// the system is dealt with.
    pub(crate) fn in_effect(self) -> Self {
        if sys::SHARES_ONE_SOCKET { Self::Shared } else { self }
    }
}
