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

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::str::FromStr;

use socket2::{Domain, Socket};

use crate::sys::{self, UnixListener};

pub(crate) use address::Endpoint;
pub(crate) use bind::{SocketOptions, listen_beside};
pub(crate) use socket_set::{Passed, SocketSet};

/// What the fleet listens on: which IP versions, or a Unix socket; the seed's `Network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Network {
    /// `"tcp"`: whatever the address says; without a host, IPv4 and IPv6 on one socket.
    Tcp,
    /// `"tcp4"`: IPv4 only. The default.
    #[default]
    Tcp4,
    /// `"tcp6"`: IPv6 only, also where the system would map IPv4 onto it.
    Tcp6,
    /// `"unix"`: a Unix socket, whose address is a path or, on Linux, an abstract name after an `@`.
    Unix,
}

impl Network {
    /// Where a fleet listens that was told nothing: the loopback interface, port 8080. There is no
    /// such place for a Unix socket.
    pub(crate) fn default_addr(self) -> Option<&'static str> {
        match self {
            Self::Tcp | Self::Tcp4 => Some("127.0.0.1:8080"),
            Self::Tcp6 => Some("[::1]:8080"),
            Self::Unix => None,
        }
    }

    fn admits(self, ip: IpAddr) -> bool {
        match self {
            Self::Tcp => true,
            Self::Tcp4 => ip.is_ipv4(),
            Self::Tcp6 => ip.is_ipv6(),
            Self::Unix => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Tcp4 => "tcp4",
            Self::Tcp6 => "tcp6",
            Self::Unix => "unix",
        })
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `tcp`, `tcp4`, `tcp6` or `unix`; the error says so.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "tcp" => Ok(Self::Tcp),
            "tcp4" => Ok(Self::Tcp4),
            "tcp6" => Ok(Self::Tcp6),
            "unix" => Ok(Self::Unix),
            _ => Err("`tcp4`, `tcp6`, `tcp` or `unix`".to_owned()),
        }
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
