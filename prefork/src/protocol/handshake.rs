//! The messages between master and child.
//!
//! `sys` supplies the channel: on Unix a socket pair, whose child's end is the child's standard input, on
//! Windows a pipe. The handshake is a message of one line; listeners come with it as descriptors.
//!
//! ```text
//! prefork-handshake/1 slot=0 fleet=4 generation=0 master=4711 grace_ms=5000 trial=false secrets=true
//!     title=app no_new_privs=true nice=5 uid=33 gid=33 group=4 group=100 check=0dd4c7b1
//! ```
//!
//! Every later message is a [`ToChild`] or a [`ToMaster`]: a kind, mostly without fields. `sys` sends
//! messages of its own over the same channel, which it handles itself: the file with the secrets, and on
//! Windows a stop and the request for listeners.

use std::io;
use std::time::Duration;

use super::codec::{Format, Record, invalid};
use super::privilege_fields::{privileges_of, with_privileges};
use super::snapshot;
use crate::privileges::Privileges;
use crate::shared::LanePlace;

pub(super) const FORMAT: Format = Format { name: "handshake", version: 1 };

/// Begins every handshake, of whatever version.
pub(crate) const GREETING: &str = "prefork-handshake/";

/// What a child needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) slot: usize,
    /// How many slots the fleet has.
    pub(crate) fleet: usize,
    pub(crate) generation: u32,
    /// The master's pid.
    pub(crate) master: u32,
    pub(crate) grace: Duration,
    /// Whether this child replaces another one, and therefore checks also the options that only a master
    /// needs.
    pub(crate) trial: bool,
    /// Whether the child's program will replace the master's, and therefore must be able to read its
    /// snapshot.
    pub(crate) upgrade: bool,
    /// Whether the child answers with its program's [`UpgradePlan`](super::UpgradePlan), and ends. The
    /// listeners are then the service manager's, with these names.
    pub(crate) check: Option<Vec<String>>,
    /// Whether the process is a template: it loads what `preload` gives, and forks children.
    pub(crate) template: bool,
    /// Whether secrets follow the handshake.
    pub(crate) secrets: bool,
    /// The name in process titles; empty: titles are left alone.
    pub(crate) title: String,
    pub(crate) privileges: Privileges,
    /// The child's lane in the region of shared values, which follows as a descriptor.
    pub(crate) lane: Option<LanePlace>,
}

impl Handshake {
    pub(crate) fn to_line(&self) -> String {
        let Self {
            slot,
            fleet,
            generation,
            master,
            grace,
            trial,
            upgrade,
            check,
            template,
            secrets,
            title,
            privileges,
            lane,
        } = self;
        let record = FORMAT
            .heading()
            .with("slot", slot)
            .with("fleet", fleet)
            .with("generation", generation)
            .with("master", master)
            .with("grace_ms", grace)
            .with("trial", trial)
            .with_each("snapshot", upgrade.then_some(&snapshot::FORMAT.version))
            .with_each("check_only", check.is_some().then_some(&true))
            .with_each("activated", check.iter().flatten())
            .with_each("template", template.then_some(&true))
            .with("secrets", secrets)
            .with("title", title)
            .with_each("layout", lane.as_ref().map(|place| &place.layout))
            .with_each("lane", lane.as_ref().map(|place| &place.lane));
        Format::write(&[with_privileges(record, privileges)])
    }

    /// # Errors
    ///
    /// The line is no handshake, one of another version, or damaged; or this program would replace a
    /// master whose snapshot it cannot read.
    pub(crate) fn from_line(line: &str) -> io::Result<Self> {
        let (record, _) = FORMAT.read(line)?;
        let upgrade: Option<u32> = record.find("snapshot")?;
        if let Some(version) = upgrade.filter(|version| *version != snapshot::FORMAT.version) {
            let ours = snapshot::FORMAT.version;
            return Err(invalid(format!(
                "the master's snapshot would be of version {version}, this program reads version {ours}"
            )));
        }
        Ok(Self {
            slot: record.get("slot")?,
            fleet: record.get("fleet")?,
            generation: record.get("generation")?,
            master: record.get("master")?,
            grace: record.get("grace_ms")?,
            trial: record.find("trial")?.unwrap_or_default(),
            upgrade: upgrade.is_some(),
            check: match record.find("check_only")? {
                Some(true) => Some(record.all("activated")?),
                Some(false) | None => None,
            },
            template: record.find("template")?.unwrap_or_default(),
            secrets: record.find("secrets")?.unwrap_or_default(),
            title: record.find("title")?.unwrap_or_default(),
            privileges: privileges_of(&record)?,
            lane: record
                .find("layout")?
                .zip(record.find("lane")?)
                .map(|(layout, lane)| LanePlace { layout, lane }),
        })
    }
}

/// What a child tells its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToMaster {
    /// The child has read the handshake.
    Received,
    /// The child is about to call the serve function.
    Ready,
    /// The child asks to be replaced, new before old.
    Recycle,
    /// The same, because it has grown beyond its limit.
    RecycleOfSize,
    /// Work in the child takes longer than `hang_timeout`: it is about to end itself.
    Hangs,
    /// The child received a signal to stop. It asks to be replaced, and for the order to stop.
    StopRequested,
    /// The child asks to become the leader.
    Candidate,
    /// The child is the leader no more. It answers each [`ToChild::Lead`] with this once, when its work as the
    /// leader has ended.
    Resigned,
}

impl ToMaster {
    pub(crate) fn to_line(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Ready => "ready",
            Self::Recycle => "recycle",
            Self::RecycleOfSize => "recycle because=size",
            Self::Hangs => "hangs",
            Self::StopRequested => "stop-requested",
            Self::Candidate => "candidate",
            Self::Resigned => "resigned",
        }
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let record = Record::parse(line);
        let because = record.find("because").ok().flatten();
        let because_of_size = because.is_some_and(|because: String| because == "size");
        match record.kind() {
            "received" => Some(Self::Received),
            "ready" => Some(Self::Ready),
            "recycle" if because_of_size => Some(Self::RecycleOfSize),
            "recycle" => Some(Self::Recycle),
            "hangs" => Some(Self::Hangs),
            "stop-requested" => Some(Self::StopRequested),
            "candidate" => Some(Self::Candidate),
            "resigned" => Some(Self::Resigned),
            _ => None,
        }
    }
}

/// What the master tells a child after the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToChild {
    /// The master knows of the signal, and orders the stop when a new child is ready.
    StopNoted,
    /// The fleet stops soon; the child goes on serving.
    AnnounceStop,
    /// Log files were rotated.
    ReopenLogs,
    /// The child is the leader, until it says that it has resigned.
    Lead,
    /// The child ends its work as the leader.
    Resign,
    /// The child stops.
    Stop,
    /// The child stops once no connection waits on its listeners with these addresses. An older master names
    /// none: then they are those that no other child has.
    StopAfterQueue(Vec<String>),
}

impl ToChild {
    /// The message without its fields.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::StopNoted => "stop-noted",
            Self::AnnounceStop => "announce-stop",
            Self::ReopenLogs => "reopen-logs",
            Self::Lead => "lead",
            Self::Resign => "resign",
            Self::Stop => "stop",
            Self::StopAfterQueue(_) => "stop-after-queue",
        }
    }

    pub(crate) fn to_line(&self) -> String {
        let record = Record::new(self.kind());
        record
            .with_each("queue", if let Self::StopAfterQueue(addrs) = self { addrs } else { &[][..] })
            .to_line()
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let record = Record::parse(line);
        match record.kind() {
            "stop-noted" => Some(Self::StopNoted),
            "announce-stop" => Some(Self::AnnounceStop),
            "reopen-logs" => Some(Self::ReopenLogs),
            "lead" => Some(Self::Lead),
            "resign" => Some(Self::Resign),
            "stop" => Some(Self::Stop),
            "stop-after-queue" => Some(Self::StopAfterQueue(record.all("queue").unwrap_or_default())),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::{damaged, duration, newer, path, places};
    use super::*;
    use crate::sys::{Identity, LandlockPaths};

    pub(in crate::protocol) fn privileges() -> impl Strategy<Value = Privileges> {
        let identity = (any::<u32>(), any::<u32>(), any::<Vec<u32>>())
            .prop_map(|(uid, gid, groups)| Identity { uid, gid, groups });
        let paths = || prop::collection::vec(path(), 0..3);
        let files = (paths(), paths()).prop_map(|(read, write)| LandlockPaths { read, write });
        let fields = (prop::option::of(identity), any::<bool>(), any::<Option<i32>>(), any::<Option<u64>>());
        (fields, any::<Option<usize>>(), prop::option::of(files)).prop_map(
            |((identity, no_new_privs, nice, open_files), cpu, files)| Privileges {
                identity,
                no_new_privs,
                nice,
                open_files,
                cpu,
                files,
            },
        )
    }

    fn handshake() -> impl Strategy<Value = Handshake> {
        let numbers = any::<(usize, usize, u32, u32, Option<(u32, usize)>)>();
        let kind = any::<(bool, bool, Option<Vec<String>>, bool, bool, String)>();
        (numbers, duration(), kind, privileges()).prop_map(
            |((slot, fleet, generation, master, lane), grace, kind, privileges)| {
                let (trial, upgrade, check, template, secrets, title) = kind;
                Handshake {
                    lane: lane.map(|(layout, lane)| LanePlace { layout, lane }),
                    slot,
                    fleet,
                    generation,
                    master,
                    grace,
                    trial,
                    upgrade,
                    check,
                    template,
                    secrets,
                    title,
                    privileges,
                }
            },
        )
    }

    fn example() -> Handshake {
        let identity = Identity { uid: 33, gid: 34, groups: vec![4, 100] };
        Handshake {
            slot: 3,
            fleet: 8,
            generation: 2,
            master: 4711,
            grace: Duration::from_millis(1500),
            trial: true,
            upgrade: true,
            check: None,
            template: false,
            secrets: true,
            title: "two words".to_owned(),
            lane: Some(LanePlace { layout: 1, lane: 7 }),
            privileges: Privileges { identity: Some(identity), nice: Some(5), ..Privileges::default() },
        }
    }

    /// A handshake with these fields and no others, as a program of another version may write it.
    fn with_fields(fields: &str) -> String {
        Format::write(&[Record::parse(&format!("{} {fields}", FORMAT.heading().kind()))])
    }

    const OLDEST: &str = "slot=3 fleet=8 generation=2 master=4711 grace_ms=1500";

    proptest! {
        #[test]
        fn handshake_round_trips_and_unknown_fields_change_nothing(
            handshake in handshake(),
            places in places(),
        ) {
            let line = handshake.to_line();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Handshake::from_line(&line).unwrap(), handshake.clone());
            prop_assert_eq!(Handshake::from_line(&newer(&line, &places, false)).unwrap(), handshake);
        }
    }

    proptest! {
        // Each case damages every byte.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn damaged_handshake_is_refused(handshake in handshake(), xor in 1..=u8::MAX) {
            for line in damaged(&handshake.to_line(), xor) {
                prop_assert!(Handshake::from_line(&line).is_err(), "{}", line);
            }
        }
    }

    #[test]
    fn handshake_begins_with_greeting() {
        assert!(example().to_line().starts_with(GREETING));
    }

    #[test]
    fn handshake_without_newer_fields_has_defaults() {
        let handshake = Handshake::from_line(&with_fields(OLDEST)).unwrap();
        let (title, privileges) = (String::new(), Privileges::default());
        let (trial, upgrade, secrets) = (false, false, false);
        let lane = None;
        assert_eq!(handshake, Handshake { trial, upgrade, secrets, title, privileges, lane, ..example() });
        let error = Handshake::from_line(&with_fields("slot=3 fleet=8")).unwrap_err();
        assert_eq!(error.to_string(), "`prefork-handshake/1` has no field `generation`");
    }

    #[test]
    fn half_an_identity_is_refused() {
        for fields in ["uid=33", "gid=33", "group=4", "uid=33 group=4", "gid=33 group=4"] {
            let error = Handshake::from_line(&with_fields(&format!("{OLDEST} {fields}"))).unwrap_err();
            assert!(error.to_string().contains("has no field `"), "{fields}: {error}");
        }
    }

    #[test]
    fn privileges_that_cannot_be_read_are_refused() {
        for field in ["uid=", "uid=-1", "group=x", "nice=low", "cpu=x", "landlock_read=/%4", "no_new_privs=1"]
        {
            let error = Handshake::from_line(&with_fields(&format!("{OLDEST} {field}"))).unwrap_err();
            assert!(error.to_string().contains("that cannot be read"), "{field}: {error}");
        }
    }

    #[test]
    fn upgrade_across_snapshot_versions_is_refused_before_exec() {
        let error = Handshake::from_line(&with_fields(&format!("{OLDEST} snapshot=999"))).unwrap_err();
        assert!(error.to_string().starts_with("the master's snapshot would be of version 999"), "{error}");
    }

    #[test]
    fn messages_round_trip_and_unknown_ones_are_skipped() {
        for message in [
            ToMaster::Received,
            ToMaster::Ready,
            ToMaster::Recycle,
            ToMaster::StopRequested,
            ToMaster::Candidate,
            ToMaster::Resigned,
        ] {
            assert_eq!(ToMaster::from_line(message.to_line()), Some(message));
            let newer = format!("{} because=idle", message.to_line());
            assert_eq!(ToMaster::from_line(&newer), Some(message));
        }
        let queues = ["127.0.0.1:80".to_owned(), "unix:/with a blank".to_owned()];
        for message in [
            ToChild::StopNoted,
            ToChild::AnnounceStop,
            ToChild::ReopenLogs,
            ToChild::Lead,
            ToChild::Resign,
            ToChild::Stop,
            ToChild::StopAfterQueue(Vec::new()),
            ToChild::StopAfterQueue(queues.into()),
        ] {
            assert_eq!(ToChild::from_line(&message.to_line()), Some(message));
        }
        assert_eq!(ToMaster::from_line("news"), None);
        assert_eq!(ToChild::from_line(""), None);
    }
}
