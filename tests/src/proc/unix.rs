//! The state of processes, from `/proc`. On a system without `/proc` all results are empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::wait;

/// A variable in the environment, which descendants inherit.
#[derive(Debug)]
pub(super) struct Marker(String);

impl Marker {
    pub(super) fn prepare(command: &mut Command, name: &str) -> Self {
        command.env("TEST_FLEET", name);
        Self(format!("TEST_FLEET={name}"))
    }

    #[expect(clippy::unused_self, reason = "the environment marks it")]
    pub(super) fn add_root(&self, _root: &Child) {}

    pub(super) fn live_pids(&self) -> Vec<u32> {
        with_environment(&self.0)
    }
}

/// The pids of all processes.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// The fields of `/proc/PID/stat` after the name: state, parent, group, session, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(path(pid, "stat")).ok()?;
    // The name in parentheses may contain any character.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The state of the process, a letter as in `ps`; `None` if there is no such process.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether the process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// The number of connections that a stopped process accepts.
pub fn accepted_while_stopped() -> usize {
    0
}

/// Whether a signal has stopped every thread of the process.
pub fn is_stopped(pid: u32) -> bool {
    threads(pid).iter().all(|thread| state(*thread) == Some('T'))
}

/// Whether the process has the title of a template.
pub fn is_template(pid: u32) -> bool {
    name(pid).is_some_and(|name| name.ends_with(": template"))
}

/// The pid of the parent.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The process group.
pub fn group(pid: u32) -> Option<u32> {
    stat(pid)?.get(2)?.parse().ok()
}

/// The children of a process that have not been reaped, zombies included, sorted.
pub fn children(pid: u32) -> Vec<u32> {
    let mut children: Vec<u32> = all().into_iter().filter(|child| parent(*child) == Some(pid)).collect();
    children.sort_unstable();
    children
}

/// The children of a process that have ended and are not reaped.
pub fn zombies(pid: u32) -> Vec<u32> {
    children(pid).into_iter().filter(|child| state(*child) == Some('Z')).collect()
}

/// The processes that were started with `NAME=value` in their environment, zombies excluded.
fn with_environment(assignment: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let environment = fs::read(path(*pid, "environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == assignment.as_bytes())
    };
    all().into_iter().filter(has).collect()
}

/// The descriptors of the process, as `(number, target)`.
pub fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(path(pid, "fd")).into_iter().flatten().flatten();
    let mut descriptors: Vec<_> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    descriptors.sort_unstable();
    descriptors
}

/// The inodes of the sockets that listen on `port`, in the network namespace of this process.
pub fn listening_inodes(port: u16) -> BTreeSet<u64> {
    const LISTEN: &str = "0A";
    let local = format!(":{port:04X}");
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(3) == Some(&LISTEN) && fields[1].ends_with(&local) {
                inodes.extend(fields[9].parse::<u64>());
            }
        }
    }
    inodes
}

/// The inodes of the Unix sockets of this path: the listener, and connections that it has accepted.
pub fn unix_inodes(path: &Path) -> BTreeSet<u64> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let lines = table.lines().filter_map(|line| line.strip_suffix(path.to_str()?));
    lines.filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect()
}

/// The sockets among `inodes` that the process has a descriptor for.
pub fn held_inodes(pid: u32, inodes: &BTreeSet<u64>) -> BTreeSet<u64> {
    let targets = descriptors(pid).into_iter().map(|(_, target)| target);
    let held =
        targets.filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
    held.filter(|inode| inodes.contains(inode)).collect()
}

/// The number of sockets of the process that listen on `port`.
pub fn held_listeners(pid: u32, port: u16) -> usize {
    held_inodes(pid, &listening_inodes(port)).len()
}

/// A field of `/proc/PID/status`; `pid` may be the id of a thread.
pub fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(path(pid, "status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The ids of the threads of the process.
pub fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(path(pid, "task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The number of threads of the process.
pub fn thread_count(pid: u32) -> usize {
    threads(pid).len()
}

/// The number of open descriptors of the process.
pub fn handle_count(pid: u32) -> usize {
    descriptors(pid).len()
}

/// The context switches of all threads of the process; constant while it sleeps.
pub fn context_switches(pid: u32) -> u64 {
    let names = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
    let count = |thread, name| status_field(thread, name)?.parse::<u64>().ok();
    let threads = threads(pid);
    threads.iter().flat_map(|thread| names.iter().filter_map(|name| count(*thread, name))).sum()
}

/// Waits until none of the processes wakes up for a whole second.
pub fn wait_until_idle(pids: &[u32]) {
    let switches = || pids.iter().map(|pid| context_switches(*pid)).collect::<Vec<_>>();
    // A process may still finish its start. One with a periodic timer never passes.
    wait::until("a second without a wake-up", || {
        let before = switches();
        // The absence of wake-ups during this time is the condition.
        thread::sleep(Duration::from_secs(1));
        switches() == before
    });
}

/// The CPU time of the process, in ticks of a hundredth of a second.
pub fn cpu_ticks(pid: u32) -> u64 {
    let field = |at: usize| stat(pid).and_then(|fields| fields.get(at)?.parse::<u64>().ok());
    field(11).unwrap_or(0) + field(12).unwrap_or(0)
}

/// The nice value, from -20 to 19.
pub fn nice(pid: u32) -> Option<i32> {
    stat(pid)?.get(16)?.parse().ok()
}

/// The name that `ps` shows.
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(path(pid, "comm")).ok()?.trim_end().to_owned())
}

/// The arguments that `ps` shows.
pub fn arguments(pid: u32) -> Option<String> {
    let arguments = fs::read(path(pid, "cmdline")).ok()?;
    let text = String::from_utf8_lossy(&arguments);
    Some(text.trim_end_matches('\0').replace('\0', " "))
}

/// The executable file of the process, as device and inode.
#[cfg(target_os = "linux")]
pub fn executable(pid: u32) -> Option<(u64, u64)> {
    use std::os::linux::fs::MetadataExt;
    let metadata = fs::metadata(path(pid, "exe")).ok()?;
    Some((metadata.st_dev(), metadata.st_ino()))
}

/// Reports the exit status of a process that is about to lose its parent. This process becomes the
/// subreaper of its descendants.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct ExitWatch(nix::unistd::Pid);

#[cfg(target_os = "linux")]
impl ExitWatch {
    /// Watches the process `pid`.
    pub fn new(pid: u32) -> Self {
        nix::sys::prctl::set_child_subreaper(true).expect("every process may do so");
        Self(nix::unistd::Pid::from_raw(pid.try_into().expect("a pid")))
    }

    /// The exit status, if the process has ended; 128 plus the number for a signal.
    pub fn status(&self) -> Option<i32> {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        match waitpid(self.0, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => Some(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
            // Alive, or not yet a child of this process.
            Ok(_) | Err(_) => None,
        }
    }
}
