//! TLS: what the options name, what is read of it, and what becomes of that.
//!
//! - `material.rs`: certificate, key and the clients' authorities, read and checked
//! - `vault.rs`: what the master keeps of that, for the children and for its own successor
//! - `validity.rs`: until when a certificate is good
//! - `config.rs`, `tickets.rs` (feature `rustls`): the `rustls::ServerConfig`, and session tickets that
//!   every child can open
//!
//! The files are the master's to read, once for each generation: at its start, and before a reload or
//! an upgrade starts anything. The children of a generation get what it read over the handoff. So a
//! child needs no access to the key's file, a crashed child's successor serves what its siblings
//! serve, and a file that is no good hurts nobody.

#[cfg(feature = "rustls")]
mod config;
mod material;
#[cfg(feature = "rustls")]
mod tickets;
mod validity;
mod vault;

use std::fmt;

pub(crate) use material::{Files, Origin};
pub(crate) use vault::{Secrets, Vault};

use crate::error::Error;

/// The TLS options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) cert: Option<Origin>,
    pub(crate) key: Option<Origin>,
    /// Whose certificates clients have to show.
    pub(crate) client_ca: Option<Origin>,
    /// What the connection can be used for, the most wanted first; unset: HTTP.
    #[cfg(feature = "rustls")]
    pub(crate) alpn: Option<Vec<Vec<u8>>>,
}

impl Options {
    fn origins(&self) -> impl Iterator<Item = &Origin> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }
}

/// What a child has ready for a serve function that asks for it.
#[derive(Clone, Default)]
pub(crate) struct Prepared {
    #[cfg(feature = "rustls")]
    config: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

#[cfg(feature = "rustls")]
impl Prepared {
    /// Makes the configuration, of what the master handed over and, where that is not what this
    /// program's options name, of the files themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn new(options: &Options, secrets: Secrets, _trial: bool) -> Result<Self, Error> {
        let Secrets { mut files, tickets } = secrets;
        files.complete(options)?;
        let Some(config) = config::build(options, &files, tickets)? else { return Ok(Self::default()) };
        Ok(Self { config: Some(std::sync::Arc::new(config)) })
    }

    pub(crate) fn config(&self) -> Option<std::sync::Arc<rustls::ServerConfig>> {
        self.config.clone()
    }
}

#[cfg(not(feature = "rustls"))]
impl Prepared {
    /// There is nothing to make. But a child that is to replace another looks whether its program's
    /// options name anything that is good.
    pub(crate) fn new(options: &Options, secrets: Secrets, trial: bool) -> Result<Self, Error> {
        if trial {
            let Secrets { mut files } = secrets;
            files.complete(options)?;
            material::check(options, &files)?;
        }
        Ok(Self::default())
    }
}
