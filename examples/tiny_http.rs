//! A blocking server with tiny_http: a thread for each request, no async runtime.
//!
//! ```console
//! $ cargo run --example tiny_http
//! $ curl http://127.0.0.1:8080/
//! ```

use std::error::Error;
use std::io::{self, Cursor, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use std::{process, thread};

use prefork::Shutdown;
use tiny_http::{Method, Request, Response, Server};

#[prefork::main]
fn serve(ln: TcpListener, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = Arc::new(Server::from_listener(ln, None)?);
    let (stopped, stop) = (Arc::clone(&server), shutdown.clone());
    thread::spawn(move || {
        stop.wait();
        stopped.unblock();
    });
    // The scope ends when every received request is answered.
    thread::scope(|scope| {
        loop {
            match server.recv() {
                Ok(request) => drop(scope.spawn(|| answer(request))),
                Err(_) if shutdown.is_requested() => return Ok(()),
                // tiny_http accepts no further connections, so this child ends and is replaced.
                Err(error) => return Err(error),
            }
        }
    })?;
    // tiny_http closes no connection by itself. Connections without a request would keep this child until the
    // end of the grace period, so the process ends here.
    process::exit(0)
}

fn answer(request: Request) -> io::Result<()> {
    if request.url() == "/slow" {
        thread::sleep(Duration::from_millis(1500));
    }
    let response = Response::from_string(format!("hello from process {}\n", process::id()));
    respond_and_close(request, response)
}

/// Replaces `Request::respond`; adds `Connection: close`. A kept connection occupies a thread of tiny_http's
/// pool, and new connections would wait for one.
///
/// tiny_http removes every `Connection` header from a response, so this one is inserted afterwards.
fn respond_and_close(request: Request, response: Response<Cursor<Vec<u8>>>) -> io::Result<()> {
    let (version, no_body) = (request.http_version().clone(), *request.method() == Method::Head);
    let mut answer = Vec::new();
    response.raw_print(&mut answer, version, request.headers(), no_body, None)?;
    let status_line = answer.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    answer.splice(status_line..status_line, *b"Connection: close\r\n");
    let mut writer = request.into_writer();
    writer.write_all(&answer)?;
    writer.flush()
}
