//! This process. These systems report little about it.

use std::io;

use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};

use crate::sys::OwnMemory;

/// Unknown: false is the safe answer.
pub(in crate::sys) fn is_single_threaded() -> bool {
    false
}

/// Unknown. Users and limits belong to the whole process, so 0 is safe.
pub(crate) fn other_threads() -> usize {
    0
}

/// Unknown.
pub(in crate::sys) fn names_of_other_threads() -> io::Result<Vec<String>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown: the core dump has it.
pub(crate) fn threads() -> Vec<String> {
    Vec::new()
}

/// The largest resident memory that this process has ever had; the present one is unknown.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.max_rss()).map(|rss| rss * unit).map_err(io::Error::other)
}

/// Unknown.
pub(crate) fn own_memory() -> io::Result<OwnMemory> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the kernel itself has sent the signal, such as a terminal, and not a process.
pub(in crate::sys) fn is_sent_by_kernel(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that a process sends has this field, and in others these systems leave it zero.
    unsafe { info.si_pid() == 0 }
}
