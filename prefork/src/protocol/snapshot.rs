//! The state that a master hands over to the program that replaces its own in the same process.
//!
//! The listeners and the channels to the children stay open over the exec. The snapshot names each by its
//! number among those that are handed over, so that a record which the next program does not know changes
//! no other record.
//!
//! ```text
//! prefork-snapshot/2
//! fleet workers=4 slots=4 generation=3 failures=1 failure_age_ms=40000
//! counted start_start=4 start_reload=4 reload_done=1 started_at_ms=1764343437512 log_dropped=0
//! privileges no_new_privs=false uid=33 gid=33 cpu_affinity=0 cpu_affinity=1
//! sockets addr=:80 network=tcp4 sharing=reuseport listener=0 listener=1 listener=2 listener=3
//! leaving addr=:81 network=tcp4 sharing=shared listener=4
//! health addr=127.0.0.1:9090 listener=5
//! control path=/run/app.sock listener=6
//! pid_file path=/run/app.pid descriptor=9
//! values layout=1 descriptor=10
//! total series=%01%12… cell=4711
//! child id=7 slot=0 generation=3 pid=4711 role=successor ready=true channel=0 listener=0 lane=1
//! leader id=7 resigning=false candidate=8 candidate=9
//! file …
//! tickets … check=7d1102ee
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::codec::{FieldValue, Format, Record, displayed, invalid};
use super::control::PassedControl;
use super::privilege_fields::{privileges_of, with_privileges};
use super::secrets::Secrets;
use super::totals::{self, MasterTotals, totals_from_record, totals_to_record};
use crate::listen::{Endpoint, Network, PassedSet, PassedSockets, Sharing};
use crate::privileges::Privileges;
use crate::shared::PassedValues;
use crate::supervisor::{ChildId, ChildSnapshot, FleetTotals, LeaderSnapshot, SlotRole, Snapshot};

/// The child that checks the next program refuses the handshake of a master that writes another version, so
/// that the fleet stays as it is. In version 1, the next program had to open its sockets itself.
pub(super) const FORMAT: Format = Format { name: "snapshot", version: 2 };

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UpgradeSnapshot {
    pub(crate) fleet: Snapshot,
    /// What the master has counted beside its supervisor.
    pub(crate) totals: MasterTotals,
    /// The open channels to children, by their number among those that are handed over.
    pub(crate) channels: BTreeMap<ChildId, usize>,
    /// The listeners that each child holds, by their number among those that are handed over.
    pub(crate) held: BTreeMap<ChildId, Vec<usize>>,
    pub(crate) sockets: PassedSet,
    pub(crate) health: Option<HealthSocket>,
    pub(crate) control: PassedControl,
    /// The pid files, and the numbers of their descriptors; one of them may be the last program's.
    pub(crate) pid_files: Vec<(PathBuf, i32)>,
    /// The privileges of the children.
    pub(crate) privileges: Privileges,
    /// The CPUs that the children are pinned to, cyclically.
    pub(crate) cpus: Vec<usize>,
    pub(crate) secrets: Secrets,
    pub(crate) values: Option<PassedValues>,
    /// The lanes of the children.
    pub(crate) lanes: BTreeMap<ChildId, usize>,
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
        let Self { fleet, totals, channels, held, sockets, health, pid_files, privileges, cpus, .. } = self;
        let Self { secrets, values, lanes, .. } = self;
        let privileges = with_privileges(Record::new("privileges"), privileges);
        let mut records = vec![
            FORMAT.heading(),
            Record::new("fleet")
                .with("workers", &fleet.workers)
                .with("slots", &fleet.slots)
                .with("generation", &fleet.generation)
                .with("failures", &fleet.failures)
                .with_each("failure_age_ms", &fleet.failure_ages),
            totals_to_record(&fleet.totals, totals),
            privileges.with_each("cpu_affinity", cpus),
        ];
        records.extend(sockets.sockets.iter().map(|passed| sockets_to_record("sockets", passed)));
        records.extend(sockets.leaving.iter().map(|passed| sockets_to_record("leaving", passed)));
        records.extend(health.iter().map(|HealthSocket { addr, listener }| {
            Record::new("health").with("addr", addr).with("listener", listener)
        }));
        records.extend(self.control.to_records());
        records.extend(pid_files.iter().map(|(path, descriptor)| {
            Record::new("pid_file").with("path", path).with("descriptor", descriptor)
        }));
        records.extend(values.iter().flat_map(values_to_records));
        records.extend(fleet.children.iter().map(|child| {
            let listeners = held.get(&child.id).into_iter().flatten();
            let record = child_to_record(child, channels.get(&child.id)).with_each("listener", listeners);
            record.with_each("lane", lanes.get(&child.id))
        }));
        records.push(leader_to_record(&fleet.leader));
        records.extend(secrets.to_records());
        Format::write(&records)
    }

    /// # Errors
    ///
    /// The text is of another version, or damaged.
    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let (_, records) = FORMAT.read(text)?;
        let mut snapshot = Self { secrets: Secrets::from_records(&records)?, ..Self::default() };
        let mut fleet = None;
        let mut counted = FleetTotals::default();
        let mut leader = LeaderSnapshot::default();
        for record in &records {
            match record.kind() {
                "fleet" => fleet = Some(fleet_from_record(record)?),
                totals::KIND => (counted, snapshot.totals) = totals_from_record(record)?,
                "privileges" => {
                    snapshot.privileges = privileges_of(record)?;
                    snapshot.cpus = record.all("cpu_affinity")?;
                }
                "sockets" => snapshot.sockets.sockets.push(sockets_from_record(record)?),
                "leaving" => snapshot.sockets.leaving.push(sockets_from_record(record)?),
                "health" => {
                    let (addr, listener) = (record.get("addr")?, record.get("listener")?);
                    snapshot.health = Some(HealthSocket { addr, listener });
                }
                "pid_file" => {
                    snapshot.pid_files.push((record.get("path")?, record.get("descriptor")?));
                }
                "values" => {
                    let (layout, descriptor) = (record.get("layout")?, record.get("descriptor")?);
                    snapshot.values = Some(PassedValues { layout, descriptor, totals: Vec::new() });
                }
                "total" => {
                    let total = (record.get("series")?, record.all("cell")?);
                    snapshot.values.iter_mut().for_each(|values| values.totals.push(total.clone()));
                }
                "leader" => leader = leader_from_record(record)?,
                "child" => {
                    let child = child_from_record(record)?;
                    let channel = record.find("channel")?.map(|channel| (child.id, channel));
                    snapshot.channels.extend(channel);
                    snapshot.held.insert(child.id, record.all("listener")?);
                    snapshot.lanes.extend(record.find("lane")?.map(|lane| (child.id, lane)));
                    snapshot.fleet.children.push(child);
                }
                _ => snapshot.control.add(record)?,
            }
        }
        let fleet = fleet.ok_or_else(|| invalid("the snapshot has no `fleet`".to_owned()))?;
        snapshot.fleet = Snapshot { children: snapshot.fleet.children, totals: counted, leader, ..fleet };
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
        totals: FleetTotals::default(),
        leader: LeaderSnapshot::default(),
        children: Vec::new(),
    })
}

fn sockets_to_record(kind: &str, passed: &PassedSockets) -> Record {
    let PassedSockets { endpoint, sharing, listeners, file } = passed;
    let record = Record::new(kind)
        .with("addr", &endpoint.addr)
        .with("network", &endpoint.network)
        .with("sharing", sharing)
        .with_each("listener", listeners);
    file.iter().fold(record, |record, (device, inode)| record.with("device", device).with("inode", inode))
}

fn sockets_from_record(record: &Record) -> io::Result<PassedSockets> {
    let endpoint = Endpoint { addr: record.get("addr")?, network: record.get("network")? };
    let file = record.find("device")?.zip(record.find("inode")?);
    Ok(PassedSockets { endpoint, sharing: record.get("sharing")?, listeners: record.all("listener")?, file })
}

fn values_to_records(PassedValues { layout, descriptor, totals }: &PassedValues) -> Vec<Record> {
    let values = Record::new("values").with("layout", layout).with("descriptor", descriptor);
    let total = |(series, cells): &(Vec<u8>, Vec<u64>)| {
        Record::new("total").with("series", series).with_each("cell", cells)
    };
    [values].into_iter().chain(totals.iter().map(total)).collect()
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

fn leader_to_record(LeaderSnapshot { leader, resigning, candidates }: &LeaderSnapshot) -> Record {
    Record::new("leader")
        .with_each("id", leader.as_ref().map(|ChildId(id)| id))
        .with("resigning", resigning)
        .with_each("candidate", candidates.iter().map(|ChildId(id)| id))
}

fn leader_from_record(record: &Record) -> io::Result<LeaderSnapshot> {
    Ok(LeaderSnapshot {
        leader: record.find("id")?.map(ChildId),
        resigning: record.find("resigning")?.unwrap_or_default(),
        candidates: record.all("candidate")?.into_iter().map(ChildId).collect(),
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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::{damaged, duration, newer, path, places};
    use super::super::control::tests::control;
    use super::super::handshake::tests::privileges;
    use super::super::secrets::tests::secrets;
    use super::super::totals::tests::{fleet_totals, master_totals};
    use super::*;

    fn child() -> impl Strategy<Value = (ChildSnapshot, Option<usize>, Vec<usize>)> {
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
        (child, any::<Option<usize>>(), any::<Vec<usize>>())
    }

    fn leader() -> impl Strategy<Value = LeaderSnapshot> {
        any::<(Option<u64>, bool, Vec<u64>)>().prop_map(|(leader, resigning, candidates)| LeaderSnapshot {
            leader: leader.map(ChildId),
            resigning,
            candidates: candidates.into_iter().map(ChildId).collect(),
        })
    }

    fn fleet() -> impl Strategy<Value = Snapshot> {
        let numbers = any::<(usize, usize, u32, u32)>();
        (numbers, prop::collection::vec(duration(), 0..4), fleet_totals(), leader()).prop_map(
            |((workers, slots, generation, failures), failure_ages, totals, leader)| Snapshot {
                workers,
                slots,
                generation,
                failures,
                failure_ages,
                totals,
                leader,
                children: Vec::new(),
            },
        )
    }

    pub(in crate::protocol) fn network() -> impl Strategy<Value = Network> {
        prop::sample::select(vec![Network::Tcp, Network::Tcp4, Network::Tcp6, Network::Unix])
    }

    pub(in crate::protocol) fn sharing() -> impl Strategy<Value = Sharing> {
        prop::sample::select(vec![Sharing::Shared, Sharing::Reuseport])
    }

    fn passed() -> impl Strategy<Value = Vec<PassedSockets>> {
        let fields = any::<(String, Vec<usize>, Option<(u64, u64)>)>();
        let sockets =
            (fields, network(), sharing()).prop_map(|((addr, listeners, file), network, sharing)| {
                PassedSockets { endpoint: Endpoint { addr, network }, sharing, listeners, file }
            });
        prop::collection::vec(sockets, 0..3)
    }

    fn snapshot() -> impl Strategy<Value = UpgradeSnapshot> {
        let health = any::<Option<(String, usize)>>()
            .prop_map(|health| health.map(|(addr, listener)| HealthSocket { addr, listener }));
        let sockets = (passed(), passed()).prop_map(|(sockets, leaving)| PassedSet { sockets, leaving });
        let lists = (prop::collection::vec(child(), 0..4), sockets);
        let values = any::<Option<(u32, i32, Vec<(Vec<u8>, Vec<u64>)>)>>().prop_map(|values| {
            values.map(|(layout, descriptor, totals)| PassedValues { layout, descriptor, totals })
        });
        let files = (health, prop::collection::vec((path(), any::<i32>()), 0..3), values, control());
        (fleet(), master_totals(), lists, files, privileges(), any::<Vec<usize>>(), secrets()).prop_map(
            |(
                fleet,
                totals,
                (children, sockets),
                (health, pid_files, values, control),
                privileges,
                cpus,
                secrets,
            )| {
                UpgradeSnapshot {
                    totals,
                    // Some have a lane.
                    lanes: children
                        .iter()
                        .filter_map(|(child, channel, _)| Some((child.id, (*channel)? / 2)))
                        .collect(),
                    values,
                    channels: children
                        .iter()
                        .filter_map(|(child, channel, _)| Some((child.id, (*channel)?)))
                        .collect(),
                    held: children.iter().map(|(child, _, held)| (child.id, held.clone())).collect(),
                    fleet: Snapshot {
                        children: children.into_iter().map(|child| child.0).collect(),
                        ..fleet
                    },
                    sockets,
                    health,
                    control,
                    pid_files,
                    privileges,
                    cpus,
                    secrets,
                }
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
            let kinds = [
                "fleet", "counted", "privileges", "sockets", "leaving", "health", "values", "total", "child", "leader",
                "file", "tickets", "control", "control_file", "control_operation", "control_client",
            ];
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
        let text = example().to_text().replace("/2", "/1");
        let error = UpgradeSnapshot::from_text(&text).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot is of version 1, this program reads version 2");
    }

    #[test]
    fn snapshot_without_fleet_or_with_incomplete_child_is_refused() {
        let text = |record: &str| Format::write(&[FORMAT.heading(), Record::parse(record)]);
        let error = UpgradeSnapshot::from_text(&text("news")).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot has no `fleet`");
        let error = UpgradeSnapshot::from_text(&text("child id=1 slot=0 generation=0")).unwrap_err();
        assert_eq!(error.to_string(), "`child` has no field `pid`");
    }

    #[test]
    fn control_socket_that_is_not_handed_over_has_no_path() {
        let text = |control| {
            let fleet = Record::parse("fleet workers=1 slots=1 generation=0");
            Format::write(&[FORMAT.heading(), fleet, Record::parse(control)])
        };
        let with = UpgradeSnapshot::from_text(&text("control path=/a listener=6")).unwrap().control;
        assert_eq!((with.path.to_str(), with.listener), (Some("/a"), Some(6)));
        let without = UpgradeSnapshot::from_text(&text("control path=/a")).unwrap().control;
        assert_eq!(without, PassedControl::default());
    }
}
