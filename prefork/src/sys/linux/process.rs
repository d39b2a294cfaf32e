//! This process, as `/proc` describes it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::SysconfVar;

use crate::sys::OwnMemory;

/// Whether the calling thread is the only one.
pub(in crate::sys) fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The number of threads besides the calling one.
pub(crate) fn other_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count().saturating_sub(1))
}

/// The names of the threads besides the main one.
pub(in crate::sys) fn names_of_other_threads() -> io::Result<Vec<String>> {
    // A link for each thread, and two that every directory has.
    if fs::metadata("/proc/self/task")?.nlink() == 3 {
        return Ok(Vec::new());
    }
    let main = std::process::id().to_string();
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")?.flatten() {
        if task.file_name().to_str() != Some(&main) {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
        }
    }
    Ok(names)
}

/// The state of each thread of this process, one line a thread, as far as `/proc` shows it to the process.
pub(crate) fn threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let describe = |task: fs::DirEntry| {
        let read =
            |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned();
        let (name, place, call, stack) = (read("comm"), read("wchan"), read("syscall"), read("stack"));
        let place = if place.is_empty() || place == "0" { "running" } else { place.as_str() };
        let stack: Vec<&str> = stack.lines().filter_map(|line| line.split("] ").nth(1)).collect();
        let id = task.file_name();
        format!(
            "thread {} ({name}) in {place}, syscall {call}, stack [{}]",
            id.to_string_lossy(),
            stack.join(" ")
        )
    };
    tasks.flatten().map(describe).collect()
}

/// The resident memory of this process.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    match (pages, page) {
        (Some(pages), Some(page)) => Ok(pages * page),
        _ => Err(io::Error::other("/proc/self/statm has an unknown format")),
    }
}

/// The memory of this process.
pub(crate) fn own_memory() -> io::Result<OwnMemory> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let faults = u64::try_from(usage.minor_page_faults() + usage.major_page_faults()).unwrap_or_default();
    let page = nix::unistd::sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    Ok(OwnMemory {
        resident: bytes_of(&rollup, "Rss:")?,
        private: bytes_of(&rollup, "Private_")?,
        faulted: faults.saturating_mul(page.unwrap_or(4096)),
    })
}

/// The resident memory of a process that no other process has.
pub(in crate::sys) fn private_bytes_of(pid: u32) -> io::Result<u64> {
    bytes_of(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Private_")
}

/// The sum of the lines of `smaps_rollup` whose names begin with this.
fn bytes_of(rollup: &str, name: &str) -> io::Result<u64> {
    let kilobytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let lines = rollup.lines().filter(|line| line.starts_with(name));
    let sum = lines.map(kilobytes).reduce(|one, other| Some(one? + other?)).flatten();
    sum.map(|kilobytes| kilobytes << 10)
        .ok_or_else(|| io::Error::other("/proc/self/smaps_rollup has an unknown format"))
}

/// Whether the kernel itself has sent the signal, such as a terminal, and not a process.
pub(in crate::sys) fn is_sent_by_kernel(info: &libc::siginfo_t) -> bool {
    info.si_code == libc::SI_KERNEL
}
