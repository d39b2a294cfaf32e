//! What `privileges_linux.rs` offers, as far as the other Unixes have it.

#![cfg_attr(target_vendor = "apple", allow(dead_code, reason = "no child becomes another user there"))]

use std::io;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, getuid, setgid, setuid};
use socket2::Socket;

use crate::privileges::LandlockPaths;

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Linux can do that")
}

pub(super) fn drop_capabilities() -> io::Result<()> {
    Ok(())
}

pub(super) fn has_capabilities() -> io::Result<bool> {
    Ok(false)
}

/// How a system without capabilities does it: root may, nobody else.
pub(super) fn may_change_user() -> io::Result<bool> {
    if cfg!(target_vendor = "apple") { Err(unsupported()) } else { Ok(geteuid().is_root()) }
}

pub(super) fn may_raise_limits() -> io::Result<bool> {
    Ok(geteuid().is_root())
}

pub(super) fn may_raise_priority() -> io::Result<bool> {
    Ok(geteuid().is_root())
}

/// Nobody's limit.
pub(super) fn least_nice() -> i32 {
    20
}

pub(super) fn most_open_files() -> Option<u64> {
    None
}

/// For root these set the real, the effective and the saved one.
pub(super) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    setgid(gid)?;
    Ok(setuid(uid)?)
}

pub(super) fn has_ids(uid: Uid, gid: Gid) -> io::Result<bool> {
    Ok([getuid(), geteuid()] == [uid; 2] && [getgid(), getegid()] == [gid; 2])
}

pub(super) fn restore_access_to_itself() -> io::Result<()> {
    Ok(())
}

/// Unknown here; users and limits are the whole process's.
pub(crate) fn other_threads() -> usize {
    0
}

pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    Err(unsupported())
}

pub(crate) fn pin_to_cpu(_cpu: usize) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn prefer_cpu(_socket: &Socket, _cpu: Option<usize>) -> io::Result<()> {
    Ok(())
}

pub(crate) fn check_no_new_privs() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn refuse_new_privileges() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn check_landlock() -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn confine_to(_files: &LandlockPaths) -> io::Result<()> {
    Err(unsupported())
}
