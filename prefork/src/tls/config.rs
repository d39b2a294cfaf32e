//! The `rustls::ServerConfig` of the options.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::crypto::{CryptoProvider, ring as fallback};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::material::{Part, TlsFiles};
use super::options::TlsOptions;
use super::tickets::{Ratchet, Tickets};
use crate::error::Error;

const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configuration of the options; `None` if they name no certificate.
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
    let crypto = provider(options);
    let (cert, key) = (files.part(cert), files.part(key));
    let client_ca = options.client_ca.as_ref().map(|origin| files.part(origin));
    let verifier = match client_ca {
        Some(part) => client_verifier(part, &crypto)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(certified_key(cert, key, &crypto)?);
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| cert.fail("its cryptography provider has no version of TLS", Some(error.into())))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = options.alpn.clone().unwrap_or_else(|| HTTP.map(<[u8]>::to_vec).into());
    config.ticketer = match tickets {
        Some(ratchet) => Arc::new(Tickets::new(ratchet, scope(cert, client_ca))),
        None => fallback::Ticketer::new()
            .map_err(|error| cert.fail("cannot make a key for session tickets", Some(error.into())))?,
    };
    Ok(Some(config))
}

/// The provider that the program gave, the one that it installed for the process, or ring.
fn provider(options: &TlsOptions) -> Arc<CryptoProvider> {
    let given = options.crypto.as_ref().or_else(|| CryptoProvider::get_default());
    given.map_or_else(|| Arc::new(fallback::default_provider()), Arc::clone)
}

/// Chain and key. They have to match.
fn certified_key(cert: Part<'_>, key: Part<'_>, crypto: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let (chain, secret) = (cert.certificates()?, key.private_key()?);
    let secret = crypto
        .key_provider
        .load_private_key(secret)
        .map_err(|error| key.fail("its private key is of no supported kind", Some(error.into())))?;
    let certified = CertifiedKey::new(chain, secret);
    match certified.keys_match() {
        // Some providers do not tell the public key. A mismatch then fails in the TLS handshake.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        // The cause says no more than that the keys differ.
        Err(rustls::Error::InconsistentKeys(_)) => {
            let partner = cert.path.map_or("the certificate".to_owned(), |path| path.display().to_string());
            Err(key.fail(format!("its private key does not belong to {partner}"), None))
        }
        Err(error) => Err(cert.fail("its certificate cannot be understood", Some(error.into()))),
    }
}

/// Requires clients to show a certificate that one of these CAs has signed.
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

/// The scope in which a ticket is valid. Neither side shows a certificate when a session is resumed, so a
/// ticket must not be valid any more once the certificate or the client CA has changed.
fn scope(cert: Part<'_>, client_ca: Option<Part<'_>>) -> [u8; 32] {
    let hash = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(hash, byte)| *hash = *byte);
        hash
    };
    // Hashes have a fixed length, so the parts cannot run into each other.
    let clients = client_ca.map_or([0; 32], |part| hash(part.pem));
    hash(&[hash(cert.pem), clients].concat())
}
