//! The listeners of a server that stops. The [parent module](super) describes the limits.

use std::io;
use std::net::SocketAddr;

use socket2::{SockAddr, Socket};

use super::{connections, master_link, socket};

/// Whether this system has io_uring.
pub(crate) const HAS_IO_URING: bool = false;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AcceptGate {
    /// Handles to the sockets, besides the server's.
    listeners: Vec<Socket>,
    addrs: Vec<SocketAddr>,
}

impl AcceptGate {
    /// The gate of `listeners` and of every copy that the server makes of them.
    pub(crate) fn new(listeners: &[Socket]) -> io::Result<Self> {
        let addrs = listeners.iter().map(Socket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let addrs = addrs.iter().filter_map(SockAddr::as_socket).collect();
        let listeners = listeners.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { listeners, addrs })
    }

    /// Makes the sockets refuse connections, if this child is an orphan. While there is a master, the sockets
    /// are the fleet's, of which this child may be the only one that stops; the master closes them for all.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if master_link::is_orphaned() {
            self.listeners.iter().for_each(socket::refuse);
        }
        Ok(())
    }

    /// Whether the server can still accept after [`close`](Self::close): the socket is the fleet's.
    pub(crate) fn stays_open(&self) -> bool {
        true
    }

    /// Whether the closed gate holds the server: a server learns of the stop in any case before it is held.
    pub(crate) fn holds_server(&self) -> bool {
        true
    }

    /// Never.
    pub(crate) fn server_uses_io_uring(&self) -> bool {
        false
    }

    /// Does nothing: threads in `accept` are unknown, and the sockets stay in place. No accept is unfinished:
    /// the system counts a connection from its beginning.
    pub(crate) fn interrupt_accepts(&mut self) -> io::Result<(usize, bool)> {
        Ok((1, false))
    }

    /// Wakes the threads that are in `accept`, with an error. A loop that checks its stop flag between
    /// connections then checks it.
    pub(crate) fn wake_acceptors(&self, _count: usize) {
        self.listeners.iter().for_each(socket::cancel_accepts);
    }

    /// Whether a connection to the addresses is open. Until the serve function has `returned` those of the
    /// whole fleet count, because this child may accept the next one; then only those of this process. Yes
    /// if that is unknown.
    pub(crate) fn has_connections(&mut self, returned: bool) -> bool {
        let count = if returned { connections::own(&self.addrs) } else { connections::open(&self.addrs) };
        count.unwrap_or(1) > 0
    }

    /// Unknown here.
    pub(crate) fn has_active_connections(&mut self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The length of a queue is unknown here.
    pub(crate) fn queue_length(&self, _places: &[usize]) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::thread;
    use std::time::Duration;

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn thread_in_accept_is_woken() {
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let gate = AcceptGate::new(&[listener.try_clone().unwrap()]).unwrap();
        let accepting = thread::spawn(move || (listener.accept().map(drop), listener));
        while !accepting.is_finished() {
            gate.wake_acceptors(1);
            thread::sleep(Duration::from_millis(5));
        }
        let (accepted, listener) = accepting.join().unwrap();
        accepted.unwrap_err();
        // The socket still works.
        let _client = TcpStream::connect(addr).unwrap();
        listener.accept().unwrap();
    }
}
