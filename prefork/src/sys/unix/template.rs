//! This process, if it is a template or was forked by one.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpgrp, getpid, getppid, setpgid};

use super::platform;
use super::platform::fork::end_with_parent;
use super::platform::process::names_of_other_threads;
use crate::sys::{Forked, NotForked};

/// Ties the life of this process to its parent's, which has to be the master with this pid. Until a template has
/// loaded its data it reads no messages.
///
/// # Errors
///
/// The parent is another process: one that a `command_producer` keeps in between, or the master has died.
pub(crate) fn tie_to_master(master: u32) -> io::Result<()> {
    end_with_parent()?;
    if u32::try_from(getppid().as_raw()) == Ok(master) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its parent is not the master (pid {master}): with `preload`, command_producer returns the process that runs \
         the command, without one in between"
    )))
}

/// Undoes what loading may have changed in the template with this pid: its process group, in which the master finds
/// children whose pid it does not know, and its tie to the master, which a change of user unties.
///
/// # Errors
///
/// This is another process: what `preload` calls has forked, and returns in both.
pub(crate) fn restore_template(pid: u32, master: u32) -> io::Result<()> {
    if std::process::id() != pid {
        return Err(io::Error::other(format!(
            "what `preload` calls has forked it from the template (pid {pid}), and has to end there"
        )));
    }
    if getpgrp() != getpid() {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    }
    tie_to_master(master)
}

/// # Errors
///
/// The names of the other threads of this process, or why the system does not tell.
pub(crate) fn check_only_thread() -> Result<(), io::Result<Vec<String>>> {
    match names_of_other_threads() {
        Ok(names) if names.is_empty() => Ok(()),
        names => Err(names),
    }
}

/// Makes a child of this process's parent that continues here.
pub(crate) fn fork_for_parent() -> Result<Forked, NotForked> {
    check_only_thread().map_err(NotForked::Threads)?;
    // SAFETY: there is no other thread, and only this one could have started one since it was checked.
    unsafe { platform::fork::fork_for_parent() }.map_err(NotForked::System)
}

/// From now on SIGTERM does nothing in this process, until [`leave_template`].
pub(crate) fn ignore_stop_in_template() -> io::Result<()> {
    Ok(SigSet::from_iter([Signal::SIGTERM]).thread_block()?)
}

/// Leaves what a forked child shares with its template: the process group, and the signals that are blocked.
pub(crate) fn leave_template() -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    Ok(SigSet::from_iter([Signal::SIGTERM]).thread_unblock()?)
}
