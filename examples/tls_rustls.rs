//! HTTPS with hyper. prefork makes the TLS configuration; `serve` gets an acceptor.
//!
//! ```console
//! $ cargo run --example tls_rustls
//! $ curl --cacert examples/certs/cert.pem https://localhost:8080/
//! ```
//!
//! To renew the certificate without losing a connection, replace the files and send HUP to the master.
//! If the new files are unusable, the master logs the error and keeps the old certificate.

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

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

// The master reads both files and passes them to the children, which need no access to the key. Most
// programs say `cert = "cert.pem"`; this one finds the files from any directory.
#[prefork::main(
    cert = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem"),
    key = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/key.pem"),
    // The protocol of `http1::Builder` below. The default would offer HTTP/2 too.
    alpn = ["http/1.1"],
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
        // The task does the handshake, so that a slow client does not block the accept loop.
        tokio::spawn(serve_connection(stream, acceptor.clone(), connections.watcher(), child.clone()));
    }
    // hyper closes idle connections and finishes the requests in progress.
    connections.shutdown().await;
    Ok(())
}

async fn serve_connection(stream: TcpStream, acceptor: TlsAcceptor, watcher: Watcher, child: ChildContext) {
    // A failed or late handshake closes the connection.
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let service = service_fn(|_request| std::future::ready(Ok::<_, Infallible>(answer(&child))));
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // An error of the connection ends this task only.
    let _ = watcher.watch(connection).await;
}

fn answer(child: &ChildContext) -> Response<String> {
    let mut response = Response::new(format!("hello from process {}\n", process::id()));
    // Clients must not use the connection again.
    if child.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
