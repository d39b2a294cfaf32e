//! The control socket in the snapshot: its files, its connections, and the operation that is under way.
//!
//! ```text
//! control path=/run/app.sock listener=6
//! control_file path=/run/app.sock device=25 inode=4711
//! control_operation name=upgrade uid=0 pid=55 age_ms=1234
//! control_client listener=7 waits=outcome flag=true
//! ```

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::{FieldValue, Record};

/// What is handed over of the control socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PassedControl {
    /// As the option names it.
    pub(crate) path: PathBuf,
    /// Its number among the listeners that are handed over; `None` if there is no control socket any more.
    pub(crate) listener: Option<usize>,
    /// The files of the sockets, with device and inode; one of them may be the last program's.
    pub(crate) files: Vec<(PathBuf, (u64, u64))>,
    pub(crate) clients: Vec<PassedClient>,
    pub(crate) operation: Option<PassedOperation>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedClient {
    /// Its number among the listeners that are handed over.
    pub(crate) number: usize,
    pub(crate) waits: ClientWait,
    /// Whether the connection is kept after the answer, or for a stream, whether it is in chunks.
    pub(crate) flag: bool,
    /// What was read of a request.
    pub(crate) input: Vec<u8>,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientWait {
    /// It has not sent a whole request.
    Request,
    /// A turn of the master's loop.
    Turn,
    /// The end of the operation.
    Outcome,
    /// Likewise, with its progress.
    Progress,
    /// Messages of the log.
    Events,
}

/// The operation that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedOperation {
    pub(crate) name: String,
    /// Who has asked for it.
    pub(crate) uid: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) age: Duration,
}

impl PassedControl {
    pub(super) fn to_records(&self) -> Vec<Record> {
        let Self { path, listener, files, clients, operation } = self;
        let socket = listener
            .iter()
            .map(|listener| Record::new("control").with("path", path).with("listener", listener));
        let files = files.iter().map(|(path, (device, inode))| {
            Record::new("control_file").with("path", path).with("device", device).with("inode", inode)
        });
        let operation = operation.iter().map(|PassedOperation { name, uid, pid, age }| {
            let record = Record::new("control_operation").with("name", name).with("uid", uid);
            record.with_each("pid", pid).with("age_ms", age)
        });
        let clients = clients.iter().map(|PassedClient { number, waits, flag, input }| {
            let record = Record::new("control_client").with("listener", number).with("waits", waits);
            record.with("flag", flag).with("input", input)
        });
        socket.chain(files).chain(operation).chain(clients).collect()
    }

    /// Adds what a record says, if it is one of these.
    pub(super) fn add(&mut self, record: &Record) -> io::Result<()> {
        match record.kind() {
            "control" => {
                // Without a socket there is no path to hand over.
                let path = record.get("path")?;
                if let Some(listener) = record.find("listener")? {
                    (self.path, self.listener) = (path, Some(listener));
                }
            }
            "control_file" => {
                self.files.push((record.get("path")?, (record.get("device")?, record.get("inode")?)));
            }
            "control_operation" => {
                self.operation = Some(PassedOperation {
                    name: record.get("name")?,
                    uid: record.get("uid")?,
                    pid: record.find("pid")?,
                    age: record.find("age_ms")?.unwrap_or_default(),
                });
            }
            "control_client" => {
                // A newer program's client may wait for something else: it is closed.
                let Ok(waits) = record.get("waits") else { return Ok(()) };
                self.clients.push(PassedClient {
                    number: record.get("listener")?,
                    waits,
                    flag: record.find("flag")?.unwrap_or_default(),
                    input: record.find("input")?.unwrap_or_default(),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

impl ClientWait {
    const NAMED: [(Self, &'static str); 5] = [
        (Self::Request, "request"),
        (Self::Turn, "turn"),
        (Self::Outcome, "outcome"),
        (Self::Progress, "progress"),
        (Self::Events, "events"),
    ];
}

impl FieldValue for ClientWait {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let name = Self::NAMED.iter().find(|(wait, _)| wait == self).map_or("", |(_, name)| name);
        Cow::Borrowed(name.as_bytes())
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        Self::NAMED.iter().find(|(_, name)| name.as_bytes() == bytes).map(|(wait, _)| *wait)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::{duration, path};
    use super::*;

    pub(in crate::protocol) fn control() -> impl Strategy<Value = PassedControl> {
        let waits = prop::sample::select(ClientWait::NAMED.map(|(wait, _)| wait).to_vec());
        let client = (any::<(usize, bool, Vec<u8>)>(), waits)
            .prop_map(|((number, flag, input), waits)| PassedClient { number, waits, flag, input });
        let operation = (any::<(String, u32, Option<u32>)>(), duration())
            .prop_map(|((name, uid, pid), age)| PassedOperation { name, uid, pid, age });
        let socket = prop::option::of((path(), any::<usize>()));
        let files = prop::collection::vec((path(), any::<(u64, u64)>()), 0..3);
        (socket, files, prop::collection::vec(client, 0..3), prop::option::of(operation)).prop_map(
            |(socket, files, clients, operation)| {
                let (path, listener) = socket.unzip();
                PassedControl { path: path.unwrap_or_default(), listener, files, clients, operation }
            },
        )
    }
}
