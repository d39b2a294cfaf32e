//! HTTPS with rustls. Certificate and key are embedded in the program, so there is one file to deploy.
//!
//! ```console
//! $ cargo run --example tls_embedded
//! $ curl --cacert examples/certs/cert.pem https://localhost:8080/
//! ```

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{process, thread};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

// The master checks both before the first child, as with files.
#[prefork::main(
    cert_pem = include_bytes!("certs/cert.pem"),
    key_pem = include_bytes!("certs/key.pem"),
)]
fn serve(ln: TcpListener, cert: &[u8], key: &[u8]) -> Result<(), Box<dyn Error>> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    let config = Arc::new(config);
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
