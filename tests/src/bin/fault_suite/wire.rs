//! A client's connection: plain or TLS, one request after another.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use prefork_tests::accepts::{self, AcceptLog, Accepted};
use prefork_tests::tls::TlsClient;
use rustls::{ClientConnection, StreamOwned};

use crate::oracle::Reason;

/// How long a client waits. No fault that explains nothing lasts as long, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Where requests go, and where children record what they accept.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) accepts: AcceptLog,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }
}

/// Why a request failed, with the system's error.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Broken {
    fn new(reason: Reason, detail: impl ToString) -> Self {
        Self { reason, detail: detail.to_string() }
    }

    /// From an error after `received` bytes of the answer.
    fn from(error: &io::Error, received: usize) -> Self {
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => Reason::Refused,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Reason::Timeout,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof => {
                if received == 0 {
                    Reason::Closed
                } else {
                    Reason::Partial
                }
            }
            _ => Reason::Other,
        };
        Self::new(reason, error)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// The port of this side.
    port: u16,
    /// When it was opened, as [`accepts::now`] tells it.
    opened: u64,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> Result<Self, Broken> {
        let opened = accepts::now();
        let open = || -> io::Result<Self> {
            let stream = TcpStream::connect_timeout(&target.addr, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            stream.set_nodelay(true)?;
            let port = stream.local_addr()?.port();
            let stream = match &target.tls {
                Some(client) => Stream::Tls(Box::new(client.over(stream)?)),
                None => Stream::Plain(stream),
            };
            Ok(Self { stream, port, opened })
        };
        open().map_err(|error| Broken::from(&error, 0))
    }

    /// What the child that has accepted this connection has recorded of it.
    pub(crate) fn accepted(&self, target: &Target) -> Option<Accepted> {
        target.accepts.last(self.port, self.opened)
    }

    /// Whether the server has closed it, or has sent the end of TLS, since the last answer.
    pub(crate) fn is_closed(&self) -> bool {
        let stream = self.stream.tcp();
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_open = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        !is_open || stream.set_nonblocking(false).is_err()
    }

    pub(crate) fn send(&mut self, path: &str) -> Result<(), Broken> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.stream.write_all(request.as_bytes()).map_err(|error| Broken::from(&error, 0))
    }

    /// Reads the answer, whose body has to be `id`. Returns whether the connection may be used again.
    pub(crate) fn receive(&mut self, id: &str) -> Result<bool, Broken> {
        let mut answer = Vec::new();
        loop {
            if let Some((head, body)) = split(&answer) {
                if body != id {
                    return Err(Broken::new(Reason::WrongAnswer, String::from_utf8_lossy(&answer)));
                }
                return Ok(!head.contains("Connection: close"));
            }
            let mut bytes = [0; 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Broken::from(&ErrorKind::UnexpectedEof.into(), answer.len())),
                Ok(length) => answer.extend(&bytes[..length]),
                // The system may interrupt a read that has a time limit.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::from(&error, answer.len())),
            }
        }
    }
}

/// Head and body of a complete answer.
fn split(answer: &[u8]) -> Option<(&str, &str)> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())?;
    (body.len() >= length).then(|| (head, body.trim_end()))
}
