//! Processes as `/proc` shows them. Where there is none, nothing is seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A variable in the environment, which descendants inherit.
#[derive(Debug)]
pub(super) struct Bond(String);

impl Bond {
    pub(super) fn tie(command: &mut Command, name: &str) -> Self {
        command.env("TEST_FLEET", name);
        Self(format!("TEST_FLEET={name}"))
    }

    #[expect(clippy::unused_self, reason = "the environment holds it already")]
    pub(super) fn hold(&self, _first: &Child) {}

    pub(super) fn members(&self) -> Vec<u32> {
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
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The process's state, a letter as in `ps`; `None` if there is no such process.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether the process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// How many connections a process that is stopped takes all the same.
pub fn taken_while_stopped() -> usize {
    0
}

/// Whether every thread of the process is stopped, by a signal.
pub fn is_stopped(pid: u32) -> bool {
    threads(pid).iter().all(|thread| state(*thread) == Some('T'))
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

/// The children of a process that have ended and wait to be reaped.
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

/// What the process's descriptors point to, as `(number, target)`.
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

/// The inodes of the sockets that listen on `port`, in the network that this process is in.
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

/// Those of `inodes` that the process has a descriptor of.
pub fn held_inodes(pid: u32, inodes: &BTreeSet<u64>) -> BTreeSet<u64> {
    let targets = descriptors(pid).into_iter().map(|(_, target)| target);
    let held =
        targets.filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
    held.filter(|inode| inodes.contains(inode)).collect()
}

/// How many sockets that listen on `port` the process has.
pub fn held_listeners(pid: u32, port: u16) -> usize {
    held_inodes(pid, &listening_inodes(port)).len()
}

/// A field of `/proc/PID/status`, or of a thread's if `pid` is one.
pub fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(path(pid, "status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The ids of the process's threads.
pub fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(path(pid, "task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// How many threads the process has.
pub fn thread_count(pid: u32) -> usize {
    threads(pid).len()
}

/// How many descriptors the process has open.
pub fn handle_count(pid: u32) -> usize {
    descriptors(pid).len()
}

/// How often the process's threads have given up a processor or lost one: constant while it sleeps.
pub fn context_switches(pid: u32) -> u64 {
    let names = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
    let count = |thread, name| status_field(thread, name)?.parse::<u64>().ok();
    let threads = threads(pid);
    threads.iter().flat_map(|thread| names.iter().filter_map(|name| count(*thread, name))).sum()
}

/// The priority, from -20 to 19.
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

/// The file that the process runs, as device and inode.
#[cfg(target_os = "linux")]
pub fn executable(pid: u32) -> Option<(u64, u64)> {
    use std::os::linux::fs::MetadataExt;
    let metadata = fs::metadata(path(pid, "exe")).ok()?;
    Some((metadata.st_dev(), metadata.st_ino()))
}

/// A process that is about to lose its parent, and whose end is to be known all the same: from now on
/// such processes become children of this one.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Orphan(nix::unistd::Pid);

#[cfg(target_os = "linux")]
impl Orphan {
    /// The process with this pid.
    pub fn to_be(pid: u32) -> Self {
        nix::sys::prctl::set_child_subreaper(true).expect("every process may");
        Self(nix::unistd::Pid::from_raw(pid.try_into().expect("a pid")))
    }

    /// The status that it has ended with, if it has. A signal's is 128 and its number.
    pub fn status(&self) -> Option<i32> {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        match waitpid(self.0, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => Some(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
            // Alive, or not ours yet.
            Ok(_) | Err(_) => None,
        }
    }
}
