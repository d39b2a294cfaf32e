//! These systems have no fork for the parent: the data is loaded in each child.

use std::io;

use nix::unistd::Pid;

use crate::sys::Forked;

pub(crate) fn can_fork_for_parent() -> bool {
    false
}

pub(crate) fn fork_for_parent() -> io::Result<Forked> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn end_with_parent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No process has forked a child for this one.
pub(in crate::sys) fn is_own_child(_pid: Pid) -> bool {
    false
}
