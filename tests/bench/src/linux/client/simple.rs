//! Blocking requests: whether a server is up, which process answers, and connections that are held.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::linux::BenchResult;

const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two attempts to connect, so that the attempts take little from the server.
const PAUSE: Duration = Duration::from_micros(300);

/// A connection that is kept.
pub(crate) struct Held(TcpStream);

impl Held {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    pub(crate) fn send(&mut self, path: &str) -> io::Result<()> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    /// The body of the answer, which has to be short.
    pub(crate) fn receive(&mut self) -> io::Result<String> {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&buffer[..length]);
            if let Some(body) = complete_body(&String::from_utf8_lossy(&answer)) {
                return Ok(body);
            }
        }
    }

    /// The pid of the process that serves this connection.
    pub(crate) fn pid(&mut self) -> BenchResult<u32> {
        self.send("/pid")?;
        Ok(self.receive()?.trim().parse()?)
    }
}

fn complete_body(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    (body.len() >= length.trim().parse().ok()?).then(|| body.to_owned())
}

/// Whether a server answers.
fn answers(addr: SocketAddr) -> bool {
    Held::open(addr).is_ok_and(|mut held| held.send("/1k").is_ok() && held.receive().is_ok())
}

/// Waits until a server answers.
pub(crate) fn is_up(addr: SocketAddr, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if answers(addr) {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

/// The processes that answer requests which arrive together, once for each request.
pub(crate) fn ask_pids(addr: SocketAddr, count: usize) -> Vec<u32> {
    let mut held: Vec<Held> = (0..count).filter_map(|_| Held::open(addr).ok()).collect();
    held.retain_mut(|held| held.send("/pid").is_ok());
    held.iter_mut().filter_map(|held| held.receive().ok()?.trim().parse().ok()).collect()
}
