//! TLS: what the options name, what is read of it, and what becomes of that.
//!
//! - `material.rs`: certificate, key and the clients' authorities, read and checked
//! - `store.rs`: what the master keeps of that, for the children and for its own successor
//! - `config.rs`, `tickets.rs`, `validity.rs` (feature `rustls`): the `rustls::ServerConfig`, session
//!   tickets that every child can open, and the time in which a certificate is valid
//!
//! The files are the master's to read, once for each generation: at its start, and before a reload or
//! an upgrade starts anything. The children of a generation get what it read over the handshake. So a
//! child needs no access to the key's file, a crashed child's successor serves what its siblings
//! serve, and a file that is no good hurts nobody.

#[cfg(feature = "rustls")]
mod config;
mod material;
mod store;
#[cfg(feature = "rustls")]
mod tickets;
#[cfg(feature = "rustls")]
mod validity;

use std::fmt;

pub(crate) use material::{PemSource, TlsFiles};
pub(crate) use store::{TlsSecrets, TlsStore};

use crate::error::Error;

/// The TLS options.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    pub(crate) cert: Option<PemSource>,
    pub(crate) key: Option<PemSource>,
    /// Whose certificates clients have to show.
    pub(crate) client_ca: Option<PemSource>,
    /// What the connection can be used for, the most wanted first; unset: HTTP.
    #[cfg(feature = "rustls")]
    pub(crate) alpn: Option<Vec<Vec<u8>>>,
}

impl TlsOptions {
    fn origins(&self) -> impl Iterator<Item = &PemSource> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }
}

/// What a child has ready for a serve function that asks for it.
#[derive(Clone, Default)]
pub(crate) struct PreparedTls {
    #[cfg(feature = "rustls")]
    config: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl fmt::Debug for PreparedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedTls").finish_non_exhaustive()
    }
}

#[cfg(feature = "rustls")]
impl PreparedTls {
    /// Makes the configuration, of what the master handed over and, where that is not what this
    /// program's options name, of the files themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn new(options: &TlsOptions, secrets: TlsSecrets, _trial: bool) -> Result<Self, Error> {
        let TlsSecrets { mut files, tickets } = secrets;
        files.complete(options)?;
        let Some(config) = config::build(options, &files, tickets)? else { return Ok(Self::default()) };
        Ok(Self { config: Some(std::sync::Arc::new(config)) })
    }

    pub(crate) fn config(&self) -> Option<std::sync::Arc<rustls::ServerConfig>> {
        self.config.clone()
    }
}

#[cfg(not(feature = "rustls"))]
impl PreparedTls {
    /// There is nothing to make. But a child that is to replace another looks whether its program's
    /// options name anything that is good.
    pub(crate) fn new(options: &TlsOptions, secrets: TlsSecrets, trial: bool) -> Result<Self, Error> {
        if trial {
            let TlsSecrets { mut files } = secrets;
            files.complete(options)?;
            material::check(options, &files)?;
        }
        Ok(Self::default())
    }
}
