//! Options of TLS.

use std::path::PathBuf;

use super::Prefork;
use crate::tls::Material;

/// # TLS
impl Prefork {
    /// TLS certificate chain and private key, as paths of PEM files: checked in the master,
    /// handed to a serve function that takes `&Path, &Path`.
    pub fn cert_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.serving.material = Material::Files { cert: cert.into(), key: key.into() };
        self
    }

    /// TLS certificate chain and private key, as PEM text: checked in the master, handed to a
    /// serve function that takes `&[u8], &[u8]`.
    pub fn cert_pem(mut self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.serving.material =
            Material::Embedded { cert: cert.as_ref().to_vec(), key: key.as_ref().to_vec() };
        self
    }
}
