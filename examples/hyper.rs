//! hyper without a framework: an accept loop, and a task for each connection.
//!
//! ```console
//! $ cargo run --example hyper
//! $ curl http://127.0.0.1:8080/
//! ```

use std::convert::Infallible;
use std::io;
use std::process;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;

/// How long idle connections stay open after the stop request.
const LAST_CALL: Duration = Duration::from_secs(1);

// On Windows `reuseport` has to be set.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, mut shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = ln.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let child = child.clone();
        let service = service_fn(move |request| answer(request, child.clone()));
        // With a timer hyper closes a connection without a request head after 30 seconds.
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connections.watch(connection));
    }
    // There are no new connections. Open ones get some time for a last request with `Connection: close`;
    // then hyper closes the idle ones and finishes the requests in progress.
    tokio::time::sleep(LAST_CALL).await;
    connections.shutdown().await;
    Ok(())
}

async fn answer(request: Request<Incoming>, child: ChildContext) -> Result<Response<String>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let mut response = Response::new(format!("hello from process {}\n", process::id()));
    // Clients must not use the connection again. Without this header, the close of an idle connection could
    // cross the next request, which would be lost.
    if child.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
