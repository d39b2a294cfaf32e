//! HTTPS with rustls. Certificate and key are files.
//!
//! ```console
//! $ cargo run --example tls_files
//! $ curl --cacert examples/certs/cert.pem https://localhost:8080/
//! ```
//!
//! To renew the certificate without losing a connection, replace the files and send HUP to the master.
//! New children read the new files and replace the old ones.

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

// The master checks both files before the first child. A wrong path, or a key of another certificate, is one
// error message. Most programs say `cert = "cert.pem"`; this one finds the files from any directory.
#[prefork::main(
    cert = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert.pem"),
    key = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/key.pem"),
    // A child is ready when it calls `ready`, after it has read the files. If the new files are unusable, the
    // reload is aborted and the old children stay.
    ready = "manual",
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
    // The handshake happens when the first line is read.
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
    // With close_notify the client can distinguish the end of the answer from a truncation.
    tls.conn.send_close_notify();
    tls.flush()
}
