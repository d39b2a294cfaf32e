//! Where clients of the HTTP server connect, and their streams.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use socket2::Socket;

use crate::sys::{self, Peer};

/// Where clients connect.
pub(in crate::master) trait HttpListener: Source + Send + 'static {
    type Stream: HttpStream + Source + Send;

    fn accept(&self) -> io::Result<Self::Stream>;

    /// Whether a client waits. Without a number for a descriptor, `accept` fails before it looks.
    fn has_client(&self) -> bool;
}

impl HttpListener for mio::net::TcpListener {
    type Stream = mio::net::TcpStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        mio::net::TcpListener::accept(self).map(|(stream, _)| stream)
    }

    fn has_client(&self) -> bool {
        sys::may_have_client(self)
    }
}

impl HttpListener for sys::ControlListener {
    type Stream = sys::ControlStream;

    fn accept(&self) -> io::Result<Self::Stream> {
        sys::accept_control(self)
    }

    fn has_client(&self) -> bool {
        sys::may_have_client(self)
    }
}

/// A listener of the server, which is another descriptor of this socket.
pub(in crate::master) fn tcp_listener(socket: &Socket) -> io::Result<mio::net::TcpListener> {
    let listener = std::net::TcpListener::from(socket.try_clone()?);
    listener.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(listener))
}

/// A stream that does not block.
pub(in crate::master) trait HttpStream: Read + Write {
    fn shut_down(&self, how: Shutdown) -> io::Result<()>;

    /// The process at the other end, where the system tells.
    fn peer(&self) -> Option<Peer> {
        None
    }
}

impl HttpStream for mio::net::TcpStream {
    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

impl HttpStream for sys::ControlStream {
    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        sys::shut_down_control(self, how)
    }

    fn peer(&self) -> Option<Peer> {
        sys::peer_of(self)
    }
}
