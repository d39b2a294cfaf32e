//! TLS material: what the children of a generation serve with, and the next master as well.
//!
//! ```text
//! file path=/etc/tls/cert.pem content=…
//! tickets epoch=41234 state=…
//! ```

use std::fmt;

use super::codec::{Record, records, text_of};

/// TLS material, for processes that no one else can read along with.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    /// Path and content of each file that the options name.
    pub(crate) files: Vec<(Vec<u8>, Vec<u8>)>,
    /// The epoch and the state of the session tickets' keys.
    pub(crate) tickets: Option<(u64, Vec<u8>)>,
}

/// Keys are never printed.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.tickets.is_none()
    }

    pub(crate) fn to_text(&self) -> String {
        text_of(self.to_records())
    }

    /// Reads what [`to_text`](Self::to_text) wrote. A record that cannot be read is skipped: the reader
    /// then takes the files themselves.
    pub(crate) fn from_text(text: &str) -> Self {
        let mut secrets = Self::default();
        records(text).for_each(|record| secrets.take(&record));
        secrets
    }

    pub(super) fn to_records(&self) -> Vec<Record> {
        let file = |(path, content): &(Vec<u8>, Vec<u8>)| {
            Record::new("file").with("path", path).with("content", content)
        };
        let tickets = |(epoch, state): &(u64, Vec<u8>)| {
            Record::new("tickets").with("epoch", epoch).with("state", state)
        };
        self.files.iter().map(file).chain(self.tickets.iter().map(tickets)).collect()
    }

    /// Takes a record, if it is one of these.
    pub(super) fn take(&mut self, record: &Record) {
        match record.kind.as_str() {
            "file" => {
                if let (Ok(path), Ok(content)) = (record.require("path"), record.require("content")) {
                    self.files.push((path, content));
                }
            }
            "tickets" => {
                if let (Ok(epoch), Ok(state)) = (record.require("epoch"), record.require("state")) {
                    self.tickets = Some((epoch, state));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn secrets_survive_and_unknown_records_are_skipped(
            files in any::<Vec<(Vec<u8>, Vec<u8>)>>(),
            tickets in any::<Option<(u64, Vec<u8>)>>(),
        ) {
            let secrets = Secrets { files, tickets };
            let text = format!("news of=tomorrow\n{}file path=only\n", secrets.to_text());
            prop_assert_eq!(Secrets::from_text(&text), secrets);
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secrets = Secrets { files: vec![(b"a".to_vec(), b"key".to_vec())], tickets: None };
        assert_eq!(format!("{secrets:?}"), "Secrets { .. }");
    }
}
