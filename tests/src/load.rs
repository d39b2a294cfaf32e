//! Load from concurrent clients, on kept and on new connections. Every request is counted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Tally;
use crate::wait;

/// A kept connection. It is used again until an answer has `Connection: close`.
#[derive(Debug)]
pub struct Connection {
    addr: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// A connection that is opened at the first request.
    pub fn to(addr: SocketAddr) -> Self {
        Self { addr, stream: None }
    }

    /// Sends `GET path`; returns the body of the answer.
    ///
    /// # Errors
    ///
    /// Errors of the connection. The next request opens a new one.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.addr, wait::LIMIT)?;
                stream.set_read_timeout(Some(wait::LIMIT))?;
                BufReader::new(stream)
            }
        };
        // In pieces, as slow clients do: the load leaves time for the children that are started meanwhile.
        write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let head = read_head(&mut stream)?;
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| io::Error::other("no length"))?];
        stream.read_exact(&mut body)?;
        if !head.iter().any(|line| line == "connection: close") {
            self.stream = Some(stream);
        }
        Ok(String::from_utf8_lossy(&body).trim_end().to_owned())
    }
}

fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        match line.trim_end() {
            "" => return Ok(head),
            line => head.push(line.to_ascii_lowercase()),
        }
    }
}

/// The number of HTTP clients of each kind.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "tests construct it with all fields")]
pub struct ClientMix {
    /// Clients that open a new connection for each request.
    pub fresh: usize,
    /// Clients that keep their connection.
    pub kept: usize,
    /// Clients that keep their connection and send `GET /slow`.
    pub slow: usize,
}

/// Runs a mix of clients while `meanwhile` runs; counts every request by its path.
pub fn during(addr: SocketAddr, mix: ClientMix, meanwhile: impl FnOnce()) -> Tally {
    run(clients(addr, mix), meanwhile)
}

/// The clients of a mix.
pub fn clients(addr: SocketAddr, mix: ClientMix) -> Vec<LoadClient> {
    let client = |path: &'static str, keeps: bool| -> LoadClient {
        let mut connection = Connection::to(addr);
        Box::new(move || {
            if !keeps {
                connection = Connection::to(addr);
            }
            connection.get(path).map(|_| path.to_owned())
        })
    };
    let kinds = [("/", false, mix.fresh), ("/", true, mix.kept), ("/slow", true, mix.slow)];
    kinds.iter().flat_map(|(path, keeps, count)| (0..*count).map(|_| client(path, *keeps))).collect()
}

/// The pause between two requests. On Windows a stopping child waits for a moment without connections.
const PAUSE: Duration = Duration::from_millis(if cfg!(windows) { 100 } else { 0 });

/// A client of any protocol. Each call sends one request; the tally counts the returned text.
pub type LoadClient = Box<dyn FnMut() -> io::Result<String> + Send>;

/// Repeats a request whose connection was closed, on Windows only. There a server accepts until it has learnt
/// of the stop, and may close a new connection.
pub fn with_retry(mut client: LoadClient) -> LoadClient {
    let closed = [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
    let was_closed = move |error: &io::Error| cfg!(windows) && closed.contains(&error.kind());
    Box::new(move || client().or_else(|error| if was_closed(&error) { client() } else { Err(error) }))
}

/// Runs each client in its own thread while `meanwhile` runs; counts every request.
pub fn run(clients: Vec<LoadClient>, meanwhile: impl FnOnce()) -> Tally {
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::SeqCst);
    let send_requests = |mut client: LoadClient| {
        let mut tally = Tally::default();
        while !is_over() {
            tally.count(client());
            thread::sleep(PAUSE);
        }
        tally
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || send_requests(client))).collect();
        // The scope waits for its threads, so a panic of `meanwhile` must end them too.
        let done = panic::catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::SeqCst);
        let tallies = threads.into_iter().map(|thread| thread.join().expect("a client"));
        let total = tallies.fold(Tally::default(), Tally::plus);
        done.unwrap_or_else(|panic| panic::resume_unwind(panic));
        total
    })
}
