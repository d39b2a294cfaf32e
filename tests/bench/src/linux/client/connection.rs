//! One connection of the load generator.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::{ClientConnection, StreamOwned};

use super::{Load, tls};

enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut(),
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Step {
    /// The socket has to become ready first.
    Pending,
    Answered(Instant),
    Failed(Failure),
}

#[derive(Debug)]
pub(super) enum Failure {
    Refused,
    /// Closed between two requests, or before the first byte of an answer on a connection that had been used.
    Closed,
    Lost(String),
}

/// A connection and its request in progress.
pub(super) struct Connection {
    transport: Transport,
    started: Instant,
    sent: usize,
    head: Vec<u8>,
    /// The bytes of the body that are missing, once the head is complete.
    missing: Option<usize>,
    /// The server closes the connection after the answer.
    until_closed: bool,
    answered_before: bool,
}

impl Connection {
    pub(super) fn open(load: &Load, registry: &Registry, place: usize) -> io::Result<Self> {
        let started = Instant::now();
        let mut stream = TcpStream::connect(load.addr)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        let transport = match &load.tls {
            None => Transport::Plain(stream),
            Some(config) => Transport::Tls(Box::new(StreamOwned::new(tls::begin(config)?, stream))),
        };
        let (head, until_closed) = (Vec::new(), load.fresh);
        Ok(Self { transport, started, sent: 0, head, missing: None, until_closed, answered_before: false })
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Whether this connection has had no answer before.
    pub(super) fn is_new(&self) -> bool {
        !self.answered_before
    }

    /// The next request on this connection.
    pub(super) fn again(&mut self, now: Instant) {
        (self.started, self.sent, self.missing, self.answered_before) = (now, 0, None, true);
        self.head.clear();
    }

    /// Sends and reads what can be sent and read now.
    pub(super) fn advance(&mut self, request: &[u8], buffer: &mut [u8]) -> Step {
        match self.try_advance(request, buffer) {
            Ok(true) => Step::Answered(Instant::now()),
            Ok(false) => Step::Pending,
            Err(error) => Step::Failed(self.failure(&error)),
        }
    }

    fn failure(&mut self, error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            _ if self.answered_before && self.head.is_empty() => Failure::Closed,
            _ => Failure::Lost(error.to_string()),
        }
    }

    fn try_advance(&mut self, request: &[u8], buffer: &mut [u8]) -> io::Result<bool> {
        if let Some(error) =
            (self.sent == 0).then(|| self.transport.socket().take_error()).transpose()?.flatten()
        {
            return Err(error);
        }
        while self.sent < request.len() {
            match self.transport.write(&request[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.sent += length,
                Err(error) if is_pending(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        loop {
            match self.transport.read(buffer) {
                Ok(0) if self.missing == Some(0) => return Ok(true),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    if self.take(&buffer[..length])? && !self.until_closed {
                        return Ok(true);
                    }
                }
                Err(error) if is_pending(&error) => return Ok(false),
                // A server may close TLS without saying so.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.missing == Some(0) => {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the answer is complete.
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        if self.missing.is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(false);
            };
            self.missing = Some(body_length(&self.head[..end])?);
            bytes = &bytes[end + 4 - before..];
        }
        let missing = self.missing.unwrap_or_default();
        self.missing = Some(missing.checked_sub(bytes.len()).ok_or(ErrorKind::InvalidData)?);
        Ok(self.missing == Some(0))
    }
}

fn is_pending(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

/// The length of the body that the head of a good answer tells.
fn body_length(head: &[u8]) -> io::Result<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(io::Error::other(format!("an answer {:?}", head.lines().next())));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length
        .and_then(|length| length.trim().parse().ok())
        .ok_or_else(|| io::Error::other("an answer without its length"))
}
