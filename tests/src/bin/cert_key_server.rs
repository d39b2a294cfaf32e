//! A TLS server whose serve function takes certificate and key. The options `cert` and `key` are paths;
//! `form` selects how the fleet gets them: `files`, `embedded`, or `forgotten` (not at all).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a server under test fails the test"
)]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use prefork_tests::app;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn main() -> ExitCode {
    let path = |name| app::option(name).expect("a path");
    let addr = path("addr");
    app::finish(match path("form").as_str() {
        "files" => app::builder(serve_files).listen_and_serve_tls(addr, path("cert"), path("key")),
        "embedded" => {
            let read = |name| fs::read(path(name)).expect("a file to embed");
            app::builder(serve_embedded).listen_and_serve_tls_embed(addr, read("cert"), read("key"))
        }
        "forgotten" => app::builder(serve_files).listen_and_serve(addr),
        form => panic!("unknown form: {form}"),
    })
}

fn serve_files(ln: TcpListener, cert: &Path, key: &Path) -> io::Result<()> {
    serve(&ln, &fs::read(cert)?, &fs::read(key)?)
}

fn serve_embedded(ln: TcpListener, cert: &[u8], key: &[u8]) -> io::Result<()> {
    serve(&ln, cert, key)
}

fn serve(ln: &TcpListener, cert: &[u8], key: &[u8]) -> io::Result<()> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let config = Arc::new(config.map_err(io::Error::other)?);
    for stream in app::incoming(ln) {
        let stream = stream?;
        let config = Arc::clone(&config);
        thread::spawn(move || answer(stream, config));
    }
    Ok(())
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    app::answer(&mut stream)?;
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).map(drop)
}
