//! What a fleet costs beside the bare processes it is made of: start, recovery, memory, idleness.
//!
//! `cargo bench -p prefork`. Every figure is a ratio or a difference taken in one run on one
//! machine, so it holds on a slow one; nothing is asserted.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prefork::Prefork;

type Outcome<T> = Result<T, Box<dyn Error>>;

const CHILDREN: usize = 8;
const RUNS: usize = 21;

fn main() -> Outcome<()> {
    match env::args().nth(1).as_deref() {
        Some("fleet") => Ok(Prefork::new(serve)
            .workers(CHILDREN)
            .recover(u32::MAX)
            .logger(Silence)
            .listen_and_serve("127.0.0.1:0")?),
        Some("bare") => {
            announce();
            thread::sleep(Duration::MAX);
            Ok(())
        }
        _ => measure(),
    }
}

/// Says on standard output, which all processes share, that this one has come up.
fn announce() {
    // The reader counts lines; one that is lost shows as a bench that does not end.
    let _ = std::io::stdout().write_all(format!("{}\n", std::process::id()).as_bytes());
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    announce();
    ln.accept().map(drop)
}

struct Silence;

impl log::Log for Silence {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }
    fn log(&self, _: &log::Record<'_>) {}
    fn flush(&self) {}
}

/// A process of this program, ended with everything in it when dropped.
struct Started {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn new(role: &str) -> Outcome<Self> {
        let mut process = Command::new(env::current_exe()?).arg(role).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    /// The pid of the next process that comes up.
    fn next_up(&mut self) -> Outcome<u32> {
        Ok(self.lines.next().ok_or("it ended")??.parse()?)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Children of a master that is gone end by themselves.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure() -> Outcome<()> {
    let mut one = Vec::new();
    let mut bare = Vec::new();
    let mut fleet = Vec::new();
    let mut recovery = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        Started::new("bare")?.next_up()?;
        one.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut processes = (0..=CHILDREN).map(|_| Started::new("bare")).collect::<Outcome<Vec<_>>>()?;
        for process in &mut processes {
            process.next_up()?;
        }
        bare.push(start.elapsed().as_secs_f64());
        drop(processes);

        let start = Instant::now();
        let mut master = Started::new("fleet")?;
        let children = (0..CHILDREN).map(|_| master.next_up()).collect::<Outcome<Vec<_>>>()?;
        fleet.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        kill(children[0])?;
        master.next_up()?;
        recovery.push(start.elapsed().as_secs_f64());
    }
    let (one, bare, fleet, recovery) = (median(one), median(bare), median(fleet), median(recovery));
    println!("start of a master and {CHILDREN} children: {:.2} of as many bare processes", fleet / bare);
    println!("a killed child's replacement: {:.2} of a bare process", recovery / one);
    at_rest()
}

/// Memory, and wake-ups of a fleet that nobody asks anything.
fn at_rest() -> Outcome<()> {
    let mut bare = Started::new("bare")?;
    let bare_pid = bare.next_up()?;
    let mut master = Started::new("fleet")?;
    let mut pids = (0..CHILDREN).map(|_| master.next_up()).collect::<Outcome<Vec<_>>>()?;
    pids.push(master.process.id());
    // The last child has said that it is up, but not yet gone to sleep.
    thread::sleep(Duration::from_millis(500));
    let difference = resident(master.process.id())?.saturating_sub(resident(bare_pid)?);
    println!("memory of the master beyond a bare process: {difference} KiB");
    let before = wake_ups(&pids)?;
    thread::sleep(Duration::from_secs(10));
    println!("wake-ups of master and children in ten idle seconds: {}", wake_ups(&pids)? - before);
    Ok(())
}

#[cfg(not(unix))]
fn kill(_pid: u32) -> Outcome<()> {
    Err("the figures are read from /proc: run it on Linux".into())
}

#[cfg(unix)]
fn kill(pid: u32) -> Outcome<()> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into()?);
    Ok(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn resident(pid: u32) -> Outcome<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// How often the threads of these processes went to sleep: once for each time they woke.
fn wake_ups(pids: &[u32]) -> Outcome<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            sum += field(&format!("{}/status", task?.path().display()), "voluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

fn field(path: &str, name: &str) -> Outcome<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
    Ok(line.split_whitespace().next().ok_or("no value")?.parse()?)
}
