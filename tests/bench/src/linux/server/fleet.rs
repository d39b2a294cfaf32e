//! Arrangements of prefork.

use std::io;

use prefork::{FairShare, Prefork, Preloaded, Shutdown};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Arguments, http, print_up};
use crate::linux::BenchResult;

pub(super) fn run(arguments: &Arguments) -> BenchResult<()> {
    let fleet = match (arguments.arrangement.as_str(), &arguments.tls) {
        ("prefork-fair", _) => Prefork::new(serve_fair),
        ("prefork-preload", _) => Prefork::new(serve_preloaded).preload(load),
        (_, Some((cert, key))) => Prefork::new(serve_tls).cert_files(cert, key),
        _ => Prefork::new(serve),
    };
    let reuseport = arguments.arrangement == "prefork-reuseport";
    Ok(fleet
        .addr(arguments.addr.to_string())
        .workers(arguments.workers)
        .reuseport(reuseport)
        .environment(false)
        .run()?)
}

/// A fork copies what is there: the time for data of other sizes is measured by `prefork/benches/preload.rs`.
fn load() -> Vec<u8> {
    vec![1; 1 << 20]
}

async fn serve(listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    print_up();
    http::serve(listener, None, shutdown).await
}

async fn serve_fair(listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    print_up();
    http::serve_share(listener, None, Some(FairShare::new(&http::OPEN)), shutdown).await
}

async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, shutdown: Shutdown) -> io::Result<()> {
    print_up();
    http::serve(listener, Some(tls), shutdown).await
}

async fn serve_preloaded(
    listener: TcpListener,
    data: Preloaded<Vec<u8>>,
    shutdown: Shutdown,
) -> io::Result<()> {
    assert_eq!(data.first(), Some(&1));
    print_up();
    http::serve(listener, None, shutdown).await
}
