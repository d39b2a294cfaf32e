//! What the system tells of this process's children.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::time::{Duration, SystemTime};

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetProcessHandleCount, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::object;
pub(crate) use crate::sys::no_cpu_clock::CpuClock;
use crate::sys::{DroppedConnections, ProcessUsage};

/// Between the epochs of Windows, 1601, and of Unix.
const EPOCHS: Duration = Duration::from_secs(11_644_473_600);

/// Reads the usage of processes.
#[derive(Debug)]
pub(crate) struct UsageReader;

impl UsageReader {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// The usage of a child of this process; `None` once it is gone. No other process has its pid while the
    /// reactor holds a handle to it.
    #[expect(clippy::unused_self, reason = "elsewhere it has memory")]
    pub(crate) fn of_child(&mut self, pid: u32) -> Option<ProcessUsage> {
        usage(open(pid).ok()?.as_handle()).ok()
    }

    /// Unknown. There are no templates.
    #[expect(clippy::unused_self, reason = "elsewhere it has memory")]
    pub(crate) fn private_bytes_of(&mut self, _pid: u32) -> Option<u64> {
        None
    }

    pub(crate) fn of_this_process(&mut self) -> Option<ProcessUsage> {
        self.of_child(std::process::id())
    }
}

/// Unknown: the system counts no such connections.
pub(crate) fn dropped_connections() -> Option<DroppedConnections> {
    None
}

fn open(pid: u32) -> io::Result<OwnedHandle> {
    // SAFETY: plain numbers.
    object::owned(unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) })
}

fn usage(process: BorrowedHandle<'_>) -> io::Result<ProcessUsage> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).map_err(io::Error::other)?;
    let mut memory = PROCESS_MEMORY_COUNTERS { cb: size, ..PROCESS_MEMORY_COUNTERS::default() };
    // SAFETY: the handle is open for as long as it is borrowed; the system writes at most `size` bytes.
    object::check(unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut memory, size) })?;
    let mut handles = 0;
    // SAFETY: as before; the system writes one number.
    object::check(unsafe { GetProcessHandleCount(process.as_raw_handle(), &raw mut handles) })?;
    let times = times(process)?;
    Ok(ProcessUsage {
        cpu: times.cpu,
        resident: u64::try_from(memory.WorkingSetSize).map_err(io::Error::other)?,
        started_at: SystemTime::UNIX_EPOCH + times.started.saturating_sub(EPOCHS),
        open_files: Some(handles.into()),
    })
}

/// The CPU time of a process, which may have ended.
pub(super) fn cpu_time(process: BorrowedHandle<'_>) -> io::Result<Duration> {
    Ok(times(process)?.cpu)
}

struct Times {
    /// Since the epoch of Windows.
    started: Duration,
    cpu: Duration,
}

fn times(process: BorrowedHandle<'_>) -> io::Result<Times> {
    let [mut started, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open for as long as it is borrowed; the system writes one time to each place.
    object::check(unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &raw mut started,
            &raw mut ended,
            &raw mut kernel,
            &raw mut user,
        )
    })?;
    Ok(Times { started: duration(started), cpu: duration(kernel) + duration(user) })
}

/// A file time counts units of 100 ns.
fn duration(time: FILETIME) -> Duration {
    let units = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_secs(units / 10_000_000) + Duration::from_nanos(units % 10_000_000 * 100)
}
