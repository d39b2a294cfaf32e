//! The state that a master hands over to the program that replaces its own in the same process.
//!
//! The listeners and the channels to the children stay open over the exec. The snapshot names each by its
//! number among those that are handed over, so that a record which the next program does not know changes
//! no other record.
//!
//! ```text
//! prefork-snapshot/1
//! fleet workers=4 slots=4 generation=3 failures=1 failure_age_ms=40000
//! privileges no_new_privs=false uid=33 gid=33 cpu_affinity=0 cpu_affinity=1
//! sockets addr=:80 network=tcp4 sharing=reuseport listener=0 listener=1 listener=2 listener=3
//! health addr=127.0.0.1:9090 listener=4
//! pid_file path=/run/app.pid descriptor=9
//! child id=7 slot=0 generation=3 pid=4711 role=successor ready=true channel=0
//! file …
//! tickets … check=7d1102ee
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::codec::{FieldValue, Format, Record, displayed, invalid};
use super::privilege_fields::{privileges_of, with_privileges};
use super::secrets::{SecretFile, Secrets};
use crate::listen::{Endpoint, Network, PassedSockets, Sharing};
use crate::privileges::Privileges;
use crate::supervisor::{ChildId, ChildSnapshot, SlotRole, Snapshot};

/// A trial child refuses the handshake of a master that writes another version, so that the fleet
/// stays as it is.
pub(super) const FORMAT: Format = Format { name: "snapshot", version: 1 };

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UpgradeSnapshot {
    pub(crate) fleet: Snapshot,
    /// The open channels to children, by their number among those that are handed over.
    pub(crate) channels: BTreeMap<ChildId, usize>,
    pub(crate) sockets: Vec<PassedSockets>,
    pub(crate) health: Option<HealthSocket>,
    /// The pid file, and the number of its descriptor.
    pub(crate) pid_file: Option<(PathBuf, i32)>,
    /// The privileges of the children.
    pub(crate) privileges: Privileges,
    /// The CPUs that the children are pinned to, cyclically.
    pub(crate) cpus: Vec<usize>,
    pub(crate) secrets: Secrets,
}

/// The health endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthSocket {
    /// As the option names it.
    pub(crate) addr: String,
    /// Its number among the listeners that are handed over.
    pub(crate) listener: usize,
}

impl UpgradeSnapshot {
    pub(crate) fn to_text(&self) -> String {
        let Self { fleet, channels, sockets, health, pid_file, privileges, cpus, secrets } = self;
        let privileges = with_privileges(Record::new("privileges"), privileges);
        let mut records = vec![
            FORMAT.heading(),
            Record::new("fleet")
                .with("workers", &fleet.workers)
                .with("slots", &fleet.slots)
                .with("generation", &fleet.generation)
                .with("failures", &fleet.failures)
                .with_each("failure_age_ms", &fleet.failure_ages),
            privileges.with_each("cpu_affinity", cpus),
        ];
        records.extend(sockets.iter().map(sockets_to_record));
        records.extend(health.iter().map(|HealthSocket { addr, listener }| {
            Record::new("health").with("addr", addr).with("listener", listener)
        }));
        records.extend(pid_file.iter().map(|(path, descriptor)| {
            Record::new("pid_file").with("path", path).with("descriptor", descriptor)
        }));
        records.extend(fleet.children.iter().map(|child| child_to_record(child, channels.get(&child.id))));
        records.extend(secrets.to_records());
        Format::write(&records)
    }

    /// The configuration file in a snapshot that can be read: it is needed before the rest.
    pub(crate) fn config_file(text: &str) -> Option<SecretFile> {
        Self::from_text(text).ok()?.secrets.config
    }

    /// # Errors
    ///
    /// The text is of another version, or damaged.
    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let (_, records) = FORMAT.read(text)?;
        let mut snapshot = Self { secrets: Secrets::from_records(&records)?, ..Self::default() };
        let mut fleet = None;
        for record in &records {
            match record.kind() {
                "fleet" => fleet = Some(fleet_from_record(record)?),
                "privileges" => {
                    snapshot.privileges = privileges_of(record)?;
                    snapshot.cpus = record.all("cpu_affinity")?;
                }
                "sockets" => snapshot.sockets.push(sockets_from_record(record)?),
                "health" => {
                    let (addr, listener) = (record.get("addr")?, record.get("listener")?);
                    snapshot.health = Some(HealthSocket { addr, listener });
                }
                "pid_file" => {
                    snapshot.pid_file = Some((record.get("path")?, record.get("descriptor")?));
                }
                "child" => {
                    let child = child_from_record(record)?;
                    let channel = record.find("channel")?.map(|channel| (child.id, channel));
                    snapshot.channels.extend(channel);
                    snapshot.fleet.children.push(child);
                }
                _ => {}
            }
        }
        let fleet = fleet.ok_or_else(|| invalid("the snapshot has no `fleet`".to_owned()))?;
        snapshot.fleet = Snapshot { children: snapshot.fleet.children, ..fleet };
        Ok(snapshot)
    }
}

fn fleet_from_record(record: &Record) -> io::Result<Snapshot> {
    Ok(Snapshot {
        workers: record.get("workers")?,
        slots: record.get("slots")?,
        generation: record.get("generation")?,
        failures: record.find("failures")?.unwrap_or_default(),
        failure_ages: record.all("failure_age_ms")?,
        children: Vec::new(),
    })
}

fn sockets_to_record(PassedSockets { endpoint, sharing, listeners }: &PassedSockets) -> Record {
    Record::new("sockets")
        .with("addr", &endpoint.addr)
        .with("network", &endpoint.network)
        .with("sharing", sharing)
        .with_each("listener", listeners)
}

fn sockets_from_record(record: &Record) -> io::Result<PassedSockets> {
    let endpoint = Endpoint { addr: record.get("addr")?, network: record.get("network")? };
    Ok(PassedSockets { endpoint, sharing: record.get("sharing")?, listeners: record.all("listener")? })
}

fn child_to_record(child: &ChildSnapshot, channel: Option<&usize>) -> Record {
    let ChildSnapshot { id: ChildId(id), slot, generation, pid, role, ready } = child;
    Record::new("child")
        .with("id", id)
        .with("slot", slot)
        .with("generation", generation)
        .with("pid", pid)
        .with("role", role)
        .with("ready", ready)
        .with_each("channel", channel)
}

fn child_from_record(record: &Record) -> io::Result<ChildSnapshot> {
    Ok(ChildSnapshot {
        id: ChildId(record.get("id")?),
        slot: record.get("slot")?,
        generation: record.get("generation")?,
        pid: record.get("pid")?,
        role: record.get("role")?,
        ready: record.get("ready")?,
    })
}

displayed!(Network);

impl FieldValue for Sharing {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(match self {
            Self::Shared => b"shared",
            Self::Reuseport => b"reuseport",
        })
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        [Self::Shared, Self::Reuseport].into_iter().find(|sharing| sharing.to_bytes() == bytes)
    }
}

impl FieldValue for SlotRole {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(match self {
            Self::Occupant => b"occupant",
            Self::Successor => b"successor",
            Self::Leftover => b"leftover",
        })
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        [Self::Occupant, Self::Successor, Self::Leftover].into_iter().find(|role| role.to_bytes() == bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::{damaged, duration, newer, path, places};
    use super::super::handshake::tests::privileges;
    use super::super::secrets::tests::secrets;
    use super::*;

    fn child() -> impl Strategy<Value = (ChildSnapshot, Option<usize>)> {
        let role = prop::sample::select(vec![SlotRole::Occupant, SlotRole::Successor, SlotRole::Leftover]);
        let child = (any::<(u64, usize, u32, u32, bool)>(), role).prop_map(
            |((id, slot, generation, pid, ready), role)| ChildSnapshot {
                id: ChildId(id),
                slot,
                generation,
                pid,
                role,
                ready,
            },
        );
        (child, any::<Option<usize>>())
    }

    fn fleet() -> impl Strategy<Value = Snapshot> {
        let numbers = any::<(usize, usize, u32, u32)>();
        (numbers, prop::collection::vec(duration(), 0..4)).prop_map(
            |((workers, slots, generation, failures), failure_ages)| Snapshot {
                workers,
                slots,
                generation,
                failures,
                failure_ages,
                children: Vec::new(),
            },
        )
    }

    fn sockets() -> impl Strategy<Value = PassedSockets> {
        let network = prop::sample::select(vec![Network::Tcp, Network::Tcp4, Network::Tcp6, Network::Unix]);
        let sharing = prop::sample::select(vec![Sharing::Shared, Sharing::Reuseport]);
        (any::<(String, Vec<usize>)>(), network, sharing).prop_map(|((addr, listeners), network, sharing)| {
            PassedSockets { endpoint: Endpoint { addr, network }, sharing, listeners }
        })
    }

    fn snapshot() -> impl Strategy<Value = UpgradeSnapshot> {
        let health = any::<Option<(String, usize)>>()
            .prop_map(|health| health.map(|(addr, listener)| HealthSocket { addr, listener }));
        let lists = (prop::collection::vec(child(), 0..4), prop::collection::vec(sockets(), 0..3));
        let files = (health, prop::option::of((path(), any::<i32>())));
        (fleet(), lists, files, privileges(), any::<Vec<usize>>(), secrets()).prop_map(
            |(fleet, (children, sockets), (health, pid_file), privileges, cpus, secrets)| UpgradeSnapshot {
                channels: children
                    .iter()
                    .filter_map(|(child, channel)| Some((child.id, (*channel)?)))
                    .collect(),
                fleet: Snapshot { children: children.into_iter().map(|(child, _)| child).collect(), ..fleet },
                sockets,
                health,
                pid_file,
                privileges,
                cpus,
                secrets,
            },
        )
    }

    proptest! {
        #[test]
        fn snapshot_round_trips_and_unknown_fields_change_nothing(
            snapshot in snapshot(),
            places in places(),
        ) {
            let text = snapshot.to_text();
            prop_assert_eq!(UpgradeSnapshot::from_text(&text).unwrap(), snapshot.clone());
            prop_assert_eq!(UpgradeSnapshot::from_text(&newer(&text, &places, true)).unwrap(), snapshot);
        }

        #[test]
        fn any_records_are_read_without_panic(text: String) {
            let kinds = ["fleet", "privileges", "sockets", "health", "child", "file", "tickets"];
            let records = kinds.map(|kind| Record::parse(&format!("{kind} {}", text.replace('\n', " "))));
            let _ = UpgradeSnapshot::from_text(&Format::write(&[&[FORMAT.heading()], &records[..]].concat()));
        }
    }

    fn example() -> UpgradeSnapshot {
        let fleet = Snapshot { workers: 4, slots: 5, generation: 3, ..Snapshot::default() };
        UpgradeSnapshot { fleet, ..UpgradeSnapshot::default() }
    }

    #[test]
    fn damaged_snapshot_is_refused() {
        let text = example().to_text();
        assert!(damaged(&text, 2).all(|damaged| UpgradeSnapshot::from_text(&damaged).is_err()));
    }

    #[test]
    fn snapshot_of_other_version_is_refused() {
        let text = example().to_text().replace("/1", "/2");
        let error = UpgradeSnapshot::from_text(&text).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot is of version 2, this program reads version 1");
    }

    #[test]
    fn snapshot_without_fleet_or_with_incomplete_child_is_refused() {
        let text = |record: &str| Format::write(&[FORMAT.heading(), Record::parse(record)]);
        let error = UpgradeSnapshot::from_text(&text("news")).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot has no `fleet`");
        let error = UpgradeSnapshot::from_text(&text("child id=1 slot=0 generation=0")).unwrap_err();
        assert_eq!(error.to_string(), "`child` has no field `pid`");
    }
}
