//! The cost of a fleet compared with bare processes: start, recovery, memory, wake-ups while idle.
//!
//! `cargo bench -p prefork`. Every figure is a ratio or a difference within one run on one machine. The
//! benchmark asserts nothing.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prefork::Prefork;

type BenchResult<T> = Result<T, Box<dyn Error>>;

const CHILDREN: usize = 8;
const RUNS: usize = 21;

fn main() -> BenchResult<()> {
    match env::args().nth(1).as_deref() {
        Some("fleet") => Ok(Prefork::new(serve)
            .workers(CHILDREN)
            .recover(u32::MAX)
            .logger(NoLogger)
            .listen_and_serve("127.0.0.1:0")?),
        Some("bare") => {
            print_pid();
            thread::sleep(Duration::MAX);
            Ok(())
        }
        _ => measure(),
    }
}

/// Prints the pid of this process on the shared standard output, as the sign that it is up.
fn print_pid() {
    // The reader counts lines, so a failed write would block the benchmark.
    let _ = std::io::stdout().write_all(format!("{}\n", std::process::id()).as_bytes());
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    print_pid();
    ln.accept().map(drop)
}

struct NoLogger;

impl log::Log for NoLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }
    fn log(&self, _: &log::Record<'_>) {}
    fn flush(&self) {}
}

/// A process of this program. Its drop kills the process, and so its fleet.
struct StartedProcess {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl StartedProcess {
    fn new(role: &str) -> BenchResult<Self> {
        let mut process = Command::new(env::current_exe()?).arg(role).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    /// The pid of the next process that comes up.
    fn next_up(&mut self) -> BenchResult<u32> {
        Ok(self.lines.next().ok_or("it ended")??.parse()?)
    }
}

impl Drop for StartedProcess {
    fn drop(&mut self) {
        // The children of a killed master end by themselves.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure() -> BenchResult<()> {
    let mut one = Vec::new();
    let mut bare = Vec::new();
    let mut fleet = Vec::new();
    let mut recovery = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        StartedProcess::new("bare")?.next_up()?;
        one.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut processes =
            (0..=CHILDREN).map(|_| StartedProcess::new("bare")).collect::<BenchResult<Vec<_>>>()?;
        for process in &mut processes {
            process.next_up()?;
        }
        bare.push(start.elapsed().as_secs_f64());
        drop(processes);

        let start = Instant::now();
        let mut master = StartedProcess::new("fleet")?;
        let children = (0..CHILDREN).map(|_| master.next_up()).collect::<BenchResult<Vec<_>>>()?;
        fleet.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        kill(children[0])?;
        master.next_up()?;
        recovery.push(start.elapsed().as_secs_f64());
    }
    let (one, bare, fleet, recovery) = (median(one), median(bare), median(fleet), median(recovery));
    println!("start of a master and {CHILDREN} children: {:.2} of as many bare processes", fleet / bare);
    println!("a killed child's replacement: {:.2} of a bare process", recovery / one);
    measure_idle()
}

/// Measures memory and wake-ups of an idle fleet.
fn measure_idle() -> BenchResult<()> {
    let mut bare = StartedProcess::new("bare")?;
    let bare_pid = bare.next_up()?;
    let mut master = StartedProcess::new("fleet")?;
    let mut pids = (0..CHILDREN).map(|_| master.next_up()).collect::<BenchResult<Vec<_>>>()?;
    pids.push(master.process.id());
    // The last child has printed its pid but may not sleep yet.
    thread::sleep(Duration::from_millis(500));
    let difference = resident(master.process.id())?.saturating_sub(resident(bare_pid)?);
    println!("memory of the master beyond a bare process: {difference} KiB");
    let before = wake_ups(&pids)?;
    thread::sleep(Duration::from_secs(10));
    println!("wake-ups of master and children in ten idle seconds: {}", wake_ups(&pids)? - before);
    Ok(())
}

#[cfg(not(unix))]
fn kill(_pid: u32) -> BenchResult<()> {
    Err("the figures are read from /proc: run it on Linux".into())
}

#[cfg(unix)]
fn kill(pid: u32) -> BenchResult<()> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into()?);
    Ok(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn resident(pid: u32) -> BenchResult<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// The voluntary context switches of all threads of these processes.
fn wake_ups(pids: &[u32]) -> BenchResult<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            sum += field(&format!("{}/status", task?.path().display()), "voluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

fn field(path: &str, name: &str) -> BenchResult<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
    Ok(line.split_whitespace().next().ok_or("no value")?.parse()?)
}
