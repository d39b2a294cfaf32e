//! A contender that was started.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Contender, Files, Setup, Size};
use crate::linux::BenchResult;
use crate::linux::client::{ask_pids, is_up};
use crate::linux::keeper;
use crate::linux::process::{below, children, end_all, is_alive, reap, send};
use crate::linux::server::UP;

/// How long a contender may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running contender. Its drop kills all of its processes.
pub(crate) struct Running {
    process: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) started: Instant,
    workers: usize,
    /// What it prints, if it tells when a child serves.
    pub(crate) output: Option<Output>,
    /// Processes that were seen below it, which may have been adopted since.
    known: BTreeSet<u32>,
    directory: TempDir,
}

impl Running {
    pub(super) fn start(contender: &Contender, files: &Files, size: Size) -> BenchResult<Self> {
        let directory = tempfile::tempdir()?;
        let addr = free_addr()?;
        let setup = Setup { addr, size, directory: directory.path(), files };
        let mut command = (contender.command)(&setup)?;
        let log = File::create(directory.path().join("log"))?;
        let mut output = None;
        command.stdin(Stdio::null()).process_group(0);
        if contender.abilities.tells {
            let (reader, writer) = std::io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            output = Some(Output { pipe: reader, text: String::new() });
        } else {
            command.stdout(log.try_clone()?).stderr(log);
        }
        // SAFETY: prctl is a system call and nothing else, which a new process may call.
        unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        let started = Instant::now();
        let process = command.spawn()?;
        keeper::watch(process.id());
        Ok(Self { process, addr, started, workers: size.workers, output, known: BTreeSet::new(), directory })
    }

    /// The process that was started: the master.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The master and all processes below it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut all = below(self.pid());
        all.push(self.pid());
        all
    }

    pub(crate) fn signal(&self, signal: Signal) -> BenchResult<()> {
        send(self.pid(), signal)
    }

    /// Waits for the first answer.
    pub(crate) fn wait_for_answer(&mut self) -> BenchResult<()> {
        if is_up(self.addr, PATIENCE) { Ok(()) } else { Err(format!("no answer: {}", self.log()).into()) }
    }

    /// Waits until `count` workers serve that are none of `others`, and returns their pids.
    ///
    /// Own contenders tell it. Others are asked, with connections that arrive together so that every worker takes
    /// some, which takes a moment longer.
    pub(crate) fn wait_for_workers(&mut self, count: usize, others: &[u32]) -> BenchResult<Vec<u32>> {
        let end = Instant::now() + PATIENCE;
        let mut found = BTreeSet::new();
        while found.len() < count {
            if Instant::now() > end {
                return Err(format!("{} of {count} workers: {}", found.len(), self.log()).into());
            }
            let seen = match &mut self.output {
                Some(output) => vec![output.next_after(UP)?.parse()?],
                None => ask_pids(self.addr, 16.max(4 * self.workers)),
            };
            found.extend(seen.into_iter().filter(|pid| !others.contains(pid)));
            // One that was replaced is none of them; to look costs time, in which nothing is measured when all tell.
            if self.output.is_none() {
                found.retain(|pid| is_alive(*pid));
            }
        }
        self.known.extend(&found);
        Ok(found.into_iter().collect())
    }

    /// Waits until the master has `count` children that are none of `others`.
    pub(crate) fn wait_for_children(&mut self, count: usize, others: &[u32]) -> BenchResult<Vec<u32>> {
        let others: BTreeSet<u32> = others.iter().copied().collect();
        let end = Instant::now() + PATIENCE;
        loop {
            let mut found = children(self.pid());
            found.retain(|pid| !others.contains(pid) && is_alive(*pid));
            if found.len() >= count {
                self.known.extend(&found);
                return Ok(found);
            }
            if Instant::now() > end {
                return Err(format!("{} of {count} children: {}", found.len(), self.log()).into());
            }
            // A look at many children takes a while, which is not to be taken from them.
            thread::sleep(Duration::from_millis(1 + count as u64 / 50));
        }
    }

    /// Waits for the end of the master.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> BenchResult<Duration> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.process.try_wait()?.is_some() {
                return Ok(start.elapsed());
            }
            thread::sleep(Duration::from_micros(100));
        }
        Err("it does not end".into())
    }

    /// Kills the master, and takes its status.
    pub(crate) fn kill_master(&mut self) -> BenchResult<()> {
        self.known.extend(below(self.pid()));
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn log(&mut self) -> String {
        let text = match &mut self.output {
            Some(output) => output.text.clone(),
            None => std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default(),
        };
        text.lines().rev().take(5).collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let known = &mut self.known;
        known.extend(below(self.process.id()));
        let _ = self.process.kill();
        let _ = self.process.wait();
        known.iter().copied().for_each(reap);
        let left = known.clone();
        end_all(|| {
            let alive = |pid: &u32| {
                is_alive(*pid) || {
                    reap(*pid);
                    false
                }
            };
            let below: Vec<u32> = left.iter().flat_map(|pid| below(*pid)).collect();
            left.iter().copied().filter(alive).chain(below).collect()
        });
        keeper::forget(self.process.id());
    }
}

/// The lines that a contender and its children print.
pub(crate) struct Output {
    pipe: std::io::PipeReader,
    text: String,
}

impl Output {
    /// What follows `text` in the next line that has it, up to the end of the line.
    pub(crate) fn next_after(&mut self, text: &str) -> BenchResult<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let found = line.split_once(text).map(|(_, found)| found.to_owned());
                self.text = rest.to_owned();
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            self.read(end)?;
        }
    }

    fn is_readable(&self, limit: Duration) -> BenchResult<bool> {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut polled, PollTimeout::try_from(limit)?)? > 0)
    }

    fn read(&mut self, end: Instant) -> BenchResult<()> {
        if !self.is_readable(end.saturating_duration_since(Instant::now()))? {
            return Err("it prints nothing more".into());
        }
        let mut buffer = [0; 16 * 1024];
        let length = self.pipe.read(&mut buffer)?;
        if length == 0 {
            return Err("it has ended".into());
        }
        self.text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        Ok(())
    }
}

/// A free port. It is none that the system gives to connections of clients: one of those could take it in between.
fn free_addr() -> BenchResult<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(free) => return Ok(free.local_addr()?),
            Err(error) if port > 30_000 => return Err(error.into()),
            Err(_) => {}
        }
    }
}
