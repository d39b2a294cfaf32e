//! TLS of the client: it knows the one certificate of the benchmark, and resumes nothing.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::linux::BenchResult;
use crate::linux::contender::CERTIFICATE;

pub(crate) fn client_config() -> BenchResult<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE)?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Each connection pays for a whole handshake.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

pub(super) fn begin(config: &Arc<ClientConfig>) -> std::io::Result<ClientConnection> {
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)
}
