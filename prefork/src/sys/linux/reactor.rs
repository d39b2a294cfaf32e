//! Orphans of a master that is PID 1.

use std::collections::BTreeSet;
use std::fs;

use nix::libc;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Reaps zombies that became children of this process because it is PID 1. Leaves out `known`, and what
/// user code in this process started and may wait for itself: such a process is in this process's group,
/// while an orphan was started by a child or a shell, in another group.
pub(in crate::sys) fn reap_orphans(known: &BTreeSet<Pid>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let own_group = nix::unistd::getpgrp().as_raw();
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let pid = Pid::from_raw(pid);
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if known.contains(&pid) || !is_orphaned_zombie(&stat, std::process::id(), own_group) {
            continue;
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// Reads `/proc/*/stat`: the name in parentheses may contain anything, the fields after it are state,
/// parent and process group.
fn is_orphaned_zombie(stat: &str, parent: u32, own_group: libc::pid_t) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    fields.next() == Some("Z")
        && fields.next().and_then(|ppid| ppid.parse().ok()) == Some(parent)
        && fields
            .next()
            .and_then(|group| group.parse().ok())
            .is_some_and(|group: libc::pid_t| group != own_group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_orphans_are_reaped() {
        assert!(is_orphaned_zombie("7 (a) b) Z 1 5 5 0", 1, 1));
        assert!(!is_orphaned_zombie("7 (sh) Z 1 1 1 0", 1, 1), "started by user code here");
        assert!(!is_orphaned_zombie("7 (sh) S 1 5 5 0", 1, 1), "alive");
        assert!(!is_orphaned_zombie("7 (sh) Z 3 5 5 0", 1, 1), "a child of another process");
    }
}
