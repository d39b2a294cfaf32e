//! These systems have no epoll; kqueue forgets a descriptor that is replaced.

use std::os::fd::RawFd;

#[derive(Debug)]
pub(in crate::sys) enum EpollSet {}

#[derive(Debug)]
pub(in crate::sys) enum Removed {}

/// There is nothing to see.
pub(in crate::sys) fn are_visible() -> bool {
    true
}

pub(in crate::sys) fn sets(_descriptors: &[RawFd]) -> Vec<EpollSet> {
    Vec::new()
}

pub(in crate::sys) fn remove(_sets: &[EpollSet], _number: RawFd, _inode: u64) -> Vec<Removed> {
    Vec::new()
}

pub(in crate::sys) fn add(_removed: &[Removed], _number: RawFd) {}

pub(in crate::sys) fn remove_stale(_sets: &[EpollSet], _number: RawFd, _inode: u64) {}

/// Each kqueue that watches a listener learns of each connection.
pub(in crate::sys) fn wake_watchers(_number: RawFd) {}
