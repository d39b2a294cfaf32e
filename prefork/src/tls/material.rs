//! Certificates and keys: their files and their PEM.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::options::{PemSource, TlsOptions};
use crate::error::{BoxError, Error};
use crate::sys;

/// PEM text and the file it came from.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) pem: &'a [u8],
    pub(super) path: Option<&'a Path>,
}

/// The content of the files that options name, at the time they were read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// By path, in the system's encoding.
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Reads the files that are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the file that cannot be read.
    pub(crate) fn complete(&mut self, options: &TlsOptions) -> Result<(), Error> {
        options.files().try_for_each(|path| self.add_file(path))
    }

    /// [`complete`](Self::complete), which goes on after an error.
    pub(super) fn complete_all(&mut self, options: &TlsOptions) -> Vec<Error> {
        options.files().filter_map(|path| self.add_file(path).err()).collect()
    }

    /// Reads the file, unless it was read.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`].
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        if let Entry::Vacant(absent) = self.contents.entry(name_of(path)) {
            absent.insert(read(path)?);
        }
        Ok(())
    }

    /// The part, if it was read.
    pub(super) fn find<'a>(&'a self, source: &'a PemSource) -> Option<Part<'a>> {
        match source {
            PemSource::File(path) if !self.contents.contains_key(&name_of(path)) => None,
            _ => Some(self.part(source)),
        }
    }

    pub(super) fn part<'a>(&'a self, source: &'a PemSource) -> Part<'a> {
        match source {
            PemSource::Embedded(pem) => Part { pem, path: None },
            PemSource::File(path) => {
                let content = self.contents.get(&name_of(path));
                Part { pem: content.map_or(&[], Vec::as_slice), path: Some(path) }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.contents.iter().map(|(name, content)| (name.as_slice(), content.as_slice()))
    }

    pub(super) fn add(&mut self, name: Vec<u8>, content: Vec<u8>) {
        self.contents.insert(name, content);
    }
}

fn name_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let outcome = sys::open_regular(path).and_then(|mut file| file.read_to_end(&mut content));
    outcome.map(|_| content).map_err(|source| Error::Tls {
        path: Some(path.to_owned()),
        reason: "it cannot be read".to_owned(),
        source: Some(source.into()),
    })
}

impl Part<'_> {
    pub(super) fn fail(self, reason: impl Into<String>, source: Option<BoxError>) -> Error {
        Error::Tls { path: self.path.map(Path::to_owned), reason: reason.into(), source }
    }

    /// All certificates of the PEM, at least one.
    pub(super) fn certificates(self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates = CertificateDer::pem_slice_iter(self.pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.bad_pem("certificate", error))?;
        if certificates.is_empty() {
            return Err(self.bad_pem("certificate", pem::Error::NoItemsFound));
        }
        Ok(certificates)
    }

    pub(super) fn private_key(self) -> Result<PrivateKeyDer<'static>, Error> {
        const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
        if self.pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
            return Err(self.fail("its private key is encrypted: a server cannot ask for the password", None));
        }
        PrivateKeyDer::from_pem_slice(self.pem).map_err(|error| self.bad_pem("private key", error))
    }

    fn bad_pem(self, wanted: &str, error: pem::Error) -> Error {
        match error {
            pem::Error::NoItemsFound => self.fail(format!("it holds no {wanted} in PEM form"), None),
            // The cause has the label as a list of bytes.
            pem::Error::MissingSectionEnd { .. } => {
                self.fail(format!("its {wanted} is cut off: there is no line `-----END …`"), None)
            }
            error => self.fail(format!("its {wanted} is not valid PEM"), Some(error.into())),
        }
    }
}
