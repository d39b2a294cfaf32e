//! What the master's program hands to the next one in the same process.
//!
//! ```text
//! prefork-upgrade version=1
//! privileges uid=33 gid=33 …  cpus=0,1,
//! sockets addr=127.0.0.1:80 network=tcp4 sharing=reuseport count=4
//! fleet workers=4 slots=4 generation=3 failures=0 failure_ages=
//! child id=8 slot=1 generation=2 pid=4711 role=occupant ready=true channel=true
//! health addr=127.0.0.1:9090
//! file …  tickets …
//! ```
//!
//! The listeners and the channels to the children are descriptors, which stay open.

use std::io;

use super::Secrets;
use super::codec::{FieldValue, List, Record, invalid, records, text_of};
use crate::listen::{Endpoint, Passed, Sharing};
use crate::privileges::Privileges;
use crate::supervisor::{ChildId, ChildSnapshot, SlotRole, Snapshot};

/// The kind of the first line.
const HEADING: &str = "prefork-upgrade";
/// A program that knows another version only does not take over.
const VERSION: u32 = 1;

/// What is handed over.
#[derive(Debug)]
pub(crate) struct Upgrade<'a> {
    pub(crate) fleet: &'a Snapshot,
    /// Whether the channel to each child is open, in the order of the snapshot's children.
    pub(crate) channels: &'a [bool],
    /// Where it listens, in the order of the sockets.
    pub(crate) sockets: &'a [Passed],
    pub(crate) privileges: &'a Privileges,
    /// The CPUs that children are pinned to.
    pub(crate) cpus: &'a [usize],
    /// The address of the health endpoint, whose listener is the last one.
    pub(crate) health: Option<&'a str>,
    pub(crate) secrets: &'a Secrets,
}

/// What the next program finds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Inherited {
    pub(crate) fleet: Snapshot,
    pub(crate) channels: Vec<bool>,
    pub(crate) sockets: Vec<Passed>,
    pub(crate) privileges: Privileges,
    pub(crate) cpus: Vec<usize>,
    pub(crate) health: Option<String>,
    pub(crate) secrets: Secrets,
}

impl Upgrade<'_> {
    pub(crate) fn to_text(&self) -> String {
        let heading = Record::new(HEADING).with("version", &VERSION);
        let privileges = self.privileges.to_fields(Record::new("privileges"));
        let privileges = privileges.with("cpus", &List(self.cpus.to_vec()));
        let children = self.fleet.children.iter().zip(self.channels);
        let health = self.health.map(|addr| Record::new("health").with("addr", &addr.to_owned()));
        text_of(
            [heading, privileges, fleet_to_record(self.fleet)]
                .into_iter()
                .chain(self.sockets.iter().map(sockets_to_record))
                .chain(children.map(|(child, channel)| child_to_record(child, *channel)))
                .chain(health)
                .chain(self.secrets.to_records()),
        )
    }
}

impl Inherited {
    /// Reads what [`Upgrade::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// `InvalidData` for another version, and for a record that cannot be read.
    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let mut records = records(text);
        let heading = records.next().filter(|heading| heading.kind == HEADING);
        let version = heading.map_or(Ok(None), |heading| heading.get::<u32>("version"))?;
        if version != Some(VERSION) {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(invalid(format!("the state of the last program has version {found}, not {VERSION}")));
        }
        let mut inherited = Self::default();
        records.try_for_each(|record| inherited.take(&record))?;
        Ok(inherited)
    }

    fn take(&mut self, record: &Record) -> io::Result<()> {
        match record.kind.as_str() {
            "privileges" => {
                self.privileges = Privileges::from_fields(record)?;
                self.cpus = record.get_or("cpus", List(Vec::new()))?.0;
            }
            "sockets" => self.sockets.push(sockets_from_record(record)?),
            "fleet" => {
                let children = std::mem::take(&mut self.fleet.children);
                self.fleet = Snapshot { children, ..fleet_from_record(record)? };
            }
            "child" => {
                self.fleet.children.push(child_from_record(record)?);
                self.channels.push(record.get_or("channel", false)?);
            }
            "health" => self.health = record.get("addr")?,
            _ => self.secrets.take(record),
        }
        Ok(())
    }
}

fn fleet_to_record(snapshot: &Snapshot) -> Record {
    let Snapshot { workers, slots, generation, failures, failure_ages, children: _ } = snapshot;
    Record::new("fleet")
        .with("workers", workers)
        .with("slots", slots)
        .with("generation", generation)
        .with("failures", failures)
        .with("failure_ages", &List(failure_ages.clone()))
}

fn fleet_from_record(record: &Record) -> io::Result<Snapshot> {
    Ok(Snapshot {
        workers: record.require("workers")?,
        slots: record.require("slots")?,
        generation: record.require("generation")?,
        failures: record.get_or("failures", 0)?,
        failure_ages: record.get_or("failure_ages", List(Vec::new()))?.0,
        children: Vec::new(),
    })
}

fn child_to_record(child: &ChildSnapshot, channel: bool) -> Record {
    let ChildSnapshot { id: ChildId(id), slot, generation, pid, role, ready } = child;
    Record::new("child")
        .with("id", id)
        .with("slot", slot)
        .with("generation", generation)
        .with("pid", pid)
        .with("role", role)
        .with("ready", ready)
        .with("channel", &channel)
}

fn child_from_record(record: &Record) -> io::Result<ChildSnapshot> {
    Ok(ChildSnapshot {
        id: ChildId(record.require("id")?),
        slot: record.require("slot")?,
        generation: record.require("generation")?,
        pid: record.require("pid")?,
        role: record.require("role")?,
        ready: record.require("ready")?,
    })
}

fn sockets_to_record(passed: &Passed) -> Record {
    let Passed { endpoint: Endpoint { addr, network }, sharing, count } = passed;
    Record::new("sockets")
        .with("addr", addr)
        .with("network", &network.to_string())
        .with("sharing", sharing)
        .with("count", count)
}

fn sockets_from_record(record: &Record) -> io::Result<Passed> {
    let network: String = record.require("network")?;
    let network = network.parse().map_err(|error| invalid(format!("the network of `sockets`: {error}")))?;
    Ok(Passed {
        endpoint: Endpoint { addr: record.require("addr")?, network },
        sharing: record.require("sharing")?,
        count: record.require("count")?,
    })
}

impl FieldValue for Sharing {
    fn write(&self) -> String {
        match self {
            Self::Shared => "shared".to_owned(),
            Self::Reuseport => "reuseport".to_owned(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Shared, Self::Reuseport].into_iter().find(|sharing| sharing.write() == text)
    }
}

impl FieldValue for SlotRole {
    fn write(&self) -> String {
        match self {
            Self::Occupant => "occupant".to_owned(),
            Self::Successor => "successor".to_owned(),
            Self::Leftover => "leftover".to_owned(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Occupant, Self::Successor, Self::Leftover].into_iter().find(|role| role.write() == text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::listen::Network;

    fn inherited() -> Inherited {
        let child = |id, role, ready| ChildSnapshot {
            id: ChildId(id),
            slot: 1,
            generation: 2,
            pid: 4711,
            role,
            ready,
        };
        let at = |addr: &str, network| Endpoint { addr: addr.to_owned(), network };
        Inherited {
            fleet: Snapshot {
                workers: 4,
                slots: 5,
                generation: 3,
                failures: 2,
                failure_ages: vec![Duration::from_millis(17), Duration::from_secs(40)],
                children: vec![
                    child(3, SlotRole::Occupant, true),
                    child(8, SlotRole::Successor, false),
                    child(9, SlotRole::Leftover, false),
                ],
            },
            channels: vec![true, false, true],
            sockets: vec![
                Passed { endpoint: at(":80", Network::Tcp4), sharing: Sharing::Reuseport, count: 4 },
                Passed {
                    endpoint: at("unix:/run/an app", Network::Unix),
                    sharing: Sharing::Shared,
                    count: 1,
                },
            ],
            privileges: Privileges { nice: Some(3), ..Privileges::default() },
            cpus: vec![0, 2],
            health: Some("127.0.0.1:9090".to_owned()),
            secrets: Secrets { files: vec![(b"a".to_vec(), b"b".to_vec())], tickets: Some((7, vec![0])) },
        }
    }

    fn text_of_inherited() -> String {
        let Inherited { fleet, channels, sockets, privileges, cpus, health, secrets } = &inherited();
        let health = health.as_deref();
        Upgrade { fleet, channels, sockets, privileges, cpus, health, secrets }.to_text()
    }

    #[test]
    fn snapshot_survives_and_unknown_records_and_fields_are_skipped() {
        assert_eq!(Inherited::from_text(&text_of_inherited()).unwrap(), inherited());
        let newer = text_of_inherited().replace('\n', " colour=blue\n") + "news of=tomorrow\n";
        assert_eq!(Inherited::from_text(&newer).unwrap(), inherited());
    }

    #[test]
    fn unreadable_snapshot_is_refused() {
        for text in ["", "prefork-upgrade version=2\n", "something else"] {
            assert!(Inherited::from_text(text).is_err(), "{text}");
        }
        let heading = "prefork-upgrade version=1\n";
        for line in ["child id=1 slot=x", "child id=1", "sockets addr=a network=udp sharing=shared count=1"] {
            assert!(Inherited::from_text(&format!("{heading}{line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn snapshot_that_is_cut_short_is_read_without_a_panic() {
        let text = text_of_inherited();
        for end in 0..text.len() {
            let _ = Inherited::from_text(&text[..end]);
        }
    }
}
