//! TLS material that the master keeps for its children: the files of each generation, as they were
//! when they were checked, and the state of the session tickets' keys.

use std::collections::BTreeMap;

#[cfg(feature = "rustls")]
use super::tickets::Ratchet;
use super::{TlsFiles, TlsOptions, material, validity};
use crate::error::Error;
use crate::protocol::Secrets;

/// TLS material as a child or the next program receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSecrets {
    pub(super) files: TlsFiles,
    #[cfg(feature = "rustls")]
    pub(super) tickets: Option<Ratchet>,
}

impl From<Secrets> for TlsSecrets {
    fn from(secrets: Secrets) -> Self {
        let mut files = TlsFiles::default();
        secrets.files.into_iter().for_each(|(path, content)| files.add(path, content));
        Self {
            files,
            #[cfg(feature = "rustls")]
            tickets: secrets.tickets.and_then(|(epoch, state)| Ratchet::from_parts(epoch, &state)),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct TlsStore {
    options: TlsOptions,
    generations: BTreeMap<u32, TlsFiles>,
    #[cfg(feature = "rustls")]
    tickets: Option<Ratchet>,
}

impl TlsStore {
    /// Reads what the options name, for the children of the first generation.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault.
    pub(crate) fn open(options: TlsOptions) -> Result<Self, Error> {
        Self::inherit(options, 0, TlsSecrets::default())
    }

    /// Takes over what the last program had, as far as this one's options name the same.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if they name something else that is no good.
    pub(crate) fn inherit(options: TlsOptions, generation: u32, secrets: TlsSecrets) -> Result<Self, Error> {
        #[cfg(feature = "rustls")]
        let tickets = match secrets.tickets {
            None if options.cert.is_some() => Some(new_ratchet()?),
            tickets => tickets,
        };
        let mut store = Self {
            options,
            generations: BTreeMap::new(),
            #[cfg(feature = "rustls")]
            tickets,
        };
        store.put(generation, secrets.files)?;
        Ok(store)
    }

    /// Reads everything afresh, for the children of a new generation.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`], naming the part at fault. Then nothing is changed.
    pub(crate) fn renew(&mut self, generation: u32) -> Result<(), Error> {
        self.put(generation, TlsFiles::default())
    }

    fn put(&mut self, generation: u32, mut files: TlsFiles) -> Result<(), Error> {
        files.complete(&self.options)?;
        material::check(&self.options, &files)?;
        self.generations.insert(generation, files);
        Ok(())
    }

    /// Forgets what is of no more use: generations that no child will be started of, and the keys of
    /// tickets that have expired.
    pub(crate) fn forget(&mut self, is_needed: impl Fn(u32) -> bool) {
        self.generations.retain(|generation, _| is_needed(*generation));
        #[cfg(feature = "rustls")]
        if let Some(ratchet) = &mut self.tickets {
            ratchet.keep_up(std::time::SystemTime::now());
        }
    }

    /// What a child of this generation gets; nothing for a fleet without TLS.
    pub(crate) fn secrets(&mut self, generation: u32) -> Secrets {
        let files = self.generations.get(&generation).or(self.generations.values().next());
        let files = files.into_iter().flat_map(TlsFiles::iter);
        Secrets {
            files: files.map(|(path, content)| (path.to_vec(), content.to_vec())).collect(),
            tickets: self.ticket_state(),
        }
    }

    #[cfg(feature = "rustls")]
    fn ticket_state(&mut self) -> Option<(u64, Vec<u8>)> {
        let ratchet = self.tickets.as_mut()?;
        ratchet.keep_up(std::time::SystemTime::now());
        let (epoch, state) = ratchet.to_parts();
        Some((epoch, state.to_vec()))
    }

    #[cfg(not(feature = "rustls"))]
    fn ticket_state(&mut self) -> Option<(u64, Vec<u8>)> {
        None
    }

    /// What an operator should know of this generation's certificate.
    pub(crate) fn concern(&self, generation: u32) -> Option<String> {
        let part = self.generations.get(&generation)?.part(self.options.cert.as_ref()?);
        let name = part.path.map_or("the embedded certificate".to_owned(), |path| path.display().to_string());
        let chain = part.certificates().ok()?;
        validity::concern(chain.first()?, std::time::SystemTime::now()).map(|what| format!("{name} {what}"))
    }
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
    fn secrets_of_a_generation_are_its_files() {
        let mut files = TlsFiles::default();
        files.add(b"a path \xff".to_vec(), b"some\ncontent".to_vec());
        files.add(b"empty".to_vec(), Vec::new());
        let mut store = TlsStore::open(TlsOptions::default()).unwrap();
        assert!(store.secrets(0).is_empty(), "nothing without TLS");
        store.generations.insert(0, files.clone());
        assert_eq!(TlsSecrets::from(store.secrets(0)).files, files);
    }

    #[test]
    fn a_file_that_is_handed_over_need_not_be_there() {
        let mut files = TlsFiles::default();
        files.add(b"/nowhere/cert.pem".to_vec(), b"as it was".to_vec());
        let cert = PemSource::File("/nowhere/cert.pem".into());
        let options = TlsOptions { cert: Some(cert.clone()), ..TlsOptions::default() };
        files.complete(&options).unwrap();
        assert_eq!(files.part(&cert).pem, b"as it was");
        TlsFiles::default().complete(&options).unwrap_err();
    }
}
