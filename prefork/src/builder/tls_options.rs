//! Options of TLS.

use std::path::PathBuf;

use prefork_options as options;
use prefork_options::{OptionRow, Value};

use super::Prefork;
use crate::tls::{self, PemSource};

/// # TLS
impl Prefork {
    /// TLS certificate chain and private key, as paths of PEM files. The master reads and checks them
    /// at its start, and again before a reload or an upgrade.
    ///
    /// They are for a serve function that takes the paths (`&Path, &Path`) or, with the feature
    /// `rustls`, an `Arc<rustls::ServerConfig>`.
    pub fn cert_files(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.put(&options::CERT, cert.into()).put(&options::KEY, key.into())
    }

    /// TLS certificate chain and private key, as PEM text: checked in the master, handed to a
    /// serve function that takes `&[u8], &[u8]` or, with the feature `rustls`, an
    /// `Arc<rustls::ServerConfig>`.
    pub fn cert_pem(self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.put(&options::CERT_PEM, cert.as_ref().to_vec()).put(&options::KEY_PEM, key.as_ref().to_vec())
    }

    /// CA certificates for mutual TLS, a PEM file: clients must present a certificate that is signed by
    /// one of them. For a serve function that takes an `Arc<rustls::ServerConfig>`.
    ///
    /// Default: no client certificates.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn client_ca(self, path: impl Into<PathBuf>) -> Self {
        self.put(&options::CLIENT_CA, path.into())
    }

    /// [`client_ca`](Self::client_ca) as PEM text.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn client_ca_pem(self, pem: impl AsRef<[u8]>) -> Self {
        self.put(&options::CLIENT_CA_PEM, pem.as_ref().to_vec())
    }

    /// ALPN protocols, in order of preference; an empty list turns ALPN off. For a serve function that
    /// takes an `Arc<rustls::ServerConfig>`.
    ///
    /// Default: `h2` and `http/1.1`. A server without HTTP/2 has to set this option, because most
    /// clients prefer HTTP/2.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn alpn(self, protocols: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names: Vec<String> = protocols.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self.put(&options::ALPN, names)
    }

    /// The TLS options, in the form that the runtime takes.
    pub(super) fn tls_options(&self) -> tls::TlsOptions {
        tls::TlsOptions {
            cert: self.pem_source(&options::CERT),
            key: self.pem_source(&options::KEY),
            client_ca: self.pem_source(&options::CLIENT_CA),
            #[cfg(feature = "rustls")]
            alpn: self
                .get::<Vec<String>>(&options::ALPN)
                .map(|names| names.into_iter().map(String::into_bytes).collect()),
            #[cfg(feature = "rustls")]
            crypto: self.crypto_provider.clone(),
        }
    }

    fn pem_source(&self, row: &OptionRow) -> Option<PemSource> {
        match self.get::<Value>(row)? {
            Value::Path(path) => Some(PemSource::File(path)),
            Value::Pem(pem) => Some(PemSource::Embedded(pem)),
            _ => None,
        }
    }

    /// The cryptography of TLS connections, for a serve function that takes an
    /// `Arc<rustls::ServerConfig>`: aws-lc-rs, a FIPS module, or a provider with fewer cipher suites.
    ///
    /// Default: the process default ([`CryptoProvider::install_default`]) if the program has installed
    /// one before the fleet starts, for example in `init`; else rustls with ring. Session tickets are
    /// always sealed with ring, because every child must be able to open them.
    ///
    /// [`CryptoProvider::install_default`]: rustls::crypto::CryptoProvider::install_default
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn crypto_provider(mut self, provider: std::sync::Arc<rustls::crypto::CryptoProvider>) -> Self {
        self.crypto_provider = Some(provider);
        self
    }
}
