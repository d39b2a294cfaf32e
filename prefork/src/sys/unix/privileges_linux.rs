//! Capabilities, CPUs, Landlock: the privileges that Linux alone knows.
//! `privileges_portable.rs` has the same names for the other Unixes.

use std::fs;
use std::io;

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Pid, Uid, getresgid, getresuid, setresgid, setresuid};
use socket2::Socket;

use crate::privileges::LandlockPaths;

// From linux/capability.h; the C library does not have them.
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_NICE: u32 = 23;
const CAP_SYS_RESOURCE: u32 = 24;
const VERSION_3: u32 = 0x2008_0522;

/// Head and body of capget(2) and capset(2): effective, permitted and inheritable, twice 32 of each.
#[repr(C)]
struct Head {
    version: u32,
    pid: libc::c_int,
}

type Capabilities = [[u32; 3]; 2];

fn capabilities() -> io::Result<Capabilities> {
    let mut head = Head { version: VERSION_3, pid: 0 };
    let mut sets: Capabilities = [[0; 3]; 2];
    // SAFETY: both point to what the call expects of this version, and outlive it.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut head, &raw mut sets) };
    if result == 0 { Ok(sets) } else { Err(io::Error::last_os_error()) }
}

fn has(capability: u32) -> io::Result<bool> {
    Ok(capabilities()?[0][0] & (1 << capability) != 0)
}

/// A user who is not root has none by itself; it had some if a master who is not root either did.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let mut head = Head { version: VERSION_3, pid: 0 };
    let none: Capabilities = [[0; 3]; 2];
    // SAFETY: both point to what the call expects of this version, and outlive it.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut head, &raw const none) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn has_capabilities() -> io::Result<bool> {
    Ok(capabilities()?.as_flattened().iter().any(|set| *set != 0))
}

/// To become them, and to signal them afterwards.
pub(super) fn may_change_user() -> io::Result<bool> {
    Ok(has(CAP_SETUID)? && has(CAP_SETGID)? && has(CAP_KILL)?)
}

pub(super) fn may_raise_limits() -> io::Result<bool> {
    has(CAP_SYS_RESOURCE)
}

pub(super) fn may_raise_priority() -> io::Result<bool> {
    has(CAP_SYS_NICE)
}

/// The limit is counted the other way round: 1 to 40 stand for 19 to -20.
pub(super) fn least_nice() -> i32 {
    let (soft, _) = getrlimit(Resource::RLIMIT_NICE).unwrap_or((0, 0));
    i32::try_from(soft.min(40)).map_or(20, |soft| 20 - soft)
}

pub(super) fn most_open_files() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

pub(super) fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    setresgid(gid, gid, gid)?;
    Ok(setresuid(uid, uid, uid)?)
}

pub(super) fn has_ids(uid: Uid, gid: Gid) -> io::Result<bool> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let users = [users.real, users.effective, users.saved].iter().all(|found| *found == uid);
    let groups = [groups.real, groups.effective, groups.saved].iter().all(|found| *found == gid);
    Ok(users && groups)
}

/// A process that changes its user becomes one that nobody but root may look into; not even it itself
/// can read where its threads are, which a drain has to. Here that guards nothing: no code of the
/// user's has run as root in it, so it holds no more than if that user had started it. With this, what
/// the user's other processes may do to it, and core dumps, are as if that were so.
pub(super) fn restore_access_to_itself() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(true)?)
}

/// How many threads there are besides the calling one.
pub(crate) fn other_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count().saturating_sub(1))
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

/// Has the kernel prefer this socket of a reuseport group for connections whose packets arrive on
/// `cpu`; `None` takes that back. While new connections are steered it does not count.
pub(crate) fn prefer_cpu(socket: &Socket, cpu: Option<usize>) -> io::Result<()> {
    let cpu = cpu.map_or(Ok(-1), |cpu| libc::c_int::try_from(cpu).map_err(io::Error::other))?;
    super::linux::set_option(socket, libc::SOL_SOCKET, libc::SO_INCOMING_CPU, &cpu)
}

pub(crate) fn check_no_new_privs() -> io::Result<()> {
    Ok(())
}

pub(crate) fn refuse_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

#[cfg(feature = "landlock")]
pub(crate) use landlocked::{check_landlock, confine_to};

#[cfg(not(feature = "landlock"))]
pub(crate) fn check_landlock() -> io::Result<()> {
    confine_to(&LandlockPaths::default())
}

#[cfg(not(feature = "landlock"))]
pub(crate) fn confine_to(_files: &LandlockPaths) -> io::Result<()> {
    Err(io::Error::other("this program was built without the feature `landlock` of prefork"))
}

#[cfg(feature = "landlock")]
mod landlocked {
    use std::io;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr,
    };

    use super::LandlockPaths;

    /// The first that keeps files from being cut short; Linux 6.2. One for all kernels: on none is less
    /// denied than on another.
    const LEVEL: ABI = ABI::V3;

    fn ruleset() -> io::Result<RulesetCreated> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let created = ruleset.handle_access(AccessFs::from_all(LEVEL)).and_then(Ruleset::create);
        created.map_err(|_| io::Error::other("this kernel has no Landlock, or one older than Linux 6.2's"))
    }

    pub(crate) fn check_landlock() -> io::Result<()> {
        ruleset().map(drop)
    }

    /// Denies this thread, and those that it will start, everything but `files`.
    pub(crate) fn confine_to(files: &LandlockPaths) -> io::Result<()> {
        let (read, all) = (AccessFs::from_read(LEVEL), AccessFs::from_all(LEVEL));
        let mut ruleset = ruleset()?;
        for path in &files.read {
            ruleset = allow(ruleset, path, read)?.0;
        }
        for path in &files.write {
            ruleset = allow(ruleset, path, all)?.0;
        }
        ruleset = allow(ruleset, Path::new("/dev/null"), all)?.0;
        let (ruleset, itself) = allow(ruleset, Path::new("/proc/self"), read)?;
        // The name is made anew when nobody holds it, and would then be another than the one allowed.
        std::mem::forget(itself);
        ruleset.restrict_self().map_err(io::Error::other)?;
        Ok(())
    }

    fn allow(
        ruleset: RulesetCreated,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> io::Result<(RulesetCreated, PathFd)> {
        let cannot = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let metadata = path.metadata().map_err(|error| cannot(&error))?;
        let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(LEVEL) };
        let file = PathFd::new(path).map_err(|error| cannot(&error))?;
        let ruleset = ruleset.add_rule(PathBeneath::new(&file, access)).map_err(|error| cannot(&error))?;
        Ok((ruleset, file))
    }
}
