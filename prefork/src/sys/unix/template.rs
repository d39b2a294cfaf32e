//! A template, and the children that it forks.

use std::io;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, setpgid};

use super::platform::fork::end_with_parent;
use super::process::pid_of;

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

/// From now on SIGTERM does nothing in this process, until [`leave_template`].
pub(crate) fn ignore_stop_in_template() -> io::Result<()> {
    Ok(SigSet::from_iter([Signal::SIGTERM]).thread_block()?)
}

/// Leaves what a forked child shares with its template: the process group, and the signals that are blocked.
pub(crate) fn leave_template() -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    Ok(SigSet::from_iter([Signal::SIGTERM]).thread_unblock()?)
}

/// Reaps the children that a template has forked and that have ended before they left its group.
pub(crate) fn reap_group_of_template(template: u32) {
    let Ok(pid) = pid_of(template) else { return };
    let group = Pid::from_raw(-pid.as_raw());
    while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
        waitpid(group, Some(WaitPidFlag::WNOHANG))
    {}
}

/// Kills the children that an ended template has forked and that are in its group. As long as there is one, no other
/// process gets the group's number.
pub(crate) fn kill_group_of_template(template: u32) {
    if let Ok(pid) = pid_of(template) {
        let _ = killpg(pid, Signal::SIGKILL);
    }
}
