//! There are no templates: no system call forks a process. The data is loaded in each child.

use std::io;

use super::{Channel, Reactor};
use crate::sys::{Forked, Handover, NotForked, OwnMemory};

pub(crate) fn can_fork_for_parent() -> bool {
    false
}

pub(crate) fn check_only_thread() -> Result<(), io::Result<Vec<String>>> {
    Err(Err(io::ErrorKind::Unsupported.into()))
}

pub(crate) fn fork_for_parent() -> Result<Forked, NotForked> {
    check_only_thread().map_err(NotForked::Threads)?;
    Ok(Forked::Child)
}

pub(crate) fn tie_to_master(_master: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn restore_template(_pid: u32, _master: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn ignore_stop_in_template() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn leave_template() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn use_huge_pages() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn own_memory() -> io::Result<OwnMemory> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Channel {
    #[expect(clippy::unused_self, reason = "where there are templates, it is a socket")]
    pub(crate) fn set_blocking(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn take_end(&mut self) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[expect(clippy::unused_self, reason = "where there are templates, the reactor knows them")]
impl<K: Ord + Copy> Reactor<K> {
    pub(crate) fn order_fork(
        &mut self,
        _template: K,
        _key: K,
        _order: &str,
        _handover: &Handover<'_>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn note_pid(&mut self, _key: K, _pid: u32) -> bool {
        false
    }

    pub(crate) fn channel_is_closed(&self, _key: K) -> bool {
        true
    }

    pub(crate) fn forget_order(&mut self, _key: K) {}

    pub(crate) fn kill_forked(&self, _template: K) {}

    pub(crate) fn destroy(&mut self, _key: K) {}
}
