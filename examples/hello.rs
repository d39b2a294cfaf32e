//! A server of one process for each core that answers HTTP, with nothing but std.
//!
//! ```console
//! $ cargo run --example hello
//! $ curl http://127.0.0.1:8080/
//! ```
//!
//! The attribute generates `main`. It reads the address from `PREFORK_ADDR` and the number of processes from
//! `PREFORK_WORKERS`; without them it listens on 127.0.0.1:8080 and starts a process for each core.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::Duration;

/// The longest time that a client may be silent. Browsers open connections that they never use; without a
/// limit, a stop would wait for them.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest head of a request.
const MAX_HEAD: u64 = 16 * 1024;

/// Runs in every child. The master opened the listener and has handed it over; all children share it.
#[prefork::main]
fn serve(ln: TcpListener) {
    for stream in ln.incoming() {
        let served = stream.and_then(|stream| thread::Builder::new().spawn(|| answer(stream)));
        // Clients reset connections, and descriptors and threads run out: none of it is a reason to stop. The
        // pause prevents a busy loop in the latter two cases.
        if let Err(error) = served {
            eprintln!("cannot serve a connection: {error}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Answers one request with `Connection: close`, and closes the connection. An error ends this connection
/// only.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    // The head ends with an empty line. A real server also reads the body.
    for line in BufReader::new((&stream).take(MAX_HEAD)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("hello from process {}\n", process::id());
    let length = body.len();
    // In one piece: each `write!` to a socket can become a packet of its own.
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(response.as_bytes())
}
