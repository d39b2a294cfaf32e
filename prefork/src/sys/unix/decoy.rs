//! The sockets that take the place of listeners: they listen where no client connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::platform::decoy as platform;

/// The ports that are tried, from the highest down. A port that is named takes none from the range for
/// outgoing connections, which may be small and used up.
const PORTS: std::ops::RangeInclusive<u16> = 65_472..=65_535;
/// Wakes that can be queued.
const BACKLOG: i32 = 128;

/// A socket that can take the place of a listener. It is made when the child starts: at the time of the
/// stop, descriptors and ports may be used up.
#[derive(Debug)]
pub(super) struct Decoy {
    socket: Socket,
    addr: SockAddr,
}

impl Decoy {
    /// Of the same kind as `listener`: what `accept` returns there is a connection of that kind.
    pub(super) fn of(listener: &Socket) -> io::Result<Self> {
        let is_tcp = listener.local_addr()?.as_socket().is_some();
        let tcp = if is_tcp { listen_on_loopback() } else { Err(io::ErrorKind::Unsupported.into()) };
        // Without a loopback interface: a thread that waits there cannot be woken, but waits.
        let socket = tcp.or_else(|_| platform::listen_on_unix_socket())?;
        Ok(Self { addr: socket.local_addr()?, socket })
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Makes one `accept` return.
    pub(super) fn wake(&self) {
        // A full queue is refused: then threads are being woken already.
        let _ = connect(&self.addr);
    }
}

impl AsFd for Decoy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect(addr: &SockAddr) -> io::Result<()> {
    let connected = connect_from(None, addr);
    match (&connected, addr.as_socket()) {
        (Err(error), Some(decoy)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            // No port for outgoing connections is free: take one that is named. Decoys have the highest of them.
            let mut named = PORTS.map(|port| SocketAddr::new(decoy.ip(), port));
            named.find_map(|from| connect_from(Some(from), addr).ok()).map_or(connected, Ok)
        }
        _ => connected,
    }
}

fn connect_from(from: Option<SocketAddr>, addr: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(addr.domain(), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        // Closing it leaves no connection that keeps the port for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
    }
    socket.connect_timeout(addr, Duration::from_millis(100))
}

/// Listens on an address that follows from this process's id, so that the decoys of a thousand children
/// use the same few ports. Where only 127.0.0.1 is local, the system chooses the port.
fn listen_on_loopback() -> io::Result<Socket> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = IpAddr::from(Ipv4Addr::new(127, 64 | (high & 63), middle, low));
    let named = PORTS.rev().map(|port| SocketAddr::new(own, port));
    let chosen = [SocketAddr::from(([127, 0, 0, 1], 0)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))];
    let mut error = io::ErrorKind::AddrNotAvailable.into();
    for addr in named.chain(chosen) {
        match listen(addr) {
            Ok(socket) => return Ok(socket),
            Err(refused) => error = refused,
        }
    }
    Err(error)
}

fn listen(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoys_of_a_process_differ_and_can_be_woken() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let decoys = [Decoy::of(&listener).unwrap(), Decoy::of(&listener).unwrap()];
        assert_ne!(decoys[0].addr.as_socket(), decoys[1].addr.as_socket());
        for decoy in decoys {
            decoy.set_nonblocking(true).unwrap();
            assert_eq!(decoy.socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            decoy.wake();
            decoy.set_nonblocking(false).unwrap();
            assert!(decoy.socket.accept().unwrap().1.as_socket().is_some());
        }
    }

    #[test]
    fn wake_can_come_from_a_named_port() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let decoy = Decoy::of(&listener).unwrap();
        let own = decoy.addr.as_socket().unwrap();
        connect_from(Some(own), &decoy.addr).unwrap_err();
        for _ in 0..3 {
            let from = SocketAddr::new(own.ip(), *PORTS.start());
            connect_from(Some(from), &decoy.addr).unwrap();
            assert_eq!(decoy.socket.accept().unwrap().1.as_socket(), Some(from));
        }
    }

    #[test]
    fn decoy_of_unix_listener_is_a_unix_socket() {
        let listener = platform::listen_on_unix_socket().unwrap();
        let decoy = Decoy::of(&listener).unwrap();
        decoy.wake();
        assert_eq!(decoy.socket.accept().unwrap().1.domain(), Domain::UNIX);
    }
}
