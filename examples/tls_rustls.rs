//! HTTPS with hyper: the fleet makes the TLS configuration, `serve` gets an acceptor.
//!
//! ```console
//! $ cargo run --example tls_rustls
//! $ curl --cacert examples/certs/cert.pem https://localhost:8080/
//! ```
//!
//! A renewed certificate is taken into use without losing a connection: replace the files, then
//! `kill -HUP` the master. If the new ones are no good the master says so, and nothing changes.

use std::convert::Infallible;
use std::io;
use std::process;
use std::time::Duration;

use hyper::Response;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use prefork::tokio_rustls::TlsAcceptor;
use prefork::{ChildContext, Shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long a client may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long connections that wait for another request are kept once this child is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// The master reads both files, and hands them to the children: these need no access to the key. Your
// own program would say `cert = "cert.pem"`; this one has to find the files from any directory.
#[prefork::main(
    cert = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem"),
    key = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/key.pem"),
    // What is spoken below. Without this, clients would be offered HTTP/2 too.
    alpn = ["http/1.1"],
    reuseport = cfg!(windows),
)]
async fn serve(
    ln: TcpListener,
    acceptor: TlsAcceptor,
    mut shutdown: Shutdown,
    child: ChildContext,
) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = ln.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // The handshake is in there: one slow client would keep all others waiting here.
        tokio::spawn(converse(stream, acceptor.clone(), connections.watcher(), child.clone()));
    }
    sleep(LAST_CALL).await;
    connections.shutdown().await;
    Ok(())
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, watcher: Watcher, child: ChildContext) {
    // Who gives up, or never begins, is no concern of ours.
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let service = service_fn(|_request| std::future::ready(Ok::<_, Infallible>(answer(&child))));
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // Nor is who leaves in the middle.
    let _ = watcher.watch(connection).await;
}

fn answer(child: &ChildContext) -> Response<String> {
    let mut response = Response::new(format!("hello from process {}\n", process::id()));
    // Clients that keep their connection are told not to use it again.
    if child.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
