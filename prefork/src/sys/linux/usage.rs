//! What `/proc` tells of this process's children, and what the kernel has dropped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar};

use super::process::private_bytes_of;
use crate::sys::{DroppedConnections, ProcessUsage};

/// Longer than any `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of 16 bytes.
const STAT_LIMIT: usize = 2048;

/// Reads the usage of processes, one file each, into memory that is kept.
#[derive(Debug)]
pub(crate) struct UsageReader {
    path: String,
    stat: [u8; STAT_LIMIT],
    page: u64,
    /// The unit of CPU times.
    ticks_per_second: u64,
    booted_at: SystemTime,
}

struct ProcessStat {
    /// The parent's pid.
    parent: u64,
    usage: ProcessUsage,
    /// Of the processes that it has started and waited for.
    cpu_of_children: Duration,
}

impl UsageReader {
    pub(crate) fn new() -> io::Result<Self> {
        let number = |variable| {
            let number = nix::unistd::sysconf(variable)?.and_then(|number| u64::try_from(number).ok());
            number.filter(|number| *number > 0).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
        };
        Ok(Self {
            path: String::new(),
            stat: [0; STAT_LIMIT],
            page: number(SysconfVar::PAGE_SIZE)?,
            ticks_per_second: number(SysconfVar::CLK_TCK)?,
            booted_at: booted_at()?,
        })
    }

    /// The usage of a child of this process; `None` once it is gone. Another process that has its pid since
    /// then is no child.
    pub(crate) fn of_child(&mut self, pid: u32) -> Option<ProcessUsage> {
        let stat = self.read(format_args!("{pid}"))?;
        let cpu = stat.usage.cpu + stat.cpu_of_children;
        (stat.parent == u64::from(std::process::id())).then_some(ProcessUsage { cpu, ..stat.usage })
    }

    /// The usage of this process, without its children.
    pub(crate) fn of_this_process(&mut self) -> Option<ProcessUsage> {
        Some(self.read(format_args!("self"))?.usage)
    }

    /// The resident memory of a process that no other process has: the kernel looks at every page. `None` if it cannot
    /// be read, as without `CAP_SYS_PTRACE` in a master whose children have another user.
    #[expect(clippy::unused_self, reason = "elsewhere nothing can be read")]
    pub(crate) fn private_bytes_of(&mut self, pid: u32) -> Option<u64> {
        private_bytes_of(pid).ok()
    }

    fn read(&mut self, process: std::fmt::Arguments<'_>) -> Option<ProcessStat> {
        let length = File::open(self.path_of(process, "stat")).ok()?.read(&mut self.stat).ok()?;
        let stat = std::str::from_utf8(after_name(self.stat.get(..length)?)?).ok()?;
        // `proc_pid_stat(5)` numbers the fields from 1; the first after the name is the third.
        let mut fields = (3_u32..).zip(stat.split_ascii_whitespace());
        let mut field = |wanted| {
            let (_, text) = fields.find(|(number, _)| *number == wanted)?;
            text.parse::<u64>().ok()
        };
        let parent = field(4)?;
        let ticks = field(14)? + field(15)?;
        let ticks_of_children = field(16)? + field(17)?;
        let (started, resident) = (field(22)?, field(24)?);
        let usage = ProcessUsage {
            cpu: self.time(ticks),
            resident: resident.saturating_mul(self.page),
            started_at: self.booted_at + self.time(started),
            // Linux 6.2 and later tell the number as the directory's size.
            open_files: fs::metadata(self.path_of(process, "fd"))
                .ok()
                .map(|fd| fd.len())
                .filter(|count| *count > 0),
        };
        Some(ProcessStat { parent, usage, cpu_of_children: self.time(ticks_of_children) })
    }

    fn path_of(&mut self, process: std::fmt::Arguments<'_>, file: &str) -> &str {
        self.path.clear();
        // `write!` to a String cannot fail.
        let _ = write!(self.path, "/proc/{process}/{file}");
        &self.path
    }

    fn time(&self, ticks: u64) -> Duration {
        let rest = (ticks % self.ticks_per_second).saturating_mul(1_000_000_000) / self.ticks_per_second;
        Duration::from_secs(ticks / self.ticks_per_second) + Duration::from_nanos(rest)
    }
}

/// The clock of a process's CPU time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(ClockId);

impl CpuClock {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        clock_getcpuclockid(Pid::from_raw(pid)).ok().map(Self)
    }

    /// The CPU time so far, without that of processes that it has waited for; `None` once it is gone.
    pub(crate) fn now(&self) -> Option<Duration> {
        clock_gettime(self.0).ok().map(Duration::from)
    }
}

/// What follows the name, which may have blanks, parentheses, and bytes that are no text.
fn after_name(stat: &[u8]) -> Option<&[u8]> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 1..)
}

/// By the clock of this moment. (`/proc` may have no more than processes.)
fn booted_at() -> io::Result<SystemTime> {
    let mut uptime = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which outlives the call.
    Errno::result(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut uptime) })?;
    let seconds = u64::try_from(uptime.tv_sec).map_err(io::Error::other)?;
    let nanos = u64::try_from(uptime.tv_nsec).map_err(io::Error::other)?;
    let uptime = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    SystemTime::now().checked_sub(uptime).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The connections that the kernel has dropped because a queue was full, of every listener in this process's
/// network namespace.
pub(crate) fn dropped_connections() -> Option<DroppedConnections> {
    dropped(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// A line of names is followed by one of numbers.
fn dropped(netstat: &str) -> Option<DroppedConnections> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let counter = |wanted| {
        let mut both = names.split_whitespace().zip(numbers.split_whitespace());
        both.find(|(name, _)| *name == wanted)?.1.parse().ok()
    };
    Some(DroppedConnections { overflows: counter("ListenOverflows")?, drops: counter("ListenDrops")? })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn usage_of_this_process_is_plausible() {
        let usage = UsageReader::new().unwrap().of_this_process().unwrap();
        let resident = crate::sys::resident_bytes().unwrap();
        assert!(usage.resident > resident / 2 && usage.resident < resident * 2, "{usage:?}, {resident}");
        let age = SystemTime::now().duration_since(usage.started_at).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        let count = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        assert!(usage.open_files.is_none_or(|open| open.abs_diff(count) < 20), "{usage:?}, {count}");
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let mut reader = UsageReader::new().unwrap();
        let before = reader.of_this_process().unwrap().cpu;
        while reader.of_this_process().unwrap().cpu < before + Duration::from_millis(30) {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
    }

    #[test]
    fn process_that_is_no_child_has_no_usage() {
        let mut reader = UsageReader::new().unwrap();
        assert_eq!(reader.of_child(std::process::id()), None);
        assert_eq!(reader.of_child(u32::MAX), None);
        let mut child = Command::new("sleep").arg("3600").spawn().unwrap();
        let usage = reader.of_child(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.is_some());
        assert_eq!(reader.of_child(child.id()), None);
    }

    #[test]
    fn private_memory_of_a_child_is_told_until_it_is_gone() {
        let mut reader = UsageReader::new().unwrap();
        let mut child = Command::new("sleep").arg("3600").spawn().unwrap();
        let private = reader.private_bytes_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(private.is_some_and(|bytes| bytes > 0), "{private:?}");
        assert_eq!(reader.private_bytes_of(child.id()), None);
        assert_eq!(reader.private_bytes_of(u32::MAX), None);
    }

    #[test]
    fn name_of_a_process_may_look_like_fields() {
        assert_eq!(after_name(b"7 (a) S 1) S 2\n"), Some(&b" S 2\n"[..]));
        assert_eq!(after_name(b"7 (\xff\xfe) S 2\n"), Some(&b" S 2\n"[..]));
        assert_eq!(after_name(b"7"), None);
    }

    #[test]
    fn dropped_connections_are_found_by_name() {
        let netstat = "TcpExt: A ListenOverflows B ListenDrops\nTcpExt: 1 2 3 4\nIpExt: A\nIpExt: 9\n";
        let found = DroppedConnections { overflows: 2, drops: 4 };
        assert_eq!(dropped(netstat), Some(found));
        assert_eq!(dropped("TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(dropped("TcpExt: ListenOverflows ListenDrops\n"), None);
        assert!(dropped_connections().is_some());
    }
}
