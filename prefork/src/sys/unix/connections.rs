//! The connections that a server has accepted, found among the descriptors of this process.
//!
//! A server may have many thousands, so they are listed once. While one that was listed is open, the
//! question whether any is left takes one system call; only when none is, they are listed again.

use std::collections::HashSet;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use socket2::{SockAddr, SockRef};

use super::descriptors::{FileId, open_descriptors};
use super::platform::tcp_info::{self, FirstRead};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AcceptedConnections {
    /// The addresses of the listeners.
    addrs: Vec<SockAddr>,
    /// Connections that were open when they were last looked at.
    open: Vec<Connection>,
    /// Connections that have been read, or were idle.
    read: HashSet<FileId>,
    /// Connections that wait to be read for the first time.
    unread: Vec<Connection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    number: RawFd,
    id: FileId,
}

impl AcceptedConnections {
    pub(super) fn new(addrs: Vec<SockAddr>) -> Self {
        Self { addrs, open: Vec::new(), read: HashSet::new(), unread: Vec::new() }
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

    /// Whether any waits to be read for the first time. Those that were read once, or were idle, are not
    /// asked again.
    ///
    /// # Errors
    ///
    /// This system cannot tell it of one of them.
    pub(super) fn any_unread(&mut self) -> io::Result<bool> {
        self.keep_unread()?;
        if self.unread.is_empty() {
            self.open = self.list();
            self.unread = self.open.iter().copied().filter(|one| !self.read.contains(&one.id)).collect();
            self.keep_unread()?;
        }
        Ok(!self.unread.is_empty())
    }

    fn keep_unread(&mut self) -> io::Result<()> {
        let mut unread = Vec::new();
        let mut unknown = None;
        for connection in self.unread.drain(..).filter(Connection::is_open) {
            match first_read(connection.number) {
                Ok(FirstRead::Pending) => unread.push(connection),
                Ok(FirstRead::Done | FirstRead::Idle) => drop(self.read.insert(connection.id)),
                Err(error) => unknown = Some(error),
            }
        }
        self.unread = unread;
        unknown.map_or(Ok(()), Err)
    }

    fn list(&self) -> Vec<Connection> {
        let connection = |number| Some(Connection { number, id: FileId::of_socket_at(number)? });
        let listed = open_descriptors().into_iter().filter_map(connection);
        listed.filter(|connection| self.has_accepted(connection.number)).collect()
    }

    fn has_accepted(&self, number: RawFd) -> bool {
        // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let socket = SockRef::from(&descriptor);
        let Ok(local) = socket.local_addr() else { return false };
        let came_in = self.addrs.iter().any(|addr| leads_through(addr, &local))
            || (local.as_socket().is_some() && socket.reuse_address().unwrap_or(false));
        came_in && socket.peer_addr().is_ok()
    }
}

/// Whether a connection with this `local` address came in through a listener on `addr`.
///
/// With a transparent proxy, or a program that redirects connections to the listener, the local address is
/// another. Such a connection is known by SO_REUSEADDR, which it has from the listener. An outgoing
/// connection that has it as well is taken for one too, and then the process waits for it in vain until
/// its grace is over.
fn leads_through(addr: &SockAddr, local: &SockAddr) -> bool {
    match (addr.as_socket(), local.as_socket()) {
        (Some(addr), Some(local)) => {
            addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip())
        }
        _ => addr == local,
    }
}

fn first_read(number: RawFd) -> io::Result<FirstRead> {
    // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    tcp_info::first_read(&SockRef::from(&descriptor))
}

impl Connection {
    fn is_open(&self) -> bool {
        FileId::at(self.number) == Some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn server() -> (TcpListener, AcceptedConnections) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = AcceptedConnections::new(vec![SockRef::from(&listener).local_addr().unwrap()]);
        (listener, connections)
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
    fn only_a_connection_with_inherited_option_counts_at_another_address() {
        let (listener, _) = server();
        let (_client, _accepted) = connect(&listener);
        let other = SockRef::from(&TcpListener::bind("127.0.0.1:0").unwrap()).local_addr().unwrap();
        let mine = |connections: &AcceptedConnections, stream: &TcpStream| {
            connections.list().iter().any(|connection| connection.number == stream.as_raw_fd())
        };
        let connections = AcceptedConnections::new(vec![other]);
        assert!(mine(&connections, &_accepted), "std's listener has SO_REUSEADDR");
        assert!(!mine(&connections, &_client));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connection_is_unread_until_its_first_bytes_are_read() {
        let (listener, mut connections) = server();
        assert!(!connections.any_unread().unwrap());
        let (mut client, mut accepted) = connect(&listener);
        assert!(connections.any_unread().unwrap(), "nothing has arrived");
        client.write_all(b"GET").unwrap();
        assert!(connections.any_unread().unwrap(), "nothing was read");
        Read::read_exact(&mut accepted, &mut [0; 3]).unwrap();
        assert!(!connections.any_unread().unwrap());
        client.write_all(b"GET").unwrap();
        assert!(!connections.any_unread().unwrap(), "it has been read once");
    }
}
