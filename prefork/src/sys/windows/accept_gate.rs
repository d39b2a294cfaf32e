//! The listener of a server that is being stopped; what can be done about it is in the
//! [module above](super).

use std::io;
use std::net::SocketAddr;

use socket2::{SockAddr, Socket};

use super::{connections, master_link, socket};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AcceptGate {
    /// Handles of our own to the sockets: the server's are its own business.
    listeners: Vec<Socket>,
    addrs: Vec<SocketAddr>,
}

impl AcceptGate {
    /// The gate that `listeners` are, and every copy that the server makes of them.
    pub(crate) fn new(listeners: &[Socket]) -> io::Result<Self> {
        let addrs = listeners.iter().map(Socket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let addrs = addrs.iter().filter_map(SockAddr::as_socket).collect();
        let listeners = listeners.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { listeners, addrs })
    }

    /// Shuts it, if that is this child's to do. While there is a master it belongs to the whole fleet,
    /// of which this child may be the only one that stops; the master shuts it for all.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if master_link::is_orphaned() {
            self.listeners.iter().for_each(socket::refuse);
        }
        Ok(())
    }

    /// Whether the server can accept through it although it is shut: the socket is the fleet's.
    pub(crate) fn stays_open(&self) -> bool {
        true
    }

    /// Who sits in `accept` cannot be told, and needs no interruption: the gate stays where it is.
    pub(crate) fn interrupt_accepts(&self) -> io::Result<usize> {
        Ok(1)
    }

    /// Connections are counted by the system, from the moment that they are there.
    pub(crate) fn somebody_may_be_in_it(&self) -> bool {
        false
    }

    /// Wakes the threads that sit in `accept`, with an error, so that a loop which looks at its stop
    /// flag between connections gets to look.
    pub(crate) fn wake_acceptors(&self, _count: usize) {
        self.listeners.iter().for_each(socket::cancel_accepts);
    }

    /// How many connections to the address are open, in the whole fleet: while the server accepts, the
    /// next one may be this child's. Once it has left, they are those of this process. Where that cannot
    /// be told there may be one for as long as the grace lasts.
    pub(crate) fn connections(&self, is_left: bool) -> usize {
        let count = if is_left { connections::own(&self.addrs) } else { connections::open(&self.addrs) };
        count.unwrap_or(1)
    }

    /// The length of a queue is unknown here.
    pub(crate) fn queued(&self) -> io::Result<u32> {
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
    fn whoever_sits_in_accept_is_woken() {
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
        // The socket is none the worse for it.
        let _client = TcpStream::connect(addr).unwrap();
        listener.accept().unwrap();
    }
}
