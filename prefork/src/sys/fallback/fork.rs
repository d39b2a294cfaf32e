//! These systems have no fork for the parent: the data is loaded in each child.

use std::io;

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
