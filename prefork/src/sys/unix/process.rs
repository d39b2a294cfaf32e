//! This process, and pids.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
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

/// Reaps a child if it has exited: its status, and the CPU time of it and of the processes that it has waited for.
pub(super) fn wait_for_exit(child: Pid) -> io::Result<Option<(ExitStatus, Duration)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the system writes one number and one `rusage`, each into memory of its type.
    let reaped = unsafe { libc::wait4(child.as_raw(), &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    // SAFETY: plain numbers, of which all zeroes is a value.
    let usage = unsafe { usage.assume_init() };
    match Errno::result(reaped)? {
        0 => Ok(None),
        _ => Ok(Some((ExitStatus::from_raw(status), duration(usage.ru_utime) + duration(usage.ru_stime)))),
    }
}

/// Whether the process is none of this process's children any more.
pub(super) fn is_reaped(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ECHILD as i32)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn run(script: &str) -> (ExitStatus, Duration) {
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = pid_of(child.id()).unwrap();
        let ended = loop {
            match wait_for_exit(pid).unwrap() {
                Some(ended) => break ended,
                None => std::thread::yield_now(),
            }
        };
        assert!(is_reaped(&wait_for_exit(pid).unwrap_err()) && is_reaped(&child.wait().unwrap_err()));
        ended
    }

    #[test]
    fn exit_has_its_status_and_cpu_time() {
        assert_eq!(run("exit 3").0.code(), Some(3));
        assert_eq!(run("kill -9 $$").0.signal(), Some(9));
        let (_, idle) = run("exit 0");
        // The loop is in a process that the shell has started and waited for.
        let (_, busy) = run("sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; true");
        assert!(busy > idle, "{busy:?}, {idle:?}");
    }
}
