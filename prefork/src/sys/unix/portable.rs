//! What `linux.rs` offers, as far as the other Unixes have it.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::Socket;

/// A socket that is bound has its address for itself alone.
pub(super) const JOINS_GROUPS_LATE: bool = false;

/// What to do where the system refuses an address to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str = "ports below 1024 need root: choose a higher port";

/// These systems know a running file by its name only.
pub(super) fn own_executable() -> Option<(PathBuf, File)> {
    None
}

/// Likewise: the name it is.
pub(super) fn pin(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    Ok((path.to_owned(), None))
}

pub(super) fn pinned(_name: &Path) -> Option<RawFd> {
    None
}

pub(super) fn is_pin(_descriptor: BorrowedFd<'_>) -> bool {
    false
}

pub(super) fn close_on_exec_from_3() {
    super::program::close_on_exec_one_by_one();
}

/// Unknown here: assume the worst.
pub(super) fn is_single_threaded() -> bool {
    false
}

/// The program was started under its own name.
pub(super) fn restore_process_name() {}

/// Threads cannot be told apart here. One that sits in `accept` takes one more connection, which
/// the drain then waits for.
pub(super) fn interrupt_accepts(_listeners: &[RawFd]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown as well.
pub(super) fn others_are_moving() -> bool {
    false
}

/// No master is PID 1 there.
pub(super) fn reap_orphans(_known: &[nix::unistd::Pid]) {}

pub(crate) fn set_defer_accept(_socket: &Socket, _limit: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_fast_open(_socket: &Socket, _queue: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A listening Unix socket that nobody can find: its name is gone as soon as it is there.
pub(super) fn nameless_unix_listener() -> io::Result<UnixListener> {
    let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("prefork-XXXXXX"))?;
    let path = directory.join("gate");
    let listener = UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir(&directory);
    listener
}

/// Unknown here: no queue is waited for.
pub(super) fn queued(_listener: RawFd) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The most that this process ever had: what these systems tell without asking the kernel's memory.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.max_rss()).map(|rss| rss * unit).map_err(io::Error::other)
}

/// Not to be known from inside; the core dump tells.
pub(crate) fn threads() -> Vec<String> {
    Vec::new()
}

/// A file without a name.
pub(super) fn anonymous_file() -> io::Result<File> {
    let (file, path) = nix::unistd::mkstemp(&std::env::temp_dir().join("prefork-upgrade-XXXXXX"))?;
    std::fs::remove_file(path)?;
    Ok(File::from(file))
}
