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
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prefork::{ChildContext, ConnectionCloseLayer, Shutdown};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

#[prefork::main]
async fn serve(ln: TcpListener, mut shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    // Tells clients that keep their connection not to use it again once this child stops.
    let service = ServiceBuilder::new().layer(ConnectionCloseLayer::new(&child)).service(service_fn(answer));
    let service = TowerToHyperService::new(service);
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
        // With a timer hyper closes a connection without a request head after 30 seconds.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connections.watch(connection));
    }
    // hyper closes idle connections and finishes the requests in progress.
    connections.shutdown().await;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    Ok(Response::new(format!("hello from process {}\n", process::id())))
}
