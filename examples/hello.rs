//! A server of one process per core that answers HTTP, with nothing but std.
//!
//! ```console
//! $ cargo run --example hello
//! $ curl http://127.0.0.1:8080/
//! ```
//!
//! There is no `main` here: the attribute writes it. It reads the address from `PREFORK_ADDR` and
//! the number of processes from `PREFORK_WORKERS`; without them it listens on 127.0.0.1:8080 and
//! starts a process for each core.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::Duration;

/// How long a client may take to say what it wants. Browsers open connections that they never use;
/// a process that is to stop would wait for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs in every child. The master opened the listener and has handed it over. On Windows a server has
/// to say `reuseport`; without it, as elsewhere here, all children share one socket.
#[prefork::main(reuseport = cfg!(windows))]
fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in ln.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || answer(stream))),
            // Clients hang up, and descriptors run out: neither is a reason to stop. The pause keeps
            // the second one from turning into a busy loop.
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

/// Answers one request, and closes the connection: `Connection: close` says so.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // The head ends with an empty line. A real server would also limit its size, and read the body.
    for line in BufReader::new(&stream).lines() {
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
