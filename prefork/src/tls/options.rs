//! The TLS options.

use std::fmt;
use std::path::{Path, PathBuf};

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
    /// The files that the options name.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources().filter_map(|source| match source {
            PemSource::File(path) => Some(path.as_path()),
            PemSource::Embedded(_) => None,
        })
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &PemSource> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }
}

/// Where a certificate or key comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PemSource {
    File(PathBuf),
    /// PEM text in the program.
    Embedded(Vec<u8>),
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Embedded(_) => f.write_str("embedded"),
        }
    }
}

/// Does not print keys.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Embedded(_) => f.debug_struct("Embedded").finish_non_exhaustive(),
        }
    }
}
