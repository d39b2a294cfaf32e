//! Capabilities, upper limits, ids and CPUs.

use std::fs;
use std::io;

use caps::{CapSet, Capability};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Pid, Uid, getresgid, getresuid, setresgid, setresuid};

fn has(capability: Capability) -> io::Result<bool> {
    caps::has_cap(None, CapSet::Effective, capability).map_err(io::Error::other)
}

/// Drops the effective, permitted and inheritable set, and with them the kernel empties the ambient one.
/// The change of user has dropped nothing where a master that is not root had capabilities.
pub(in crate::sys) fn drop_capabilities() -> io::Result<()> {
    // Clears the effective set as well, which is a part of the permitted one.
    caps::clear(None, CapSet::Permitted).map_err(io::Error::other)?;
    caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)
}

/// Whether any capability is left in one of these sets.
pub(in crate::sys) fn has_capabilities() -> io::Result<bool> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        if !caps::read(None, set).map_err(io::Error::other)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether this process may start children as another user, and signal them afterwards.
pub(in crate::sys) fn may_change_user() -> io::Result<bool> {
    Ok(has(Capability::CAP_SETUID)? && has(Capability::CAP_SETGID)? && has(Capability::CAP_KILL)?)
}

pub(in crate::sys) fn may_raise_limits() -> io::Result<bool> {
    has(Capability::CAP_SYS_RESOURCE)
}

pub(in crate::sys) fn may_raise_priority() -> io::Result<bool> {
    has(Capability::CAP_SYS_NICE)
}

/// The limit counts in reverse: 1 to 40 stand for 19 to -20.
pub(in crate::sys) fn least_nice() -> i32 {
    let (soft, _) = getrlimit(Resource::RLIMIT_NICE).unwrap_or((0, 0));
    i32::try_from(soft.min(40)).map_or(20, |soft| 20 - soft)
}

pub(in crate::sys) fn max_open_files() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

pub(in crate::sys) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    setresgid(gid, gid, gid)?;
    Ok(setresuid(uid, uid, uid)?)
}

/// Whether the real, effective and saved ids are these.
pub(in crate::sys) fn has_ids(uid: Uid, gid: Gid) -> io::Result<bool> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let users = [users.real, users.effective, users.saved].iter().all(|found| *found == uid);
    let groups = [groups.real, groups.effective, groups.saved].iter().all(|found| *found == gid);
    Ok(users && groups)
}

/// Makes the process dumpable again. The kernel clears that flag with a change of user, and then only
/// root may read most of `/proc/self`, which a drain needs. The flag protects nothing here: no user code
/// has run as root in this process, so it holds no more than if that user had started it.
pub(crate) fn restore_access_to_itself() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(true)?)
}

/// From now on other processes of the same user can neither trace this process nor read its memory.
pub(crate) fn refuse_tracing() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// The CPUs that this process may run on.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

pub(crate) fn check_no_new_privs() -> io::Result<()> {
    Ok(())
}

pub(crate) fn set_no_new_privs() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

pub(crate) fn has_no_new_privs() -> io::Result<bool> {
    Ok(nix::sys::prctl::get_no_new_privs()?)
}
