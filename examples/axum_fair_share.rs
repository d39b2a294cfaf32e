//! An axum application whose connections last, on a socket that its children share: those with fewer connections accept
//! first. Where `reuseport` can be used, that is simpler.
//!
//! ```console
//! $ cargo run --example axum_fair_share
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::Listener;
use prefork::shared::{Gauge, Held};
use prefork::{ChildContext, ConnectionCloseLayer, FairShare, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What the children compare. `Gauge::total` is the number of the whole fleet.
static OPEN: Gauge = Gauge::new("app_open_connections", "Open connections");
static SHARE: FairShare = FairShare::new(&OPEN);

#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let app = Router::new()
        .route("/", get(hello))
        .route("/slow", get(slow))
        // Tells clients that keep their connection not to use it again once this child stops.
        .layer(ConnectionCloseLayer::new(&child));
    axum::serve(FairListener(ln), app).with_graceful_shutdown(shutdown).await
}

/// A listener that leaves connections to children with fewer.
struct FairListener(TcpListener);

impl Listener for FairListener {
    type Io = CountedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CountedStream, SocketAddr) {
        // axum's `accept` waits a moment after an error, such as a lack of descriptors, and tries again.
        let (stream, addr) = SHARE.accept(Listener::accept(&mut self.0)).await;
        (CountedStream { stream, _held: OPEN.hold() }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection, counted until it is closed, also if it becomes a WebSocket.
struct CountedStream {
    stream: TcpStream,
    _held: Held<'static>,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    // Head and body of an answer in one system call.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

async fn hello() -> String {
    format!("hello from process {} with {} of {} connections\n", process::id(), OPEN.own(), OPEN.total())
}

async fn slow() -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    hello().await
}
