//! From an address to a socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::Sharing;
use super::endpoint::{Endpoint, Place, ResolvedEndpoint, TcpPlace};
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

    /// Takes back, on a TCP listener, the options that are off here, whatever another program had set.
    pub(super) fn take_back_others(&self, socket: &Socket) {
        let on = Some(Duration::ZERO);
        let all =
            Self { nodelay: true, keepalive: on, defer_accept: on, fastopen: Some(0), ..Self::default() };
        all.take_back(self, socket);
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

/// Sockets that let another one listen on their address while this lives.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    sockets: Vec<&'a Socket>,
}

impl<'a> Lent<'a> {
    /// Those of `sockets` that have this port.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::AddrInUse`] if there are none, or if this system allows it only before a
    /// socket is bound.
    pub(super) fn new(sockets: &[&'a Socket], port: u16) -> io::Result<Self> {
        let has_port = |socket: &Socket| {
            let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
            addr.is_some_and(|addr| addr.port() == port)
        };
        let mut lent = Self { sockets: Vec::new() };
        for socket in sockets.iter().filter(|socket| sys::JOINS_GROUPS_LATE && has_port(socket)) {
            // One that is in a group by itself stays there.
            if !sys::is_in_reuseport_group(socket)? {
                sys::join_reuseport_group(socket)?;
                lent.sockets.push(socket);
            }
        }
        Ok(lent)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // It could be set, so that it can be unset.
            let _ = sys::leave_reuseport_group(socket);
        }
    }
}

/// The first socket, on an address that this machine has. If only sockets of `leaving` have it, it is shared
/// with them, and they let the new socket listen for as long as the returned value lives.
pub(super) fn bind_first_possible<'a>(
    place: TcpPlace,
    sharing: Sharing,
    leaving: &[&'a Socket],
) -> io::Result<(Socket, Option<Lent<'a>>)> {
    match bind_first_of(place, sharing, leaving) {
        // Without IPv6, "every address" is every IPv4 address.
        Err(error) if place.dual_stack && sys::lacks_ipv6(&error) => {
            let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), place.addr.port());
            bind_first_of(TcpPlace { addr, dual_stack: false }, sharing, leaving)
        }
        bound => bound,
    }
}

fn bind_first_of<'a>(
    place: TcpPlace,
    sharing: Sharing,
    leaving: &[&'a Socket],
) -> io::Result<(Socket, Option<Lent<'a>>)> {
    match bind_first(place, sharing) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !leaving.is_empty() => {
            let lent = Lent::new(leaving, place.addr.port())?;
            // Another process may have the address as well.
            let socket = bind_another(place).map_err(|_| error)?;
            Ok((socket, Some(lent)))
        }
        bound => Ok((bound?, None)),
    }
}

/// Opens a listener for the master itself, such as the health endpoint's. For `leaving` see
/// [`SocketSet::arrange`](super::SocketSet::arrange).
///
/// # Errors
///
/// [`Error::Bind`] if the system refuses it.
pub(crate) fn listen_beside(resolved: &ResolvedEndpoint, leaving: &[&Socket]) -> Result<Socket, Error> {
    const BACKLOG: i32 = 128;
    let ResolvedEndpoint { endpoint, place } = resolved;
    let Some(Place::Tcp(place)) = *place else { return Err(endpoint.not_passed()) };
    let bind_error = |source| endpoint.bind_error(source);
    let (socket, lent) = bind_first_possible(place, Sharing::Shared, leaving).map_err(bind_error)?;
    socket.listen(BACKLOG).map_err(bind_error)?;
    if lent.is_some() {
        sys::leave_reuseport_group(&socket).map_err(bind_error)?;
    }
    Ok(socket)
}

/// Checks what can be checked without opening a listener: that addresses resolve, that the directories of Unix
/// sockets exist, and that the system has the options. The form of the addresses has been checked.
pub(crate) fn check(endpoints: &[Endpoint], options: SocketOptions, health: Option<&str>) -> Vec<Error> {
    let mut problems = Vec::new();
    let mut has_tcp = false;
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_activated()) {
        match endpoint.resolve() {
            Ok(Place::Path(path)) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let found = directory.map_or(Ok(()), |directory| directory.metadata().map(drop));
                problems.extend(found.err().map(|source| endpoint.bind_error(source)));
            }
            Ok(Place::Tcp(_)) => has_tcp = true,
            Ok(Place::Abstract(_)) => {}
            Err(_) if endpoint.check_form().is_err() => {}
            Err(error) => problems.push(error),
        }
    }
    problems.extend(health.and_then(|addr| ResolvedEndpoint::beside(addr).err()));
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
        let listener = bind_first(place, Sharing::Shared).unwrap();
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
        let listener = bind_first(place, Sharing::Shared).unwrap();
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
        let listener = bind_first(place, Sharing::Shared).unwrap();
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
