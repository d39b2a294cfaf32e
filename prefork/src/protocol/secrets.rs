//! TLS material and the configuration file, as a master sends them to a child and to the program that replaces its own.
//!
//! ```text
//! prefork-secrets/1
//! file path=/etc/ssl/app.pem content=-----BEGIN%20CERTIFICATE-----%0a…
//! tickets epoch=41000 state=…
//! config path=/etc/app/prefork.toml content=workers%20=%204%0a check=…
//! ```
//!
//! It is sent as a file that has no name and that no other process can open. This module reads and writes
//! the bytes; [`tls`](crate::tls) interprets them.

use std::fmt;
use std::io;

use super::codec::{Format, Record};

pub(super) const FORMAT: Format = Format { name: "secrets", version: 1 };

/// The TLS material and the configuration file of one generation.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    pub(crate) files: Vec<SecretFile>,
    pub(crate) tickets: Option<TicketSecret>,
    /// The text that the options of the generation come from.
    pub(crate) config: Option<SecretFile>,
}

/// A file that an option names, with the content that the master read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretFile {
    /// In the system's encoding.
    pub(crate) path: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// The secret that the keys of session tickets are derived from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TicketSecret {
    pub(crate) epoch: u64,
    pub(crate) state: Vec<u8>,
}

/// Leaves the content out.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").finish_non_exhaustive()
    }
}

/// Leaves the secrets out.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.tickets.is_none() && self.config.is_none()
    }

    pub(crate) fn to_text(&self) -> String {
        let records: Vec<Record> = [FORMAT.heading()].into_iter().chain(self.to_records()).collect();
        Format::write(&records)
    }

    /// # Errors
    ///
    /// The text is of another version, or damaged.
    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let (_, records) = FORMAT.read(text)?;
        Self::from_records(&records)
    }

    pub(super) fn to_records(&self) -> impl Iterator<Item = Record> {
        let Self { files, tickets, config } = self;
        let files = files.iter().map(|SecretFile { path, content }| {
            Record::new("file").with("path", path).with("content", content)
        });
        let tickets = tickets.iter().map(|TicketSecret { epoch, state }| {
            Record::new("tickets").with("epoch", epoch).with("state", state)
        });
        let config = config.iter().map(|SecretFile { path, content }| {
            Record::new("config").with("path", path).with("content", content)
        });
        files.chain(tickets).chain(config)
    }

    /// Takes the secrets out of a message that may hold other records as well.
    pub(super) fn from_records(records: &[Record]) -> io::Result<Self> {
        let mut secrets = Self::default();
        for record in records {
            match record.kind() {
                "file" => {
                    let (path, content) = (record.get("path")?, record.get("content")?);
                    secrets.files.push(SecretFile { path, content });
                }
                "tickets" => {
                    let (epoch, state) = (record.get("epoch")?, record.get("state")?);
                    secrets.tickets = Some(TicketSecret { epoch, state });
                }
                "config" => {
                    let (path, content) = (record.get("path")?, record.get("content")?);
                    secrets.config = Some(SecretFile { path, content });
                }
                _ => {}
            }
        }
        Ok(secrets)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::{damaged, newer, places};
    use super::*;

    pub(in crate::protocol) fn secrets() -> impl Strategy<Value = Secrets> {
        let file = |(path, content)| SecretFile { path, content };
        let fields = any::<(Vec<(Vec<u8>, Vec<u8>)>, Option<(u64, Vec<u8>)>, Option<(Vec<u8>, Vec<u8>)>)>();
        fields.prop_map(move |(files, tickets, config)| Secrets {
            files: files.into_iter().take(4).map(file).collect(),
            tickets: tickets.map(|(epoch, state)| TicketSecret { epoch, state }),
            config: config.map(file),
        })
    }

    proptest! {
        #[test]
        fn secrets_round_trip_and_unknown_fields_change_nothing(secrets in secrets(), places in places()) {
            let text = secrets.to_text();
            prop_assert_eq!(Secrets::from_text(&text).unwrap(), secrets.clone());
            prop_assert_eq!(Secrets::from_text(&newer(&text, &places, true)).unwrap(), secrets);
        }
    }

    #[test]
    fn damaged_secrets_are_refused() {
        let file = SecretFile { path: b"a path \xff".to_vec(), content: b"some\ncontent".to_vec() };
        let tickets = Some(TicketSecret { epoch: 7, state: vec![0, 32, 61] });
        let text = Secrets { files: vec![file], tickets, config: None }.to_text();
        assert!(damaged(&text, 1).all(|damaged| Secrets::from_text(&damaged).is_err()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let tickets = Some(TicketSecret { epoch: 7, state: vec![1, 2, 3] });
        assert_eq!(format!("{:?}", Secrets { files: Vec::new(), tickets, config: None }), "Secrets { .. }");
    }
}
