//! What `/proc` tells of processes, and their end.
//!
//! This program adopts orphans, so that every process of every contender is below it, whatever became of its parent.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::BenchResult;

/// Adopts orphans, and allows as many descriptors as the system lets it.
pub(crate) fn prepare() -> BenchResult<()> {
    prctl::set_child_subreaper(true)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Kills every process below this one when it is dropped.
pub(crate) struct EndOfAll;

impl EndOfAll {
    /// From now on also at Ctrl-C, after which the files of the run are removed: contenders have process groups of
    /// their own.
    pub(crate) fn new(scratch: &Path) -> BenchResult<Self> {
        let scratch = scratch.to_owned();
        let mut signals = signal_hook::iterator::Signals::new([
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ])?;
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end_below_this();
                let _ = fs::remove_dir_all(scratch);
                std::process::exit(128 + signal);
            }
        });
        Ok(Self)
    }
}

impl Drop for EndOfAll {
    fn drop(&mut self) {
        end_below_this();
    }
}

fn end_below_this() {
    let own = std::process::id();
    end_all(|| below(own));
}

/// Kills processes until there are none: one that is just being started appears in a later round.
pub(crate) fn end_all(list: impl Fn() -> Vec<u32>) {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let left = list();
        if left.is_empty() || Instant::now() > limit {
            return;
        }
        for pid in left {
            let _ = send(pid, Signal::SIGKILL);
            reap(pid);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Takes the status of an ended process that was adopted.
pub(crate) fn reap(pid: u32) {
    let _ = waitpid(as_pid(pid), Some(WaitPidFlag::WNOHANG));
}

pub(crate) fn send(pid: u32, signal: Signal) -> BenchResult<()> {
    Ok(kill(as_pid(pid), signal)?)
}

fn as_pid(pid: u32) -> Pid {
    // No pid is larger; 0 would be a group.
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// The children of a process, zombies included.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let lists = tasks(pid).into_iter().filter_map(|task| fs::read_to_string(task + "/children").ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// All processes below a process.
pub(crate) fn below(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

fn tasks(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|task| task.path().display().to_string()).collect()
}

/// The state and the parent of a process.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The CPU time of the living threads of a process.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let spent = |task: String| {
        let text = fs::read_to_string(task + "/schedstat").ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks(pid).into_iter().filter_map(spent).sum())
}

/// The CPU time of several processes.
pub(crate) fn cpu_times(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| cpu_time(*pid)).sum()
}

/// How often the threads of these processes gave up the CPU to wait: an idle process that does not wake calls no
/// system call either.
pub(crate) fn wake_ups(pids: &[u32]) -> u64 {
    let of_task = |task: String| field(&(task + "/status"), "voluntary_ctxt_switches:");
    pids.iter().flat_map(|pid| tasks(*pid)).filter_map(of_task).sum()
}

/// Proportional and private memory of several processes, in bytes.
pub(crate) fn memory(pids: &[u32]) -> (u64, u64) {
    let sum = |name: &str| -> u64 {
        pids.iter().filter_map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), name)).sum()
    };
    (sum("Pss:") * 1024, (sum("Private_Clean:") + sum("Private_Dirty:")) * 1024)
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The time until none of these processes is alive; `None` if one still is after `limit`.
pub(crate) fn time_until_gone(pids: &[u32], since: Instant, limit: Duration) -> Option<Duration> {
    let mut left = pids.to_vec();
    loop {
        left.retain(|pid| is_alive(*pid));
        if left.is_empty() {
            return Some(since.elapsed());
        }
        if since.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_micros(50));
    }
}
