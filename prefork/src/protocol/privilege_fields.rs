//! The privileges of children, as fields of a record: of the handshake, and of the snapshot.

use std::io;

use super::codec::Record;
use crate::privileges::Privileges;
use crate::sys::{Identity, LandlockPaths};

/// Adds the privileges to a record.
pub(super) fn with_privileges(record: Record, privileges: &Privileges) -> Record {
    let Privileges { identity, no_new_privs, nice, open_files, cpu, files } = privileges;
    let mut record = record
        .with("no_new_privs", no_new_privs)
        .with_each("nice", nice)
        .with_each("open_files", open_files)
        .with_each("cpu", cpu);
    if let Some(Identity { uid, gid, groups }) = identity {
        record = record.with("uid", uid).with("gid", gid).with_each("group", groups);
    }
    if let Some(LandlockPaths { read, write }) = files {
        record = record.with("landlock", &true);
        record = record.with_each("landlock_read", read).with_each("landlock_write", write);
    }
    record
}

/// The privileges in a record. Half an identity is an error: the process would keep the other half.
pub(super) fn privileges_of(record: &Record) -> io::Result<Privileges> {
    let (uid, gid): (Option<u32>, Option<u32>) = (record.find("uid")?, record.find("gid")?);
    let groups: Vec<u32> = record.all("group")?;
    let identity = match (uid, gid) {
        (None, None) if groups.is_empty() => None,
        _ => Some(Identity { uid: record.get("uid")?, gid: record.get("gid")?, groups }),
    };
    let (read, write) = (record.all("landlock_read")?, record.all("landlock_write")?);
    let confined = record.find("landlock")?.unwrap_or(false) || !read.is_empty() || !write.is_empty();
    Ok(Privileges {
        identity,
        no_new_privs: record.find("no_new_privs")?.unwrap_or_default(),
        nice: record.find("nice")?,
        open_files: record.find("open_files")?,
        cpu: record.find("cpu")?,
        files: confined.then_some(LandlockPaths { read, write }),
    })
}
