//! This process, as `/proc` describes it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::libc;
use nix::unistd::SysconfVar;

/// Whether the calling thread is the only one.
pub(in crate::sys) fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The number of threads besides the calling one.
pub(crate) fn other_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count().saturating_sub(1))
}

/// The names of the threads besides the main one. `None` where `/proc` does not tell.
pub(in crate::sys) fn names_of_other_threads() -> Option<Vec<String>> {
    // A link for each thread, and two that every directory has.
    if fs::metadata("/proc/self/task").ok()?.nlink() == 3 {
        return Some(Vec::new());
    }
    let main = std::process::id().to_string();
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        if task.file_name().to_str() != Some(&main) {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
        }
    }
    Some(names)
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

/// The resident memory of this process that no other process has.
pub(crate) fn private_bytes() -> io::Result<u64> {
    private_bytes_of("self")
}

/// The same of a process in `/proc`.
pub(in crate::sys) fn private_bytes_of(process: &str) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let kilobytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let private = private.map(kilobytes).reduce(|one, other| Some(one? + other?)).flatten();
    private
        .map(|kilobytes| kilobytes << 10)
        .ok_or_else(|| io::Error::other("smaps_rollup has an unknown format"))
}

/// Whether the kernel itself has sent the signal, such as a terminal, and not a process.
pub(in crate::sys) fn is_sent_by_kernel(info: &libc::siginfo_t) -> bool {
    info.si_code == libc::SI_KERNEL
}
