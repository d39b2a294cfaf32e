//! This process, and pids.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use nix::unistd::Pid;

/// Ends this process at once: no destructor, no exit handler, no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}

/// The system's text from bytes.
pub(crate) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

/// Opens a file to read it. Anything else is refused, and not waited for: opening or reading a pipe can block, and
/// reading a device might not end.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// The operator's way to stop the master with this pid.
pub(crate) fn how_to_stop(master: u32) -> String {
    format!("Ctrl-C or kill -TERM {master}")
}

/// A pid in the type that the system's calls take.
pub(super) fn pid_of(id: u32) -> io::Result<Pid> {
    let raw = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    Ok(Pid::from_raw(raw))
}

/// Nanoseconds since some moment before the start of any process, by a clock that never goes back and is the
/// same in every process of the system.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the value, which outlives the call. The clock exists on every system.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the types differ by system")]
    let (seconds, nanos) = (number(time.tv_sec as i64), number(time.tv_nsec as i64));
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}
