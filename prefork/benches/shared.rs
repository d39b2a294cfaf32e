//! The cost of shared values: of each operation, and of counting in several processes at once. That of a scrape is in
//! `metrics.rs`.
//!
//! `cargo bench -p prefork --bench shared`. It asserts nothing.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use prefork::Prefork;
use prefork::shared::{Counter, CounterFamily, Flag, Gauge, Histogram, KeyedRateLimiter, Max, RateLimiter};

type BenchResult<T> = Result<T, Box<dyn Error>>;

/// The turns of one run: a run of a millisecond is rarely interrupted.
const TURNS: u32 = 50_000;
const RUNS: u32 = 300;
/// What is allowed in a second, and at once: children that a busy machine does not run for a while lose nothing.
const LIMIT: u32 = 1000;
const BURST: u32 = 1000;
const LIMITED_FOR: Duration = Duration::from_secs(10);
/// The pause between two children that are killed.
const KILL_PAUSE: Duration = Duration::from_millis(250);

static PLAIN: AtomicU64 = AtomicU64::new(0);
static COUNTER: Counter = Counter::new("bench_total", "Turns");
static GAUGE: Gauge = Gauge::new("bench_gauge", "Turns");
static HISTOGRAM: Histogram = Histogram::new("bench_seconds", "Turns");
static MAX: Max = Max::new("bench_max_seconds", "Turns");
static FAMILY: CounterFamily<2> = CounterFamily::new("bench_family_total", "Turns", ["method", "status"]);
static LIMITER: RateLimiter = RateLimiter::per_second("bench_limit", "Turns", 1_000_000);
static SLOW_LIMITER: RateLimiter = RateLimiter::per_second("bench_slow_limit", "A limit", LIMIT).burst(BURST);
static CLIENTS: KeyedRateLimiter =
    KeyedRateLimiter::per_second("bench_clients", "A limit for each key", 1000);
static ALLOWED: Counter = Counter::new("bench_allowed_total", "What the limit has allowed");
static FLAG: Flag = Flag::new("bench_flag", "A word that all processes write");

fn main() -> BenchResult<()> {
    let mut arguments = env::args().skip_while(|argument| argument != "fleet").skip(1);
    if let Some(workers) = arguments.next() {
        let fleet = Prefork::new(serve).addr("127.0.0.1:0");
        return Ok(fleet.workers(workers.parse::<usize>()?).recover(100_000).run()?);
    }
    println!("outside a fleet:\n{}", operations());
    println!("in a child of a fleet:\n{}", Fleet::start(1)?.ask("operations")?);
    for processes in [2, 8] {
        let fleet = Fleet::start(processes)?;
        let (own, shared) = (fleet.at_once("counter", processes)?, fleet.at_once("flag", processes)?);
        println!(
            "{processes} processes at once: Counter::inc {own:.1} ns, a word that all write {shared:.1} ns"
        );
    }
    Fleet::start(8)?.limit(8, "")?;
    if cfg!(unix) {
        let fleet = Fleet::start(8)?;
        let _killer = Killer::start(fleet.addr);
        fleet.limit(8, ", one of which is killed every quarter of a second")?;
    }
    Ok(())
}

/// The time of each operation, a line for each.
fn operations() -> String {
    let plain = each(|| {
        PLAIN.fetch_add(1, Ordering::Relaxed);
    });
    let lines = [
        ("static AtomicU64", plain),
        ("Counter::inc", each(|| COUNTER.inc())),
        ("Gauge::inc", each(|| GAUGE.inc())),
        ("Max::record, no new maximum", each(|| MAX.record(1.0))),
        ("Histogram::observe", each(|| HISTOGRAM.observe(black_box(0.01)))),
        ("CounterFamily::with and inc", each(|| FAMILY.with(black_box(["GET", "200"])).inc())),
        ("RateLimiter::allow", each(|| use_up(LIMITER.allow()))),
        ("KeyedRateLimiter::allow", each(|| use_up(CLIENTS.allow(black_box(&4711))))),
    ];
    lines
        .map(|(name, nanos)| format!("  {name}: {nanos:.2} ns, {:.2} of the first\n", nanos / plain))
        .concat()
}

fn use_up(answer: bool) {
    black_box(answer);
}

/// Nanoseconds of one turn: the least of many runs.
fn each(mut turn: impl FnMut()) -> f64 {
    let mut run = || {
        let start = Instant::now();
        (0..TURNS).for_each(|_| turn());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds of one turn, while other processes do the same: of the processor's time, where the system tells it.
fn each_at_once(mut turn: impl FnMut()) -> f64 {
    let (start, before) = (Instant::now(), thread_nanos());
    (0..TURNS * RUNS).for_each(|_| turn());
    let wall = start.elapsed().as_secs_f64() * 1e9;
    thread_nanos().zip(before).map_or(wall, |(after, before)| after - before) / f64::from(TURNS * RUNS)
}

/// What this thread has run.
fn thread_nanos() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        thread::spawn(|| stream.and_then(answer));
    }
}

/// Answers one line with one text.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let text = match line.trim_end() {
        "operations" => operations(),
        "counter" => each_at_once(|| COUNTER.inc()).to_string(),
        "flag" => each_at_once(|| FLAG.set(true)).to_string(),
        "allowed" => ALLOWED.total().to_string(),
        "pid" => std::process::id().to_string(),
        millis => {
            let end = Instant::now() + Duration::from_millis(millis.parse().unwrap_or_default());
            while Instant::now() < end {
                ALLOWED.add(u64::from(SLOW_LIMITER.allow()));
            }
            "done".to_owned()
        }
    };
    stream.write_all(text.as_bytes())
}

fn ask(addr: SocketAddr, line: &str) -> BenchResult<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Repeats a request whose child was killed.
fn ask_until_answered(addr: SocketAddr, line: &str) -> BenchResult<String> {
    let end = Instant::now() + LIMITED_FOR;
    loop {
        match ask(addr, line) {
            Ok(answer) if !answer.is_empty() => return Ok(answer),
            Err(error) if Instant::now() >= end => return Err(error),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Has a child use the limit for the whole time. When the child is killed, another one goes on.
fn use_limit(addr: SocketAddr, start: Instant) {
    while let Some(left) = LIMITED_FOR.checked_sub(start.elapsed()).filter(|left| left.as_millis() > 0) {
        if ask(addr, &left.as_millis().to_string()).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Kills children one after the other until it is dropped.
struct Killer {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Killer {
    fn start(addr: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(KILL_PAUSE);
                if let Ok(pid) = ask_until_answered(addr, "pid") {
                    // It may have ended.
                    let _ = Command::new("kill").args(["-9", &pid]).status();
                }
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A running fleet. Its drop kills the master; the children then end.
struct Fleet {
    process: Child,
    addr: SocketAddr,
    _lines: Lines<BufReader<ChildStderr>>,
}

impl Fleet {
    fn start(workers: usize) -> BenchResult<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["fleet", &workers.to_string()]);
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let mut wait_for = |text: &str| -> BenchResult<String> {
            loop {
                let line = lines.next().ok_or("the master ended")??;
                if let Some((_, rest)) = line.split_once(text) {
                    return Ok(rest.split(' ').next().unwrap_or_default().to_owned());
                }
            }
        };
        let addr = wait_for("listening on ")?.parse()?;
        wait_for("ready (pids")?;
        Ok(Self { process, addr, _lines: lines })
    }

    fn ask(&self, line: &str) -> BenchResult<String> {
        ask(self.addr, line)
    }

    /// The mean of what that many connections measure at once. They are spread over the children.
    fn at_once(&self, line: &'static str, count: usize) -> BenchResult<f64> {
        let addr = self.addr;
        let ask_all: Vec<_> = (0..count)
            .map(|_| thread::spawn(move || ask(addr, line).map_err(|error| error.to_string())))
            .collect();
        let mut total = 0.0;
        for thread in ask_all {
            total += thread.join().map_err(|_| "a thread panicked")??.parse::<f64>()?;
        }
        Ok(total / f64::from(u32::try_from(count)?))
    }

    /// How much a limit allows that all children use as fast as they can.
    fn limit(&self, processes: usize, meanwhile: &str) -> BenchResult<()> {
        let (addr, start) = (self.addr, Instant::now());
        let use_all: Vec<_> = (0..processes).map(|_| thread::spawn(move || use_limit(addr, start))).collect();
        for thread in use_all {
            thread.join().map_err(|_| "a thread panicked")?;
        }
        let expected = start.elapsed().as_secs_f64() * f64::from(LIMIT) + f64::from(BURST);
        let allowed: u32 = ask_until_answered(addr, "allowed")?.parse()?;
        println!(
            "{processes} processes{meanwhile}: {LIMIT} per second and a burst of {BURST} for ten seconds: {allowed} \
             allowed of {expected:.0}, {:.2}%",
            f64::from(allowed) / expected * 100.0
        );
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
