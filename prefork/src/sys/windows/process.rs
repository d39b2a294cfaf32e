//! This process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

use super::{controls, object};

/// Ends this process at once: no destructor, no exit handler, no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: plain numbers; the pseudo handle of this process is always valid.
    unsafe { TerminateProcess(GetCurrentProcess(), u32::from_ne_bytes(status.to_ne_bytes())) };
    // Not reached, unless the system refuses to end the process.
    std::process::abort()
}

/// The system's text from UTF-8; `None` if the bytes are not UTF-8.
pub(crate) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(OsString::from)
}

/// Opens a file to read it. Anything else is refused.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path)
}

/// The operator's way to stop the master with this pid.
pub(crate) fn how_to_stop(master: u32) -> String {
    format!("Ctrl-C or the event {}", controls::name(master, "stop"))
}

/// Nanoseconds since some moment before the start of any process, by a clock that never goes back and is the
/// same in every process of the system.
pub(crate) fn monotonic_nanos() -> u64 {
    let (mut ticks, mut per_second) = (0, 0);
    // SAFETY: the system fills the numbers, which outlive the calls. Neither call fails since Windows XP.
    unsafe {
        QueryPerformanceCounter(&raw mut ticks);
        QueryPerformanceFrequency(&raw mut per_second);
    }
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let (ticks, per_second) = (number(ticks), number(per_second).max(1));
    let (seconds, rest) = (ticks / per_second, ticks % per_second);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest.wrapping_mul(1_000_000_000) / per_second)
}

/// Does nothing: the system shows the name of the process's file.
pub(crate) fn set_title(_title: &str, _name: &str) {}

/// The resident memory of this process.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).map_err(io::Error::other)?;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..PROCESS_MEMORY_COUNTERS::default() };
    // SAFETY: the system writes at most `size` bytes into `counters`.
    object::check(unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) })?;
    u64::try_from(counters.WorkingSetSize).map_err(io::Error::other)
}

/// Unknown without a debugger's library: the crash dump has it.
pub(crate) fn threads() -> Vec<String> {
    Vec::new()
}

/// Unknown. A child takes on nothing that would belong to one thread, so 0 is safe.
pub(crate) fn other_threads() -> usize {
    0
}

/// There is no limit on sockets that matters here.
pub(crate) fn descriptor_limit() -> usize {
    usize::MAX
}
