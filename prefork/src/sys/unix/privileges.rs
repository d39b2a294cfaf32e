//! Users, groups, limits and priorities: look-up, checks and changes.

use std::io;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Group, Uid, User};

use super::platform::privileges as platform;
use crate::sys::Account;

/// The user with this name, or with this number.
pub(crate) fn find_user(user: &str) -> io::Result<Option<Account>> {
    let found = match (User::from_name(user)?, user.parse()) {
        (None, Ok(number)) => User::from_uid(Uid::from_raw(number))?,
        (found, _) => found,
    };
    Ok(found.map(|user| Account { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// The group with this name. A number needs no entry in the group database.
pub(crate) fn find_group(group: &str) -> io::Result<Option<u32>> {
    match Group::from_name(group)? {
        Some(found) => Ok(Some(found.gid.as_raw())),
        None => Ok(group.parse().ok()),
    }
}

/// Sets the soft limit on descriptors, and raises the hard limit if it is lower.
pub(crate) fn limit_open_files(limit: u64) -> io::Result<()> {
    let limit = libc::rlim_t::try_from(limit).map_err(io::Error::other)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit))?)
}

/// Whether children can have this limit on descriptors.
pub(crate) fn check_open_files(limit: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    #[allow(clippy::useless_conversion, reason = "on some systems the type is signed")]
    let hard = u64::try_from(hard).unwrap_or(u64::MAX);
    if limit <= hard {
        return Ok(());
    }
    if !platform::may_raise_limits()? {
        let text = format!("the hard limit is {hard}, and raising it needs root (CAP_SYS_RESOURCE)");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    match platform::max_open_files() {
        Some(max) if limit > max => {
            Err(io::Error::other(format!("the kernel's own limit is {max} (sysctl fs.nr_open)")))
        }
        _ => Ok(()),
    }
}

/// Sets the priority of this process.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether children can have this priority.
pub(crate) fn check_nice(nice: i32) -> io::Result<()> {
    let least = least_nice()?;
    if nice >= least || platform::may_raise_priority()? {
        return Ok(());
    }
    let text = format!("only root can go below {least}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// The lowest value that this process can set without a privilege.
fn least_nice() -> io::Result<i32> {
    nix::errno::Errno::clear();
    // SAFETY: plain numbers.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // -1 is also a priority.
    if own == -1 && nix::errno::Errno::last_raw() != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own.min(platform::least_nice()))
}

/// Whether children can run as another user.
pub(crate) fn check_may_change_user() -> io::Result<()> {
    if platform::may_change_user()? {
        return Ok(());
    }
    let text = "only root can change users: start the master as root, or leave `user` out and children run as \
                the master's user";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}
