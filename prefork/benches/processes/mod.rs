//! Processes of a benchmark's own program, and what `/proc` tells of them.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) type BenchResult<T> = Result<T, Box<dyn Error>>;

pub(crate) struct NoLogger;

impl log::Log for NoLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }
    fn log(&self, _: &log::Record<'_>) {}
    fn flush(&self) {}
}

/// Prints the pid of this process on the shared standard output, as the sign that it is up.
pub(crate) fn print_pid() {
    // The reader counts lines, so a failed write would block the benchmark.
    let _ = std::io::stdout().write_all(format!("{}\n", std::process::id()).as_bytes());
}

/// A process of this program. Its drop kills the process, and so its fleet.
pub(crate) struct StartedProcess {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl StartedProcess {
    pub(crate) fn new(arguments: &[&str]) -> BenchResult<Self> {
        let mut process = Command::new(env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn next_line(&mut self) -> BenchResult<String> {
        Ok(self.lines.next().ok_or("it ended")??)
    }

    /// The pid of the next process that comes up.
    pub(crate) fn next_up(&mut self) -> BenchResult<u32> {
        Ok(self.next_line()?.parse()?)
    }

    /// The pids of the next `count` processes that come up.
    pub(crate) fn next_ups(&mut self, count: usize) -> BenchResult<Vec<u32>> {
        (0..count).map(|_| self.next_up()).collect()
    }
}

impl Drop for StartedProcess {
    fn drop(&mut self) {
        // The children of a killed master end by themselves.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(not(unix))]
pub(crate) fn send(_pid: u32, _signal: &str) -> BenchResult<()> {
    Err("the figures are read from /proc: run it on Linux".into())
}

#[cfg(unix)]
pub(crate) fn send(pid: u32, signal: &str) -> BenchResult<()> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into()?);
    Ok(nix::sys::signal::kill(pid, signal.parse::<nix::sys::signal::Signal>()?)?)
}

/// The voluntary context switches of all threads of these processes.
pub(crate) fn wake_ups(pids: &[u32]) -> BenchResult<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            sum += field(&format!("{}/status", task?.path().display()), "voluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

pub(crate) fn field(path: &str, name: &str) -> BenchResult<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
    Ok(line.split_whitespace().next().ok_or("no value")?.parse()?)
}
