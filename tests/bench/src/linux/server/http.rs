//! The hyper server: the same code in every arrangement.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use prefork::FairShare;
use prefork::shared::{Gauge, Held};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

static SMALL: [u8; 1024] = [b'x'; 1024];
static LARGE: [u8; 100 * 1024] = [b'x'; 100 * 1024];

/// The connections of children that accept by their share.
pub(super) static OPEN: Gauge = Gauge::new("bench_open_connections", "Open connections");

pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_share(listener, tls, None, stop).await
}

pub(super) async fn serve_share(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    share: Option<FairShare>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = accept(&listener, share.as_ref()) => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // A client has gone again, or no descriptor is free.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let held = share.is_some().then(|| OPEN.hold());
        start(stream, held, tls.clone(), &connections);
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

async fn accept(listener: &TcpListener, share: Option<&FairShare>) -> io::Result<(TcpStream, SocketAddr)> {
    match share {
        Some(share) => share.accept(listener.accept()).await,
        None => listener.accept().await,
    }
}

fn start(
    stream: TcpStream,
    held: Option<Held<'static>>,
    tls: Option<TlsAcceptor>,
    connections: &GracefulShutdown,
) {
    let _ = stream.set_nodelay(true);
    let watcher = connections.watcher();
    // Errors end one connection: its client has gone.
    match tls {
        None => {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let connection = watcher.watch(connection);
            drop(tokio::spawn(async move {
                let _held = held;
                connection.await
            }));
        }
        Some(tls) => drop(tokio::spawn(async move {
            let _held = held;
            let Ok(stream) = tls.accept(stream).await else { return };
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = watcher.watch(connection).await;
        })),
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/100k" => Bytes::from_static(&LARGE),
        "/pid" => Bytes::from(std::process::id().to_string()),
        _ => Bytes::from_static(&SMALL),
    };
    Ok(Response::new(Full::new(body)))
}
