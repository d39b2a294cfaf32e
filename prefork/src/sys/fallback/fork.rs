//! These systems have no fork for the parent: the data is loaded in each child.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitStatus;

use nix::unistd::Pid;

use crate::sys::Forked;

pub(crate) fn can_fork_for_parent() -> bool {
    false
}

/// # Safety
///
/// It does nothing.
pub(in crate::sys) unsafe fn fork_for_parent() -> Result<Forked, i32> {
    Err(nix::libc::ENOSYS)
}

pub(crate) fn end_with_parent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No process has forked a child for this one.
pub(in crate::sys) fn group_of_child(_pid: Pid) -> Option<Pid> {
    None
}

/// No child is a template.
pub(in crate::sys) fn status_of_zombie(_pid: Pid) -> io::Result<Option<ExitStatus>> {
    Ok(None)
}

pub(in crate::sys) fn reap_group(_template: Pid, _known: &BTreeSet<Pid>) -> bool {
    true
}

pub(in crate::sys) fn wait_for_group(_template: Pid) {}

pub(in crate::sys) fn kill_group(_template: Pid) {}
