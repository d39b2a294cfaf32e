//! HTTPS with rustls; certificate and key are files.
//!
//! ```console
//! $ cargo run --example tls_files
//! $ curl --cacert examples/certs/cert.pem https://localhost:8080/
//! ```
//!
//! A renewed certificate is taken into use without losing a connection: replace the files, then
//! `kill -HUP` the master. Every child is replaced, and the new ones read the new files.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{process, thread};

use prefork::ChildContext;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

// The master looks at both files before it starts a child: a path with a slip, or a key that belongs
// to another certificate, is one clear message and not a fleet of crashing children. Your own program
// would say `cert = "cert.pem"`; this one has to find the files from any directory.
#[prefork::main(
    cert = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem"),
    key = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/key.pem"),
    // A child counts as ready when it says so below, after it has read the files: if the new ones are
    // no good, a reload ends there, and the old children stay.
    ready = "manual",
    // Windows wants it said.
    reuseport = cfg!(windows),
)]
fn serve(ln: TcpListener, cert: &Path, key: &Path, child: ChildContext) -> Result<(), Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    let config = Arc::new(config);
    child.ready();
    for stream in ln.incoming() {
        match stream {
            Ok(stream) => {
                let config = Arc::clone(&config);
                thread::spawn(move || answer(stream, config));
            }
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    // The handshake happens on the way, when the first line is read.
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(session, stream);
    for line in BufReader::new(&mut tls).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("hello from process {}\n", process::id());
    let length = body.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    tls.write_all(response.as_bytes())?;
    // Tells the client that this was all, so that it can tell an end from a cut.
    tls.conn.send_close_notify();
    tls.flush()
}
