//! Certificate and key: where they come from, and whether they are any good.
//!
//! The master looks at them once, before it starts a child, so that a typing error in a path is one
//! line and not a fleet of crashing children. It never holds on to them.

use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// The TLS options. Always certificate first, then key.
#[derive(Debug, Clone, Default)]
pub(crate) enum Material {
    #[default]
    None,
    Files {
        cert: PathBuf,
        key: PathBuf,
    },
    Embedded {
        cert: Vec<u8>,
        key: Vec<u8>,
    },
}

impl Material {
    /// Reads and checks both parts.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::None => Ok(()),
            Self::Files { cert, key } => {
                let cert_pem = read(cert)?;
                let key_pem = read(key)?;
                check_pair((&cert_pem, Some(cert)), (&key_pem, Some(key)))
            }
            Self::Embedded { cert, key } => check_pair((cert, None), (key, None)),
        }
    }
}

/// PEM text and the file it came from.
type Part<'a> = (&'a [u8], Option<&'a Path>);

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Tls {
        path: Some(path.to_owned()),
        reason: "it cannot be read".to_owned(),
        source: Some(source.into()),
    })
}

fn check_pair(cert: Part<'_>, key: Part<'_>) -> Result<(), Error> {
    let chain = CertificateDer::pem_slice_iter(cert.0)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_pem(cert, "certificate", error))?;
    if chain.is_empty() {
        return Err(bad_pem(cert, "certificate", pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_slice(key.0).map_err(|error| bad_pem(key, "private key", error))?;
    check_match(chain, secret, cert, key)
}

fn bad_pem(part: Part<'_>, wanted: &str, error: pem::Error) -> Error {
    let (reason, source) = match error {
        pem::Error::NoItemsFound => (format!("it holds no {wanted} in PEM form"), None),
        error => (format!("its {wanted} is not valid PEM"), Some(error.into())),
    };
    Error::Tls { path: part.1.map(Path::to_owned), reason, source }
}

/// Whether the key belongs to the first certificate of the chain.
#[cfg(feature = "rustls")]
fn check_match(
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
    cert: Part<'_>,
    key: Part<'_>,
) -> Result<(), Error> {
    use rustls::sign::CertifiedKey;

    let fail = |part: Part<'_>, reason: String, error: rustls::Error| {
        Err(Error::Tls { path: part.1.map(Path::to_owned), reason, source: Some(error.into()) })
    };
    let secret = match rustls::crypto::ring::sign::any_supported_type(&secret) {
        Ok(secret) => secret,
        Err(error) => return fail(key, "its private key is of no kind that is supported".to_owned(), error),
    };
    match CertifiedKey::new(chain, secret).keys_match() {
        // An exotic key whose public half cannot be told is the handshake's business.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(error @ rustls::Error::InconsistentKeys(_)) => {
            let partner = cert.1.map_or("the certificate".to_owned(), |path| path.display().to_string());
            fail(key, format!("its private key does not belong to {partner}"), error)
        }
        Err(error) => fail(cert, "its certificate cannot be understood".to_owned(), error),
    }
}

/// Without the feature `rustls` nothing here can do the arithmetic; the handshake will.
#[cfg(not(feature = "rustls"))]
fn check_match(
    _chain: Vec<CertificateDer<'static>>,
    _secret: PrivateKeyDer<'static>,
    _cert: Part<'_>,
    _key: Part<'_>,
) -> Result<(), Error> {
    Ok(())
}
