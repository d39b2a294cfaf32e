//! A sync server with tiny_http: a thread for each request, no runtime.
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

/// How long connections that were opened just now have for their request once this child is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// Windows wants `reuseport` said.
#[prefork::main(reuseport = cfg!(windows))]
fn serve(ln: TcpListener, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = Arc::new(Server::from_listener(ln, None)?);
    let (stopped, stop) = (Arc::clone(&server), shutdown.clone());
    thread::spawn(move || {
        stop.wait();
        thread::sleep(LAST_CALL);
        stopped.unblock();
    });
    // The scope ends when every request that was received has been answered.
    thread::scope(|scope| {
        loop {
            match server.recv() {
                Ok(request) => drop(scope.spawn(|| answer(request))),
                Err(_) if shutdown.is_requested() => return Ok(()),
                // tiny_http accepts nothing any more: another child has to take over.
                Err(error) => return Err(error),
            }
        }
    })?;
    // tiny_http closes no connection by itself. Those on which no request came would hold this child
    // until the grace period is over; they end with the process.
    process::exit(0)
}

fn answer(request: Request) -> io::Result<()> {
    if request.url() == "/slow" {
        thread::sleep(Duration::from_millis(1500));
    }
    let response = Response::from_string(format!("hello from process {}\n", process::id()));
    respond_and_close(request, response)
}

/// In place of `Request::respond`: tells the client not to use its connection again. As long as one is
/// kept it takes a thread of tiny_http's pool, for which connections that come in together then wait.
///
/// tiny_http drops every header `Connection` that it is given, so this one is put in afterwards.
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
