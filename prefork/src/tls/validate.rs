//! The check of options and files in the master.

#[cfg(feature = "rustls")]
use super::config;
use super::material::TlsFiles;
use super::options::TlsOptions;
use crate::error::Error;

/// Checks certificates and keys, and that they match.
///
/// # Errors
///
/// [`Error::Tls`], naming the part at fault.
#[cfg(feature = "rustls")]
pub(super) fn validate(options: &TlsOptions, files: &TlsFiles) -> Result<(), Error> {
    config::build(options, files, None).map(drop)
}

/// Checks the PEM. Without the feature `rustls`, only the server can check whether the parts match.
#[cfg(not(feature = "rustls"))]
pub(super) fn validate(options: &TlsOptions, files: &TlsFiles) -> Result<(), Error> {
    for certificates in [&options.cert, &options.client_ca].into_iter().flatten() {
        files.part(certificates).certificates()?;
    }
    options.key.as_ref().map_or(Ok(()), |key| files.part(key).private_key().map(drop))
}
