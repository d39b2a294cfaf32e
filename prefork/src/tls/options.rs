//! The TLS options.

use super::material::PemSource;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    pub(crate) cert: Option<PemSource>,
    pub(crate) key: Option<PemSource>,
    /// The CA certificates for mutual TLS.
    pub(crate) client_ca: Option<PemSource>,
    /// ALPN protocols, in order of preference; unset: those of HTTP.
    #[cfg(feature = "rustls")]
    pub(crate) alpn: Option<Vec<Vec<u8>>>,
    /// The cryptography; unset: the process default, or ring.
    #[cfg(feature = "rustls")]
    pub(crate) crypto: Option<std::sync::Arc<rustls::crypto::CryptoProvider>>,
}

impl TlsOptions {
    pub(super) fn sources(&self) -> impl Iterator<Item = &PemSource> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }
}
