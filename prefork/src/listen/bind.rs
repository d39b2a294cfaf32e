//! From an address to a socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::endpoint::{Endpoint, Place, TcpPlace, resolve_tcp};
use super::{Network, Sharing};
use crate::error::Error;
use crate::sys::{self, SocketFileOptions};

/// The options of the fleet's listening sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    /// How many connections may be queued; by default as many as the system allows.
    pub(crate) backlog: Option<i32>,
    /// Connections inherit these two from the listener that accepts them.
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) defer_accept: Option<Duration>,
    pub(crate) fastopen: Option<u32>,
    pub(crate) file: SocketFileOptions,
}

impl SocketOptions {
    pub(super) fn backlog(&self) -> i32 {
        self.backlog.unwrap_or(i32::MAX)
    }

    /// Takes back, on a TCP listener, the options that are off in `next`. One that the system does not have was
    /// never on.
    pub(super) fn take_back(&self, next: &Self, socket: &Socket) {
        if self.nodelay && !next.nodelay {
            let _ = socket.set_tcp_nodelay(false);
        }
        if self.keepalive.is_some() && next.keepalive.is_none() {
            let _ = socket.set_keepalive(false);
        }
        if self.defer_accept.is_some() && next.defer_accept.is_none() {
            let _ = sys::set_defer_accept(socket, Duration::ZERO);
        }
        if self.fastopen.is_some() && next.fastopen.is_none() {
            let _ = sys::set_fast_open(socket, 0);
        }
    }

    /// Checks that the system has the options of TCP listeners.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        // A system that makes no socket has a better message for that.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        socket.map_or(Ok(()), |socket| self.apply(&socket))
    }

    /// Sets the options of a TCP listener, whether it is new or inherited.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if the system does not have an option.
    pub(super) fn apply(&self, socket: &Socket) -> Result<(), Error> {
        let set = |option: &str, value: String, outcome: io::Result<()>| {
            outcome.map_err(|error| Error::BadOption {
                option: option.to_owned(),
                value,
                expected: match error.kind() {
                    io::ErrorKind::Unsupported => "no value: this system has no such option".to_owned(),
                    _ => format!("a value that the system takes ({})", crate::error::plain(&error)),
                },
                set_by: None,
            })
        };
        if self.nodelay {
            set("nodelay", "true".to_owned(), socket.set_tcp_nodelay(true))?;
        }
        if let Some(idle) = self.keepalive {
            let outcome = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle));
            set("keepalive", humantime::format_duration(idle).to_string(), outcome)?;
        }
        if let Some(limit) = self.defer_accept {
            let outcome = sys::set_defer_accept(socket, limit);
            set("defer_accept", humantime::format_duration(limit).to_string(), outcome)?;
        }
        if let Some(queue) = self.fastopen {
            set("fastopen", queue.to_string(), sys::set_fast_open(socket, queue))?;
        }
        Ok(())
    }
}

/// The first socket on the address binds it exclusively. So an address in use is an error, even if its
/// owner would share it (most likely another instance of this program). Then the socket lets those of
/// the other slots join.
fn bind_first(place: TcpPlace, sharing: Sharing) -> io::Result<Socket> {
    let socket = open(place)?;
    let shares = sharing == Sharing::Reuseport;
    if shares && !sys::JOINS_GROUPS_LATE {
        // Elsewhere the option has an effect only before bind: a first socket tests the address.
        let probe = open(place)?;
        probe.bind(&place.addr.into())?;
        drop(probe);
        sys::join_reuseport_group(&socket)?;
    }
    socket.bind(&place.addr.into())?;
    if shares && sys::JOINS_GROUPS_LATE {
        sys::join_reuseport_group(&socket)?;
    }
    Ok(socket)
}

/// The first socket, on an address that this machine has.
pub(super) fn bind_first_possible(place: TcpPlace, sharing: Sharing) -> io::Result<Socket> {
    match bind_first(place, sharing) {
        // Without IPv6, "every address" is every IPv4 address.
        Err(error) if place.dual_stack && sys::lacks_ipv6(&error) => {
            let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), place.addr.port());
            bind_first(TcpPlace { addr, dual_stack: false }, sharing)
        }
        bound => bound,
    }
}

/// Opens a listener for the master itself, such as the health endpoint's.
///
/// # Errors
///
/// As [`SocketSet::open`](super::SocketSet::open).
pub(crate) fn listen_beside(addr: &str) -> Result<Socket, Error> {
    const BACKLOG: i32 = 128;
    let network = Network::Tcp;
    let bind_error = |source| Error::Bind { addr: addr.to_owned(), network, source };
    let resolve_error = |reason| Error::Resolve { addr: addr.to_owned(), network, reason };
    let place = resolve_tcp(addr, network).map_err(resolve_error)?;
    let socket = bind_first_possible(place, Sharing::Shared).map_err(bind_error)?;
    socket.listen(BACKLOG).map_err(bind_error)?;
    Ok(socket)
}

/// Checks what can be checked without opening a listener: that addresses resolve, that the directories of Unix
/// sockets exist, and that the system has the options. The form of the addresses has been checked.
pub(crate) fn check(endpoints: &[Endpoint], options: SocketOptions, health: Option<&str>) -> Vec<Error> {
    let mut problems = Vec::new();
    let mut has_tcp = false;
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_activated()) {
        let Endpoint { addr, network } = endpoint.clone();
        match endpoint.resolve() {
            Ok(Place::Path(path)) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let found = directory.map_or(Ok(()), |directory| directory.metadata().map(drop));
                problems.extend(found.err().map(|source| Error::Bind { addr, network, source }));
            }
            Ok(Place::Tcp(_)) => has_tcp = true,
            Ok(Place::Abstract(_)) => {}
            Err(_) if endpoint.check_form().is_err() => {}
            Err(reason) => problems.push(Error::Resolve { addr, network, reason }),
        }
    }
    if let Some(addr) = health {
        let addr = addr.to_owned();
        let unresolved = resolve_tcp(&addr, Network::Tcp).err();
        problems.extend(unresolved.map(|reason| Error::Resolve { addr, network: Network::Tcp, reason }));
    }
    if has_tcp {
        problems.extend(options.check().err());
    }
    problems
}

fn open(place: TcpPlace) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(place.addr), Type::STREAM, Some(Protocol::TCP))?;
    if place.addr.is_ipv6() {
        socket.set_only_v6(!place.dual_stack)?;
    }
    sys::allow_quick_restart(&socket)?;
    Ok(socket)
}

/// A further socket on an address whose first socket lets others join.
pub(super) fn bind_another(place: TcpPlace) -> io::Result<Socket> {
    let socket = open(place)?;
    sys::join_reuseport_group(&socket)?;
    socket.bind(&place.addr.into())?;
    Ok(socket)
}

/// A Unix socket in the abstract namespace, without a file. The name is free once the socket is closed.
pub(super) fn bind_abstract(name: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn connections_inherit_options_of_listener() {
        let place = TcpPlace { addr: "127.0.0.1:0".parse().unwrap(), dual_stack: false };
        let listener = bind_first_possible(place, Sharing::Shared).unwrap();
        let keepalive = Some(Duration::from_secs(90));
        SocketOptions { nodelay: true, keepalive, ..SocketOptions::default() }.apply(&listener).unwrap();
        listener.listen(1).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        assert!(connection.tcp_nodelay().unwrap());
        assert!(connection.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(connection.tcp_keepalive_time().unwrap(), Duration::from_secs(90));
    }

    #[test]
    fn options_that_are_taken_back_are_off_for_new_connections() {
        let place = TcpPlace { addr: "127.0.0.1:0".parse().unwrap(), dual_stack: false };
        let listener = bind_first_possible(place, Sharing::Shared).unwrap();
        let all = SocketOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(90)),
            defer_accept: cfg!(target_os = "linux").then_some(Duration::from_secs(60)),
            ..SocketOptions::default()
        };
        all.apply(&listener).unwrap();
        listener.listen(1).unwrap();
        all.take_back(&SocketOptions::default(), &listener);
        let _silent = TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        assert!(!connection.tcp_nodelay().unwrap());
        assert!(!connection.keepalive().unwrap());
    }

    #[test]
    fn defer_accept_hides_silent_connection() {
        use std::io::Write;

        let place = TcpPlace { addr: "127.0.0.1:0".parse().unwrap(), dual_stack: false };
        let listener = bind_first_possible(place, Sharing::Shared).unwrap();
        if sys::set_defer_accept(&listener, Duration::from_secs(60)).is_err() {
            return crate::skip::skipped("defer-accept");
        }
        let (defer_accept, fastopen) = (Some(Duration::from_secs(60)), Some(16));
        SocketOptions { defer_accept, fastopen, ..SocketOptions::default() }.apply(&listener).unwrap();
        listener.listen(8).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let silent = TcpStream::connect(addr).unwrap();
        let mut talking = TcpStream::connect(addr).unwrap();
        talking.write_all(b"handshake").unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.as_socket(), talking.local_addr().ok());
        drop(silent);
    }
}
