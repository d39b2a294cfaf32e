//! Addresses, networks and the sockets that listen on them. All but [`Listener`] runs in the master.
//!
//! - `endpoint.rs`: an address, as written and as resolved
//! - `bind.rs`: from an address to a socket
//! - `group.rs`: the sockets of one address, and which slot each belongs to
//! - `socket_set.rs`: all listening sockets of a fleet
//! - `holders.rs`: which of them the children hold
//! - `arrangement.rs`: those of the next program

mod arrangement;
mod bind;
mod endpoint;
mod group;
mod holders;
mod socket_set;

use std::io;
use std::net::{IpAddr, TcpListener};

pub use prefork_options::Network;
use socket2::{Domain, Socket};

use crate::sys::{self, UnixListener};

pub(crate) use arrangement::{Arrangement, PassedSet, PassedSockets};
pub(crate) use bind::{SocketOptions, check, listen_beside};
pub(crate) use endpoint::{Endpoint, Place, ResolvedEndpoint, TcpPlace, name_of};
pub(crate) use holders::{HeldSockets, Holders, Holding};
pub(crate) use socket_set::{ListenerQueues, SocketSet, WatchedListeners};

/// Whether a network includes this address.
fn admits(network: Network, ip: IpAddr) -> bool {
    match network {
        Network::Tcp => true,
        Network::Tcp4 => ip.is_ipv4(),
        Network::Tcp6 => ip.is_ipv6(),
        _ => false,
    }
}

/// A listening socket of the fleet, TCP or Unix.
///
/// A serve function of a fleet with several addresses takes them all as a `Vec<Listener>`, in the
/// order of the addresses. The sockets of an `async` serve function do not block: they are ready for
/// `tokio::net::TcpListener::from_std` and `UnixListener::from_std`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// Listens on an address of a TCP network.
    Tcp(TcpListener),
    /// Listens on a Unix socket; there are none on Windows.
    Unix(UnixListener),
}

impl Listener {
    /// Makes a listener from a socket that the master handed over.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        if socket.local_addr()?.domain() == Domain::UNIX {
            return Ok(Self::Unix(sys::into_unix_listener(socket)?));
        }
        Ok(Self::Tcp(socket.into()))
    }

    /// Makes `accept` return at once if no connection is queued.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// The TCP listener, if this is one.
    ///
    /// # Errors
    ///
    /// This listener, if it is a Unix socket.
    pub fn into_tcp(self) -> Result<TcpListener, Self> {
        match self {
            Self::Tcp(listener) => Ok(listener),
            other => Err(other),
        }
    }

    /// The Unix listener, if this is one.
    ///
    /// # Errors
    ///
    /// This listener, if it is one of TCP.
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
    /// The sharing in effect on this system: on Windows every fleet shares one socket, for the reason
    /// given in `sys/windows`.
    pub(crate) fn in_effect(self) -> Self {
        if sys::SHARES_ONE_SOCKET { Self::Shared } else { self }
    }
}
