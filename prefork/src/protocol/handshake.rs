//! What master and child say to each other.
//!
//! The channel is what the platform supplies (on Unix a socket pair, whose child's end is the child's
//! standard input). The first line is the handshake:
//!
//! ```text
//! master ─▶ child   prefork/1 slot=0 fleet=4 generation=0 grace_ms=5000 master=4711 trial=false secrets=true title=app
//!                   + the listeners; and the child's privileges, if it is told any: uid=33 nice=5 …
//! master ─▶ child   secrets           + a file with the TLS material, if the handshake announces it
//! child ─▶ master   received          the handshake is taken
//! child ─▶ master   ready             the serve function is about to be called
//! child ─▶ master   recycle           replace this child, new before old
//! master ─▶ child   announce-stop     the fleet stops soon; go on serving
//! master ─▶ child   stop-after-queue  stop, once no connection waits on the listener
//! end of file       the other side is dead
//! ```
//!
//! On Windows the channel is a pipe, and secrets do not pass: a child reads the files itself. What a
//! signal or a descriptor does elsewhere, lines do there that never leave `sys`: a child asks for its
//! listeners, and a master for a stop.

use std::io;
use std::time::Duration;

use super::codec::{List, Record, invalid};
use crate::privileges::{Identity, LandlockPaths, Privileges};
use crate::sys::GREETING;

/// What a child needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) slot: usize,
    /// The number of slots.
    pub(crate) fleet: usize,
    pub(crate) generation: u32,
    pub(crate) grace: Duration,
    /// The master's pid.
    pub(crate) master: u32,
    /// Whether this child replaces another, and so also checks what only a master needs.
    pub(crate) trial: bool,
    /// Whether TLS material follows.
    pub(crate) secrets: bool,
    /// The title of the fleet's processes; empty: none.
    pub(crate) title: String,
    pub(crate) privileges: Privileges,
}

impl Handshake {
    pub(crate) fn to_line(&self) -> String {
        let Self { slot, fleet, generation, grace, master, trial, secrets, title, privileges } = self;
        let record = Record::new(GREETING.trim_end())
            .with("slot", slot)
            .with("fleet", fleet)
            .with("generation", generation)
            .with("grace_ms", grace)
            .with("master", master)
            .with("trial", trial)
            .with("secrets", secrets)
            .with("title", title);
        privileges.to_fields(record).to_line()
    }

    /// Reads a master's handshake.
    ///
    /// # Errors
    ///
    /// `InvalidData` for one of another version, or with a field that cannot be read.
    pub(crate) fn from_line(line: &str) -> io::Result<Self> {
        let record = Record::from_line(line);
        if record.kind != GREETING.trim_end() {
            let expected = GREETING.trim_end();
            return Err(invalid(format!("the handshake is of version `{}`, not `{expected}`", record.kind)));
        }
        Ok(Self {
            slot: record.get_or("slot", 0)?,
            fleet: record.get_or("fleet", 1)?,
            generation: record.get_or("generation", 0)?,
            grace: record.get_or("grace_ms", Duration::from_secs(5))?,
            master: record.get_or("master", 0)?,
            trial: record.get_or("trial", false)?,
            secrets: record.get_or("secrets", false)?,
            title: record.get_or("title", String::new())?,
            privileges: Privileges::from_fields(&record)?,
        })
    }
}

impl Privileges {
    pub(super) fn to_fields(&self, record: Record) -> Record {
        let Self { identity, no_new_privs, nice, open_files, cpu, files } = self;
        let groups = identity.as_ref().map(|identity| List(identity.groups.clone()));
        let paths = |paths: &Vec<_>| List(paths.clone());
        record
            .with_some("uid", identity.as_ref().map(|identity| &identity.uid))
            .with_some("gid", identity.as_ref().map(|identity| &identity.gid))
            .with_some("groups", groups.as_ref())
            .with_some("no_new_privs", no_new_privs.then_some(no_new_privs))
            .with_some("nice", nice.as_ref())
            .with_some("open_files", open_files.as_ref())
            .with_some("cpu", cpu.as_ref())
            .with_some("read", files.as_ref().map(|files| paths(&files.read)).as_ref())
            .with_some("write", files.as_ref().map(|files| paths(&files.write)).as_ref())
    }

    /// Reads the fields that [`to_fields`](Self::to_fields) wrote. An identity is whole or an error: half
    /// of one must not leave a child with the master's privileges.
    pub(super) fn from_fields(record: &Record) -> io::Result<Self> {
        let groups = record.get::<List<u32>>("groups")?;
        let identity = match (record.get("uid")?, record.get("gid")?, groups) {
            (None, None, None) => None,
            (Some(uid), Some(gid), groups) => {
                Some(Identity { uid, gid, groups: groups.map_or_else(Vec::new, |groups| groups.0) })
            }
            _ => return Err(invalid("the handshake has half an identity".to_owned())),
        };
        let files = match (record.get::<List<_>>("read")?, record.get::<List<_>>("write")?) {
            (None, None) => None,
            (read, write) => Some(LandlockPaths {
                read: read.map_or_else(Vec::new, |paths| paths.0),
                write: write.map_or_else(Vec::new, |paths| paths.0),
            }),
        };
        Ok(Self {
            identity,
            no_new_privs: record.get_or("no_new_privs", false)?,
            nice: record.get("nice")?,
            open_files: record.get("open_files")?,
            cpu: record.get("cpu")?,
            files,
        })
    }
}

/// What a child says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToMaster {
    /// The handshake is taken.
    Received,
    /// The serve function is about to be called.
    Ready,
    /// Replace this child, new before old.
    Recycle,
}

impl ToMaster {
    pub(crate) fn to_line(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Ready => "ready",
            Self::Recycle => "recycle",
        }
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        [Self::Received, Self::Ready, Self::Recycle].into_iter().find(|message| message.to_line() == line)
    }
}

/// What the master says after the handshake. A stop is a signal on Unix, so that it reaches a child
/// that is wrapped in another program as well; where there are no signals, `sys` has a line for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToChild {
    /// The fleet stops soon; go on serving.
    AnnounceStop,
    /// Stop, once no connection waits on the listener.
    StopAfterQueue,
}

impl ToChild {
    pub(crate) fn to_line(self) -> &'static str {
        match self {
            Self::AnnounceStop => "announce-stop",
            Self::StopAfterQueue => "stop-after-queue",
        }
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        [Self::AnnounceStop, Self::StopAfterQueue].into_iter().find(|message| message.to_line() == line)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = PathBuf> {
        any::<String>().prop_map(PathBuf::from)
    }

    prop_compose! {
        fn privileges()(
            identity in any::<Option<(u32, u32, Vec<u32>)>>(),
            files in proptest::option::of((
                proptest::collection::vec(path(), 0..3),
                proptest::collection::vec(path(), 0..3),
            )),
            no_new_privs in any::<bool>(),
            nice in any::<Option<i32>>(),
            open_files in any::<Option<u64>>(),
            cpu in any::<Option<usize>>(),
        ) -> Privileges {
            Privileges {
                identity: identity.map(|(uid, gid, groups)| Identity { uid, gid, groups }),
                no_new_privs,
                nice,
                open_files,
                cpu,
                files: files.map(|(read, write)| LandlockPaths { read, write }),
            }
        }
    }

    prop_compose! {
        fn handshake()(
            (slot, fleet, generation, grace) in any::<(usize, usize, u32, u32)>(),
            (master, trial, secrets, title) in any::<(u32, bool, bool, String)>(),
            privileges in privileges(),
        ) -> Handshake {
            let grace = Duration::from_millis(grace.into());
            Handshake { slot, fleet, generation, grace, master, trial, secrets, title, privileges }
        }
    }

    proptest! {
        #[test]
        fn handshake_survives_and_unknown_fields_are_skipped(handshake in handshake()) {
            let line = handshake.to_line();
            prop_assert!(line.starts_with(GREETING));
            prop_assert_eq!(&Handshake::from_line(&line).unwrap(), &handshake);
            let newer = format!("{line} colour=blue flag");
            prop_assert_eq!(Handshake::from_line(&newer).unwrap(), handshake);
        }

        #[test]
        fn damaged_handshake_never_has_a_part_of_an_identity(
            handshake in handshake(),
            at in any::<prop::sample::Index>(),
            byte in any::<char>(),
        ) {
            let mut line: Vec<char> = handshake.to_line().chars().collect();
            let at = at.index(line.len());
            line[at] = byte;
            let damaged: String = line.into_iter().collect();
            if let Ok(read) = Handshake::from_line(&damaged) {
                let fields = damaged.split_ascii_whitespace();
                let named = fields.filter(|field| field.starts_with("uid=") || field.starts_with("gid=")).count();
                prop_assert_eq!(read.privileges.identity.is_some(), named > 0);
            }
        }
    }

    #[test]
    fn half_an_identity_and_bad_values_are_refused() {
        let bad =
            ["uid=33", "gid=33", "groups=1,", "uid=-1 gid=1", "nice=low", "cpu=x", "read=/%4,", "slot=x"];
        for fields in bad {
            assert!(Handshake::from_line(&format!("{GREETING}{fields}")).is_err(), "{fields}");
        }
        assert!(Handshake::from_line("prefork/2 slot=0").is_err());
    }

    #[test]
    fn messages_survive_and_unknown_ones_are_skipped() {
        for message in [ToMaster::Received, ToMaster::Ready, ToMaster::Recycle] {
            assert_eq!(ToMaster::from_line(message.to_line()), Some(message));
        }
        for message in [ToChild::AnnounceStop, ToChild::StopAfterQueue] {
            assert_eq!(ToChild::from_line(message.to_line()), Some(message));
        }
        assert_eq!(ToMaster::from_line("unknown"), None);
    }
}
