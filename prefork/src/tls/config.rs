//! From material to what rustls serves by.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::TlsOptions;
use super::material::{Part, TlsFiles};
use super::tickets::{Ratchet, Tickets};
use crate::error::Error;

const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configuration that the options ask for; `None` if they name no certificate.
///
/// # Errors
///
/// [`Error::Tls`], naming the part at fault.
pub(super) fn build(
    options: &TlsOptions,
    files: &TlsFiles,
    tickets: Option<Ratchet>,
) -> Result<Option<ServerConfig>, Error> {
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else { return Ok(None) };
    let crypto = Arc::new(provider::default_provider());
    let (cert, key) = (files.part(cert), files.part(key));
    let client_ca = options.client_ca.as_ref().map(|origin| files.part(origin));
    let verifier = match client_ca {
        Some(part) => client_verifier(part, &crypto)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(certified_key(cert, key, &crypto)?);
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| cert.fail("no version of TLS goes with it", Some(error.into())))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = options.alpn.clone().unwrap_or_else(|| HTTP.map(<[u8]>::to_vec).into());
    config.ticketer = match tickets {
        Some(ratchet) => Arc::new(Tickets::new(ratchet, scope(cert, client_ca))),
        None => provider::Ticketer::new()
            .map_err(|error| cert.fail("no key for session tickets can be made", Some(error.into())))?,
    };
    Ok(Some(config))
}

/// Chain and key, which have to belong together.
fn certified_key(cert: Part<'_>, key: Part<'_>, crypto: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let (chain, secret) = (cert.certificates()?, key.private_key()?);
    let secret = crypto
        .key_provider
        .load_private_key(secret)
        .map_err(|error| key.fail("its private key is of no kind that is supported", Some(error.into())))?;
    let certified = CertifiedKey::new(chain, secret);
    match certified.keys_match() {
        // An exotic key whose public half cannot be told is the handshake's business.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error @ rustls::Error::InconsistentKeys(_)) => {
            let partner = cert.path.map_or("the certificate".to_owned(), |path| path.display().to_string());
            Err(key.fail(format!("its private key does not belong to {partner}"), Some(error.into())))
        }
        Err(error) => Err(cert.fail("its certificate cannot be understood", Some(error.into()))),
    }
}

/// Whoever connects has to show a certificate that one of these has signed.
fn client_verifier(
    part: Part<'_>,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for root in part.certificates()? {
        roots
            .add(root)
            .map_err(|error| part.fail("its certificate cannot be understood", Some(error.into())))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto))
        .build()
        .map_err(|error| part.fail("clients cannot be checked by it", Some(error.into())))
}

/// What a ticket is good for. Whoever resumes a session is shown no certificate, and shows none: so a
/// ticket from before either side's was changed must not open after it.
fn scope(cert: Part<'_>, client_ca: Option<Part<'_>>) -> [u8; 32] {
    let hash = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(hash, byte)| *hash = *byte);
        hash
    };
    // Hashes of hashes: where one part ends and the next begins is beyond doubt.
    let clients = client_ca.map_or([0; 32], |part| hash(part.pem));
    hash(&[hash(cert.pem), clients].concat())
}
