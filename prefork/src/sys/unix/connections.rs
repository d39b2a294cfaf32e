//! The connections that a server has accepted, found among the descriptors of this process.
//!
//! A server may have many thousands, so they are listed once. While one that was listed is open, the
//! question whether any is left takes one system call; only when none is, they are listed again.

use std::collections::HashSet;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use socket2::{SockAddr, SockRef};

use super::descriptors::{FileId, open_descriptors};
use super::platform::tcp_info::{self, Activity};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AcceptedConnections {
    /// The addresses of the listeners.
    addrs: Vec<SockAddr>,
    /// Whether connections with another local address can have come in through them.
    counts_redirected: bool,
    /// Connections that were open when they were last looked at.
    open: Vec<Connection>,
    /// Connections that were quiet.
    quiet: HashSet<FileId>,
    /// Connections that were active when they were last looked at.
    active: Vec<Connection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    number: RawFd,
    id: FileId,
}

impl AcceptedConnections {
    pub(super) fn new(addrs: Vec<SockAddr>) -> Self {
        Self { addrs, counts_redirected: true, open: Vec::new(), quiet: HashSet::new(), active: Vec::new() }
    }

    /// Whether any is open.
    pub(super) fn any_open(&mut self) -> bool {
        while let Some(last) = self.open.last() {
            if last.is_open() {
                return true;
            }
            self.open.pop();
        }
        self.open = self.list();
        !self.open.is_empty()
    }

    /// Whether any is active. One that was quiet once is not asked again: its client has been idle.
    ///
    /// # Errors
    ///
    /// This system cannot tell it of one of them.
    pub(super) fn any_active(&mut self) -> io::Result<bool> {
        self.keep_active()?;
        if self.active.is_empty() {
            self.open = self.list();
            self.active = self.open.iter().copied().filter(|one| !self.quiet.contains(&one.id)).collect();
            self.keep_active()?;
        }
        Ok(!self.active.is_empty())
    }

    fn keep_active(&mut self) -> io::Result<()> {
        let mut active = Vec::new();
        let mut unknown = None;
        for connection in self.active.drain(..).filter(Connection::is_open) {
            match activity(connection.number) {
                Ok(Activity::Active) => active.push(connection),
                Ok(Activity::Quiet) => drop(self.quiet.insert(connection.id)),
                Err(error) => unknown = Some(error),
            }
        }
        self.active = active;
        unknown.map_or(Ok(()), Err)
    }

    fn list(&self) -> Vec<Connection> {
        let sockets = open_descriptors().into_iter().filter_map(OpenSocket::at);
        let (listening, connected): (Vec<_>, Vec<_>) = sockets.partition(|socket| socket.listens);
        let others: Vec<SockAddr> = listening.into_iter().map(|socket| socket.local).collect();
        let came_in = |socket: &OpenSocket| self.came_in(socket, &others);
        connected.into_iter().filter(came_in).map(|socket| socket.connection).collect()
    }

    /// Whether a connection came in through one of the listeners.
    ///
    /// With a transparent proxy, or a program that redirects connections to a listener, the local address is
    /// another. Such a connection is known by SO_REUSEADDR, which it has from the listener, unless it can
    /// have come in through another listener of the program. An outgoing connection that has it as well is
    /// taken for one too, and then the process waits for it until its grace is over.
    fn came_in(&self, socket: &OpenSocket, other_listeners: &[SockAddr]) -> bool {
        let matches = |addrs: &[SockAddr]| addrs.iter().any(|addr| leads_through(addr, &socket.local));
        let redirected =
            || self.counts_redirected && socket.is_redirected_or_outgoing() && !matches(other_listeners);
        (matches(&self.addrs) || redirected()) && socket.has_peer()
    }
}

/// A socket of this process.
struct OpenSocket {
    connection: Connection,
    local: SockAddr,
    listens: bool,
}

impl OpenSocket {
    fn at(number: RawFd) -> Option<Self> {
        let connection = Connection { number, id: FileId::of_socket_at(number)? };
        // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let local = SockRef::from(&descriptor).local_addr().ok()?;
        let listens = getsockopt(&descriptor, AcceptConn).is_ok_and(|listens| listens);
        Some(Self { connection, local, listens })
    }

    fn is_redirected_or_outgoing(&self) -> bool {
        self.local.as_socket().is_some() && self.with(|socket| socket.reuse_address().unwrap_or(false))
    }

    fn has_peer(&self) -> bool {
        self.with(|socket| socket.peer_addr().is_ok())
    }

    fn with<T>(&self, ask: impl FnOnce(SockRef<'_>) -> T) -> T {
        // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.connection.number) };
        ask(SockRef::from(&descriptor))
    }
}

/// Whether a connection with this `local` address fits a listener on `addr`.
fn leads_through(addr: &SockAddr, local: &SockAddr) -> bool {
    match (addr.as_socket(), local.as_socket()) {
        (Some(addr), Some(local)) => {
            addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip())
        }
        _ => addr == local,
    }
}

fn activity(number: RawFd) -> io::Result<Activity> {
    // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    tcp_info::activity(&SockRef::from(&descriptor))
}

impl Connection {
    fn is_open(&self) -> bool {
        FileId::at(self.number) == Some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn server() -> (TcpListener, AcceptedConnections) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Other tests have connections in this process.
        let addrs = vec![SockRef::from(&listener).local_addr().unwrap()];
        (listener, AcceptedConnections { counts_redirected: false, ..AcceptedConnections::new(addrs) })
    }

    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn connections_are_open_until_the_server_closes_the_last() {
        let (listener, mut connections) = server();
        assert!(!connections.any_open());
        let (client, one) = connect(&listener);
        let (_other_client, other) = connect(&listener);
        assert!(connections.any_open());
        drop(other);
        assert!(connections.any_open());
        drop(client);
        assert!(connections.any_open(), "a connection that its client has closed is not closed yet");
        drop(one);
        assert!(!connections.any_open());
    }

    #[test]
    fn number_that_is_used_again_is_not_the_connection() {
        let (listener, mut connections) = server();
        let (_client, accepted) = connect(&listener);
        assert!(connections.any_open());
        let number = accepted.as_raw_fd();
        drop(accepted);
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        if other.as_raw_fd() == number {
            assert!(!connections.any_open());
        }
    }

    #[test]
    fn redirected_connection_counts_and_outgoing_ones_and_those_of_other_listeners_do_not() {
        let (listener, _) = server();
        let (client, accepted) = connect(&listener);
        let elsewhere = SockRef::from(&TcpListener::bind("127.0.0.1:0").unwrap()).local_addr().unwrap();
        let connections = AcceptedConnections::new(vec![elsewhere]);
        let counts = |stream: &TcpStream| {
            connections.list().iter().any(|connection| connection.number == stream.as_raw_fd())
        };
        assert!(!counts(&accepted), "the program has another listener with its address");
        drop(listener);
        assert!(counts(&accepted), "std's listener had SO_REUSEADDR");
        assert!(!counts(&client));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connection_is_active_until_it_is_read_and_nothing_more_comes() {
        use std::io::{Read, Write};

        let (listener, mut connections) = server();
        assert!(!connections.any_active().unwrap());
        let (mut client, mut accepted) = connect(&listener);
        assert!(connections.any_active().unwrap(), "nothing has arrived");
        client.write_all(b"GET").unwrap();
        assert!(connections.any_active().unwrap(), "nothing was read");
        accepted.read_exact(&mut [0; 3]).unwrap();
        let mut looks = 0;
        while connections.any_active().unwrap() {
            looks += 1;
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(looks > 0, "a request has just arrived");
        client.write_all(b"GET").unwrap();
        assert!(!connections.any_active().unwrap(), "it has been quiet");
    }
}
