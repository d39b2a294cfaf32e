//! Options of TLS.

use std::path::PathBuf;

use super::Prefork;
use crate::tls::PemSource;

/// # TLS
impl Prefork {
    /// TLS certificate chain and private key, as paths of PEM files. The master reads and checks them
    /// at its start, and again before a reload or an upgrade.
    ///
    /// They are for a serve function that takes the paths (`&Path, &Path`) or, with the feature
    /// `rustls`, an `Arc<rustls::ServerConfig>`.
    pub fn cert_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.note_author("cert");
        self.note_author("key");
        self.serving.tls.cert = Some(PemSource::File(cert.into()));
        self.serving.tls.key = Some(PemSource::File(key.into()));
        self
    }

    /// TLS certificate chain and private key, as PEM text: checked in the master, handed to a
    /// serve function that takes `&[u8], &[u8]` or, with the feature `rustls`, an
    /// `Arc<rustls::ServerConfig>`.
    pub fn cert_pem(mut self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.note_author("cert");
        self.note_author("key");
        self.serving.tls.cert = Some(PemSource::Embedded(cert.as_ref().to_vec()));
        self.serving.tls.key = Some(PemSource::Embedded(key.as_ref().to_vec()));
        self
    }

    /// Who vouches for clients: a PEM file of certificates. A client then has to show one that is
    /// signed by one of these. For a serve function that takes an `Arc<rustls::ServerConfig>`.
    ///
    /// Default: clients show nothing.
    #[cfg(feature = "rustls")]
    pub fn client_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.note_author("client_ca");
        self.serving.tls.client_ca = Some(PemSource::File(path.into()));
        self
    }

    /// [`client_ca`](Self::client_ca) as PEM text.
    #[cfg(feature = "rustls")]
    pub fn client_ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.note_author("client_ca");
        self.serving.tls.client_ca = Some(PemSource::Embedded(pem.as_ref().to_vec()));
        self
    }

    /// The protocols that the server speaks over TLS (ALPN), the most wanted first; with none, clients
    /// are told nothing. For a serve function that takes an `Arc<rustls::ServerConfig>`.
    ///
    /// Default: `h2` and `http/1.1`. A server that speaks no HTTP/2 has to say so here, for most
    /// clients prefer it.
    #[cfg(feature = "rustls")]
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let option = self.note_author("alpn");
        let mut names = Vec::new();
        for protocol in protocols {
            let name = protocol.as_ref();
            if !(1..=255).contains(&name.len()) {
                self.refuse(super::value::bad(option, name, "names of 1 to 255 bytes, such as `http/1.1`"));
            }
            names.push(name.as_bytes().to_vec());
        }
        self.serving.tls.alpn = Some(names);
        self
    }
}
