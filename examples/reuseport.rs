//! A socket for each child: the kernel distributes new connections evenly. Children that share one socket
//! compete for connections instead.
//!
//! ```console
//! $ cargo run --example reuseport
//! $ for i in $(seq 20); do curl -s http://127.0.0.1:8080/; done | sort | uniq -c
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::Duration;

use prefork::ChildContext;

// Four children on any machine. Five failures within a minute are recovered, a sixth one ends the server.
#[prefork::main(reuseport, workers = 4, recover = 5, recover_window = "60s")]
fn serve(ln: TcpListener, child: ChildContext) -> io::Result<()> {
    for stream in ln.incoming() {
        match stream {
            Ok(stream) => {
                let child = child.clone();
                thread::spawn(move || answer(stream, &child));
            }
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, child: &ChildContext) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    // A failed child is replaced by a child in the same slot, which gets the same socket and the connections
    // in its queue.
    let (slot, fleet) = (child.slot(), child.fleet_size());
    let body = format!("hello from process {} in slot {slot} of {fleet}\n", process::id());
    let length = body.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(response.as_bytes())
}
