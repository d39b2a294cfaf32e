//! The servers that this program runs itself: one hyper server in several arrangements of processes.
//!
//! Each child prints a line when it serves, which is the sign that it is up.

mod by_hand;
mod fleet;
mod http;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use prefork::rustls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::BenchResult;

/// The first argument of a process that is a server.
pub(crate) const ROLE: &str = "serve";
/// What a child prints when it serves, before its pid.
pub(crate) const UP: &str = "up ";

/// The arguments of a server. They are few and fixed: what parses them is a part of the time that a child takes.
pub(crate) struct Arguments {
    arrangement: String,
    addr: SocketAddr,
    workers: usize,
    tls: Option<(PathBuf, PathBuf)>,
}

/// Runs a server if the arguments say so.
pub(crate) fn run_if_asked() -> Option<BenchResult<()>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let mut next = || arguments.next().ok_or("an argument is missing");
    let parsed = (|| -> BenchResult<Arguments> {
        let (arrangement, addr, workers) = (next()?, next()?.parse()?, next()?.parse()?);
        let tls = next().ok().zip(next().ok()).map(|(cert, key)| (cert.into(), key.into()));
        Ok(Arguments { arrangement, addr, workers, tls })
    })();
    Some(parsed.and_then(run))
}

fn run(arguments: Arguments) -> BenchResult<()> {
    match arguments.arrangement.as_str() {
        "forked" | "forked-shared" => by_hand::forked(&arguments),
        "spawned" => by_hand::spawned(&arguments),
        "spawned-child" => by_hand::spawned_child(&arguments),
        "threads" => by_hand::threads(&arguments),
        _ => fleet::run(&arguments),
    }
}

impl Arguments {
    fn acceptor(&self) -> BenchResult<Option<TlsAcceptor>> {
        let Some((cert, key)) = &self.tls else { return Ok(None) };
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(
            vec![CertificateDer::from_pem_file(cert)?],
            PrivateKeyDer::from_pem_file(key)?,
        )?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// One write, so that lines of several processes do not mix.
fn print_up() {
    // Without a reader nothing waits for the line.
    let _ = std::io::stdout().write_all(format!("{UP}{}\n", std::process::id()).as_bytes());
}
