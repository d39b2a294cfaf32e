//! A change of user that cannot be undone.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, getgrouplist, getgroups, seteuid, setgroups, setuid};

use super::platform::privileges as platform;
use crate::sys::Identity;

/// Every group of a user with this primary group.
pub(crate) fn groups_of(user: &str, primary: u32) -> io::Result<Vec<u32>> {
    let groups = getgrouplist(&CString::new(user)?, Gid::from_raw(primary))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// Makes this process run as `identity`. The groups come first, because changing them needs root. Then it
/// tries to become root again, which must fail.
pub(crate) fn change_user(identity: &Identity) -> io::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    setgroups(&groups)?;
    platform::set_ids(Uid::from_raw(identity.uid), Gid::from_raw(identity.gid))?;
    platform::drop_capabilities()?;
    verify_user(identity)?;
    platform::restore_access_to_itself()
}

/// Whether this process runs as `identity` and nothing else. A child inherits that from its template.
pub(crate) fn verify_user(identity: &Identity) -> io::Result<()> {
    let wrong = |what: &str| Err(io::Error::other(format!("{what}; giving up")));
    if !platform::has_ids(Uid::from_raw(identity.uid), Gid::from_raw(identity.gid))? {
        return wrong("the change of user and group did not take effect");
    }
    // Some systems list the primary group among the others.
    let groups = getgroups()?.into_iter().map(Gid::as_raw);
    let mut groups: Vec<u32> = groups.filter(|group| *group != identity.gid).collect();
    let mut wanted = identity.groups.clone();
    groups.sort_unstable();
    wanted.sort_unstable();
    wanted.dedup();
    if groups != wanted {
        return wrong("the change of groups did not take effect");
    }
    if setuid(Uid::from_raw(0)).is_ok() || seteuid(Uid::from_raw(0)).is_ok() {
        return wrong("the process can become root again");
    }
    if platform::has_capabilities()? { wrong("capabilities are left") } else { Ok(()) }
}
