//! A server that gets its TLS configuration from prefork. The option `form` selects the argument:
//! `blocking` takes a `ServerConfig`, `async` a `TlsAcceptor`, `plain` none. The options `cert`, `key` and
//! `client_ca` are paths; with `embedded` the contents of these files are passed in place of the paths. With
//! `provider` the cryptography says when it loads a key: `given` to the builder, or `installed` for the
//! process.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic in a server under test fails the test")]

use std::env;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use prefork::rustls::crypto::{CryptoProvider, KeyProvider, ring};
use prefork::rustls::pki_types::PrivateKeyDer;
use prefork::rustls::sign::SigningKey;
use prefork::rustls::{self, ServerConfig, ServerConnection, StreamOwned};
use prefork::tokio_rustls::TlsAcceptor;
use prefork::{ChildContext, Prefork};
use prefork_tests::app;
use tokio::io::AsyncWriteExt;

fn main() -> ExitCode {
    app::start(match app::option("form").as_deref() {
        Some("async") => with_tls(app::builder(serve_async)),
        Some("plain") => with_tls(app::builder(serve_plain)),
        _ => with_tls(app::builder(serve)),
    })
}

fn with_tls(mut fleet: Prefork) -> Prefork {
    let embedded = app::option("embedded").is_some();
    let read = |path: &str| fs::read(path).expect("a file to embed");
    fleet = match (app::option("cert"), app::option("key")) {
        (Some(cert), Some(key)) if embedded => fleet.cert_pem(read(&cert), read(&key)),
        (Some(cert), Some(key)) => fleet.cert_files(cert, key),
        _ => fleet,
    };
    fleet = match app::option("client_ca") {
        Some(ca) if embedded => fleet.client_ca_pem(read(&ca)),
        Some(ca) => fleet.client_ca(ca),
        None => fleet,
    };
    fleet = match app::option("provider").as_deref() {
        Some("given") => fleet.crypto_provider(Arc::new(talkative())),
        Some(_) => {
            talkative().install_default().expect("the only one");
            fleet
        }
        None => fleet,
    };
    match app::option("alpn") {
        Some(names) => fleet.alpn(names.split(',').filter(|name| !name.is_empty())),
        None => fleet,
    }
}

/// A key provider that says when it loads a key.
#[derive(Debug)]
struct Talkative(&'static dyn KeyProvider);

impl KeyProvider for Talkative {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        app::print_error(&format!("key loaded, in a child: {}", prefork::is_child()));
        self.0.load_private_key(key)
    }
}

fn talkative() -> CryptoProvider {
    let ring = ring::default_provider();
    CryptoProvider { key_provider: Box::leak(Box::new(Talkative(ring.key_provider))), ..ring }
}

fn serve_plain(_: TcpListener) {}

fn serve(ln: TcpListener, child: ChildContext, config: Arc<ServerConfig>, _: app::Booted) -> io::Result<()> {
    assert!(!reveals_a_secret(), "child {}", child.slot());
    for stream in app::incoming(&ln) {
        let (stream, config) = (stream?, Arc::clone(&config));
        thread::spawn(move || answer(stream, config));
    }
    Ok(())
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    app::answer(&mut stream)?;
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).map(drop)
}

async fn serve_async(ln: tokio::net::TcpListener, acceptor: TlsAcceptor, _: app::Booted) -> io::Result<()> {
    loop {
        let (stream, _) = ln.accept().await?;
        tokio::spawn(answer_async(acceptor.clone(), stream));
    }
}

async fn answer_async(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tokio::time::timeout(Duration::from_secs(30), acceptor.accept(stream)).await??;
    if app::read_request(&mut stream).await?.is_none() {
        return Ok(());
    }
    stream.write_all(format!("{}{}\n", app::head(), std::process::id()).as_bytes()).await?;
    stream.shutdown().await
}

/// Whether the environment or the command line of this process contains a private key.
fn reveals_a_secret() -> bool {
    env::vars().map(|(_, value)| value).chain(env::args()).any(|text| text.contains("PRIVATE KEY"))
}
