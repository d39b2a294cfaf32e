//! The check of certificates and keys for a check of the configuration: every problem, not the first.

use super::material::TlsFiles;
use super::options::TlsOptions;
use super::store::validity_warning;
use super::validate::validate;
use crate::error::Error;

/// Reads the files that the options name. Returns every problem; without one, the warning of a certificate that
/// is not valid now.
pub(crate) fn check(options: &TlsOptions) -> (Vec<Error>, Option<String>) {
    let mut files = TlsFiles::default();
    let mut problems = files.complete_all(options);
    for certificates in [&options.cert, &options.client_ca].into_iter().flatten() {
        let part = files.find(certificates);
        problems.extend(part.and_then(|part| part.certificates().err()));
    }
    let key = options.key.as_ref().and_then(|key| files.find(key));
    problems.extend(key.and_then(|key| key.private_key().err()));
    if problems.is_empty() {
        problems.extend(validate(options, &files).err());
    }
    let warning = if problems.is_empty() { validity_warning(options, &files) } else { None };
    (problems, warning)
}
