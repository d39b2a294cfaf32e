//! Load, on connections that stay open and others, with an account of every request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Tally;
use crate::wait;

/// A connection that is used again and again, until the server says that it wants to close it.
#[derive(Debug)]
pub struct Connection {
    addr: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// One that is opened when it is first used.
    pub fn to(addr: SocketAddr) -> Self {
        Self { addr, stream: None }
    }

    /// Asks for `path`; returns the body of the answer.
    ///
    /// # Errors
    ///
    /// Whatever the connection met. The next request opens another.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.addr, wait::LIMIT)?;
                stream.set_read_timeout(Some(wait::LIMIT))?;
                BufReader::new(stream)
            }
        };
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

/// Which clients there are, of a server that speaks HTTP.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "tests write it out")]
pub struct Mix {
    /// Clients that open a connection for each request.
    pub fresh: usize,
    /// Clients that keep theirs.
    pub kept: usize,
    /// Clients that keep theirs and ask for something slow.
    pub slow: usize,
}

/// Keeps a mix of clients busy while `meanwhile` runs; counts every request by its path.
pub fn during(addr: SocketAddr, mix: Mix, meanwhile: impl FnOnce()) -> Tally {
    of(clients(addr, mix), meanwhile)
}

/// The clients of a mix.
pub fn clients(addr: SocketAddr, mix: Mix) -> Vec<Client> {
    let client = |path: &'static str, keeps: bool| -> Client {
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

/// On Windows a child that is to go waits for a moment in which the fleet has no connection at all.
const PAUSE: Duration = Duration::from_millis(if cfg!(windows) { 100 } else { 0 });

/// A client of any protocol. Each call makes one request; the answer is counted as what it returns.
pub type Client = Box<dyn FnMut() -> io::Result<String> + Send>;

/// Keeps clients busy, each in a thread of its own, while `meanwhile` runs; counts every request.
pub fn of(clients: Vec<Client>, meanwhile: impl FnOnce()) -> Tally {
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::SeqCst);
    let busy = |mut client: Client| {
        let mut tally = Tally::default();
        while !is_over() {
            tally.count(client());
            thread::sleep(PAUSE);
        }
        tally
    };
    thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || busy(client))).collect();
        // Also when `meanwhile` panics: the scope waits for its threads.
        let done = panic::catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::SeqCst);
        let tallies = threads.into_iter().map(|thread| thread.join().expect("a client"));
        let total = tallies.fold(Tally::default(), Tally::plus);
        done.unwrap_or_else(|panic| panic::resume_unwind(panic));
        total
    })
}
