//! Users and priorities. These systems have no capabilities and cannot pin a process to a CPU.

#![cfg_attr(target_vendor = "apple", allow(dead_code, reason = "no child changes its user there"))]

use std::io;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, getuid, setgid, setuid};

pub(super) fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Linux can do that")
}

/// Does nothing: there are no capabilities.
pub(in crate::sys) fn drop_capabilities() -> io::Result<()> {
    Ok(())
}

pub(in crate::sys) fn has_capabilities() -> io::Result<bool> {
    Ok(false)
}

/// Only root may change users.
pub(in crate::sys) fn may_change_user() -> io::Result<bool> {
    if cfg!(target_vendor = "apple") { Err(unsupported()) } else { Ok(geteuid().is_root()) }
}

pub(in crate::sys) fn may_raise_limits() -> io::Result<bool> {
    Ok(geteuid().is_root())
}

pub(in crate::sys) fn may_raise_priority() -> io::Result<bool> {
    Ok(geteuid().is_root())
}

/// There is no such limit: without a privilege, the priority can only be lowered.
pub(in crate::sys) fn least_nice() -> i32 {
    20
}

/// Unknown.
pub(in crate::sys) fn max_open_files() -> Option<u64> {
    None
}

/// For root, these calls set the real, the effective and the saved id.
pub(in crate::sys) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    setgid(gid)?;
    Ok(setuid(uid)?)
}

/// Whether the real and effective ids are these.
pub(in crate::sys) fn has_ids(uid: Uid, gid: Gid) -> io::Result<bool> {
    Ok([getuid(), geteuid()] == [uid; 2] && [getgid(), getegid()] == [gid; 2])
}

/// Does nothing: the access was not lost.
pub(crate) fn restore_access_to_itself() -> io::Result<()> {
    Ok(())
}

pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    Err(unsupported())
}

pub(crate) fn pin_to_cpu(_cpu: usize) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn check_no_new_privs() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn set_no_new_privs() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn has_no_new_privs() -> io::Result<bool> {
    Err(unsupported())
}

pub(crate) fn refuse_tracing() -> io::Result<()> {
    Err(unsupported())
}
