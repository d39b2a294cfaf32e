//! A child's TLS configuration, for a serve function that takes one.

use std::fmt;

use super::options::TlsOptions;
use super::store::TlsSecrets;
use crate::error::Error;

/// See the [module](self).
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
    /// Makes the configuration from the material that the master handed over. Files that only this
    /// program's options name are read here.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn new(options: &TlsOptions, secrets: TlsSecrets, _trial: bool) -> Result<Self, Error> {
        let TlsSecrets { mut files, tickets } = secrets;
        files.complete(options)?;
        let Some(config) = super::config::build(options, &files, tickets)? else {
            return Ok(Self::default());
        };
        Ok(Self { config: Some(std::sync::Arc::new(config)) })
    }

    pub(crate) fn config(&self) -> Option<std::sync::Arc<rustls::ServerConfig>> {
        self.config.clone()
    }
}

#[cfg(not(feature = "rustls"))]
impl PreparedTls {
    /// Makes nothing. A successor checks the files that its program's options name.
    pub(crate) fn new(options: &TlsOptions, secrets: TlsSecrets, trial: bool) -> Result<Self, Error> {
        if trial {
            let TlsSecrets { mut files } = secrets;
            files.complete(options)?;
            super::validate::validate(options, &files)?;
        }
        Ok(Self::default())
    }
}
