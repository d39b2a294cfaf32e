//! The master's TLS material: the files of each generation, with the content that was checked, and the secret
//! that the keys of session tickets are derived from.
//!
//! Children and the next program get it as [`Secrets`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::material::TlsFiles;
use super::options::TlsOptions;
#[cfg(feature = "rustls")]
use super::tickets::Ratchet;
use super::validate::validate;
use crate::error::Error;
use crate::protocol::{SecretFile, Secrets};

/// The material of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSecrets {
    pub(super) files: TlsFiles,
    #[cfg(feature = "rustls")]
    pub(super) tickets: Option<Ratchet>,
}

impl From<Secrets> for TlsSecrets {
    /// A ticket secret of a kind that this version does not know is left out.
    fn from(secrets: Secrets) -> Self {
        let mut files = TlsFiles::default();
        secrets.files.into_iter().for_each(|SecretFile { path, content }| files.add(path, content));
        #[cfg(feature = "rustls")]
        let tickets = secrets.tickets.and_then(|tickets| Ratchet::from_secret(&tickets));
        Self {
            files,
            #[cfg(feature = "rustls")]
            tickets,
        }
    }
}

/// The options of one generation, and the files that they name.
#[derive(Debug)]
struct Generation {
    options: TlsOptions,
    files: TlsFiles,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct TlsStore {
    generations: BTreeMap<u32, Generation>,
    #[cfg(feature = "rustls")]
    tickets: Option<Ratchet>,
}

impl TlsStore {
    /// Reads the files that the options name, for the children of the first generation.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn open(options: TlsOptions) -> Result<Self, Error> {
        Self::inherit(options, 0, TlsSecrets::default())
    }

    /// Takes over the previous program's material, and reads the files that only this program's options name.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the file that cannot be used.
    pub(crate) fn inherit(options: TlsOptions, generation: u32, secrets: TlsSecrets) -> Result<Self, Error> {
        #[cfg(feature = "rustls")]
        let tickets = match secrets.tickets {
            None if options.cert.is_some() => Some(new_ratchet()?),
            tickets => tickets,
        };
        let mut store = Self {
            generations: BTreeMap::new(),
            #[cfg(feature = "rustls")]
            tickets,
        };
        store.put(generation, options, secrets.files)?;
        Ok(store)
    }

    /// Reads every file that the options name again, for the children of a new generation.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault. The store is then unchanged.
    pub(crate) fn renew(&mut self, generation: u32, options: TlsOptions) -> Result<(), Error> {
        #[cfg(feature = "rustls")]
        if options.cert.is_some() && self.tickets.is_none() {
            self.tickets = Some(new_ratchet()?);
        }
        self.put(generation, options, TlsFiles::default())
    }

    /// Reads these files, which the next program names, for the children of its generation. The trial child
    /// checks them.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the file that cannot be read.
    pub(crate) fn read(&mut self, generation: u32, paths: &[PathBuf]) -> Result<(), Error> {
        let mut files = TlsFiles::default();
        paths.iter().try_for_each(|path| files.add_file(path))?;
        #[cfg(feature = "rustls")]
        if self.tickets.is_none() && !paths.is_empty() {
            self.tickets = Some(new_ratchet()?);
        }
        self.generations.insert(generation, Generation { options: TlsOptions::default(), files });
        Ok(())
    }

    fn put(&mut self, generation: u32, options: TlsOptions, mut files: TlsFiles) -> Result<(), Error> {
        files.complete(&options)?;
        validate(&options, &files)?;
        self.generations.insert(generation, Generation { options, files });
        Ok(())
    }

    /// Drops the generations of which no child will be started, and the keys of expired tickets.
    pub(crate) fn forget(&mut self, is_needed: impl Fn(u32) -> bool) {
        self.generations.retain(|generation, _| is_needed(*generation));
        #[cfg(feature = "rustls")]
        if let Some(ratchet) = &mut self.tickets {
            ratchet.keep_up(std::time::SystemTime::now());
        }
    }

    /// The material for a child of this generation.
    pub(crate) fn secrets(&mut self, generation: u32) -> Secrets {
        let found = self.generations.get(&generation).or(self.generations.values().next());
        let files = found.into_iter().flat_map(|found| found.files.iter());
        let files =
            files.map(|(path, content)| SecretFile { path: path.to_vec(), content: content.to_vec() });
        Secrets {
            files: files.collect(),
            #[cfg(feature = "rustls")]
            tickets: self.tickets.as_mut().map(|ratchet| {
                ratchet.keep_up(std::time::SystemTime::now());
                ratchet.to_secret()
            }),
            #[cfg(not(feature = "rustls"))]
            tickets: None,
            config: None,
        }
    }

    /// Why this generation's certificate is not valid now, for the log.
    pub(crate) fn validity_warning(&self, generation: u32) -> Option<String> {
        let Generation { options, files } = self.generations.get(&generation)?;
        validity_warning(options, files)
    }
}

/// Why the certificate is not valid now.
#[cfg(feature = "rustls")]
pub(super) fn validity_warning(options: &TlsOptions, files: &TlsFiles) -> Option<String> {
    let part = files.part(options.cert.as_ref()?);
    let name = part.path.map_or("the embedded certificate".to_owned(), |path| path.display().to_string());
    let chain = part.certificates().ok()?;
    let warning = super::validity::warning(chain.first()?, std::time::SystemTime::now())?;
    Some(format!("{name} {warning}"))
}

/// Without the feature `rustls`, nothing reads a certificate's dates.
#[cfg(not(feature = "rustls"))]
pub(super) fn validity_warning(_options: &TlsOptions, _files: &TlsFiles) -> Option<String> {
    None
}

#[cfg(feature = "rustls")]
fn new_ratchet() -> Result<Ratchet, Error> {
    Ratchet::new(std::time::SystemTime::now()).map_err(|_| Error::Os {
        operation: "make a key for session tickets",
        source: std::io::Error::other("the system gives no random numbers"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::PemSource;
    use super::*;

    #[test]
    fn secrets_round_trip() {
        let mut files = TlsFiles::default();
        files.add(b"a path \xff".to_vec(), b"some\ncontent".to_vec());
        files.add(b"empty".to_vec(), Vec::new());
        let mut store = TlsStore::open(TlsOptions::default()).unwrap();
        assert!(store.secrets(0).is_empty(), "without TLS");
        store.generations.insert(0, Generation { options: TlsOptions::default(), files: files.clone() });
        assert_eq!(TlsSecrets::from(store.secrets(0)).files, files);
    }

    #[test]
    fn file_that_was_handed_over_is_not_read_again() {
        let mut files = TlsFiles::default();
        files.add(b"/nowhere/cert.pem".to_vec(), b"as it was".to_vec());
        let cert = PemSource::File("/nowhere/cert.pem".into());
        let options = TlsOptions { cert: Some(cert.clone()), ..TlsOptions::default() };
        files.complete(&options).unwrap();
        assert_eq!(files.part(&cert).pem, b"as it was");
        TlsFiles::default().complete(&options).unwrap_err();
    }
}
