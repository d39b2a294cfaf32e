//! What `preload` saves and costs: memory, start, recovery, and the first accesses of a forked child.
//!
//! `cargo bench -p prefork --bench preload`. It needs Linux and 3 GB of memory, takes a minute, and asserts nothing.
//!
//! The data is 200 MB in 200000 allocations with reference counts.

mod processes;

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use prefork::{Prefork, Preloaded};

use self::processes::{BenchResult, NoLogger, StartedProcess, field, print_pid, send, wake_ups};

const ENTRIES: usize = 200_000;
/// With its two counts and a word of the allocator, an entry takes 1 KiB.
const ENTRY: usize = 1000;
const CHILDREN: usize = 8;
const MANY: usize = 100;
const RUNS: usize = 31;
/// The entries that one pass accesses.
const ACCESSES: usize = 1000;
/// An argument: memory is not moved to huge pages.
const SMALL_PAGES: &str = "small-pages";

type Data = Vec<Arc<[u8; ENTRY]>>;

fn main() -> BenchResult<()> {
    let arguments: Vec<String> = env::args().collect();
    if arguments.iter().any(|argument| argument == SMALL_PAGES) {
        use_small_pages()?;
    }
    let children = arguments.get(2).and_then(|children| children.parse().ok()).unwrap_or(1);
    let run = |fleet: Prefork| -> BenchResult<()> {
        Ok(fleet.workers(children).recover(u32::MAX).logger(NoLogger).listen_and_serve("127.0.0.1:0")?)
    };
    match arguments.get(1).map(String::as_str) {
        Some("alone") => {
            let _data = load();
            print_pid();
            thread::sleep(Duration::MAX);
            Ok(())
        }
        Some("preloading") => run(Prefork::new(serve_preloaded).preload(load_in_template)),
        Some("loading") => run(Prefork::new(serve_loaded)),
        Some("executed") => run(Prefork::new(serve)),
        Some("accessing") => run(Prefork::new(serve_accesses).preload(load)),
        _ => measure(),
    }
}

/// A load that does nothing but fill memory: one that reads files or parses takes longer.
fn load() -> Data {
    let entry = |number: usize| Arc::new([number.to_le_bytes()[0]; ENTRY]);
    (0..ENTRIES).map(entry).collect()
}

fn load_in_template() -> Data {
    print_pid();
    load()
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    print_pid();
    ln.accept().map(drop)
}

fn serve_preloaded(ln: TcpListener, data: Preloaded<Data>) -> std::io::Result<()> {
    black_box(&data[0]);
    serve(ln)
}

fn serve_loaded(ln: TcpListener) -> std::io::Result<()> {
    let _data = load();
    serve(ln)
}

/// Prints the nanoseconds of an access, and the page faults of a thousand, for a first and a second pass of reads and
/// then of changes.
fn serve_accesses(ln: TcpListener, data: Preloaded<Data>) -> std::io::Result<()> {
    let read = |entry: &Arc<[u8; ENTRY]>| {
        black_box(entry[0]);
    };
    let change = |entry: &Arc<[u8; ENTRY]>| drop(black_box(Arc::clone(entry)));
    let mut line = String::new();
    for access in [&read as &dyn Fn(&_), &read, &change, &change] {
        let (faults, start) = (page_faults()?, Instant::now());
        // Entries that are far from each other: steps of a prime number.
        (0..ACCESSES).for_each(|turn| access(&data[turn * 7919 % ENTRIES]));
        let nanoseconds = start.elapsed().as_nanos() / ACCESSES as u128;
        line += &format!("{nanoseconds} {} ", page_faults()? - faults);
    }
    std::io::stdout().write_all(format!("{line}\n").as_bytes())?;
    ln.accept().map(drop)
}

fn page_faults() -> std::io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    Ok(fields.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn use_small_pages() -> BenchResult<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn use_small_pages() -> BenchResult<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

fn measure() -> BenchResult<()> {
    measure_memory_and_idle()?;
    measure_recovery(&[])?;
    measure_recovery(&[SMALL_PAGES])?;
    measure_start()?;
    measure_accesses("huge pages", &[])?;
    measure_accesses("small pages", &[SMALL_PAGES])
}

fn measure_memory_and_idle() -> BenchResult<()> {
    let mut alone = StartedProcess::new(&["alone"])?;
    alone.next_up()?;
    let alone = proportional(&[alone.pid()])?;
    let mut master = StartedProcess::new(&["preloading", &CHILDREN.to_string()])?;
    // The template and the children.
    let mut pids = master.next_ups(1 + CHILDREN)?;
    // A second after its start each child looks once at what it may have been left with.
    thread::sleep(Duration::from_secs(2));
    let shared = proportional(&pids)?;
    println!("memory of a process that loads for itself: {} MB", alone / 1000);
    println!(
        "memory of a template and {CHILDREN} children: {} MB, {:.3} of it",
        shared / 1000,
        ratio(shared, alone)
    );
    pids.push(master.pid());
    let before = wake_ups(&pids)?;
    thread::sleep(Duration::from_secs(10));
    println!("wake-ups of master, template and children in ten idle seconds: {}", wake_ups(&pids)? - before);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of kilobytes")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The sum of what each of these processes has of the memory that it shares, in kB.
fn proportional(pids: &[u32]) -> BenchResult<u64> {
    pids.iter().map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum()
}

/// A fleet of two children and its times.
struct Measured {
    name: &'static str,
    master: StartedProcess,
    /// From an order to a child more, until it serves.
    ordered: Vec<Duration>,
    /// From the kill of a child until another one serves.
    killed: Vec<Duration>,
}

impl Measured {
    fn new(name: &'static str, role: &str, more: &[&str]) -> BenchResult<Self> {
        let mut master = StartedProcess::new(&[&[role, "2"], more].concat())?;
        if role == "preloading" {
            master.next_up()?;
        }
        master.next_ups(2)?;
        Ok(Self { name, master, ordered: Vec::new(), killed: Vec::new() })
    }

    fn measure(&mut self) -> BenchResult<()> {
        let start = Instant::now();
        send(self.master.pid(), "SIGTTIN")?;
        let added = self.master.next_up()?;
        self.ordered.push(start.elapsed());
        // A slot that is new: one whose children keep failing has to wait.
        let start = Instant::now();
        send(added, "SIGKILL")?;
        let replacement = self.master.next_up()?;
        self.killed.push(start.elapsed());
        send(self.master.pid(), "SIGTTOU")?;
        while Path::new(&format!("/proc/{replacement}")).exists() {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn measure_recovery(more: &[&str]) -> BenchResult<()> {
    let pages = if more.is_empty() { "huge" } else { "small" };
    let mut fleets = [
        Measured::new("forked", "preloading", more)?,
        Measured::new("executed without a load", "executed", more)?,
        Measured::new("executed, and loads", "loading", more)?,
    ];
    for _ in 0..RUNS {
        for fleet in &mut fleets {
            fleet.measure()?;
        }
    }
    let medians = fleets.each_mut().map(|fleet| (median(&mut fleet.ordered), median(&mut fleet.killed)));
    for (fleet, (ordered, killed)) in fleets.iter().zip(medians) {
        let name = fleet.name;
        let times = |sorted: &[Duration]| {
            let [lowest, middle, highest] = [0, sorted.len() / 2, sorted.len() - 1].map(|n| sorted[n]);
            format!("{middle:.2?} ({lowest:.2?} to {highest:.2?})")
        };
        println!(
            "{pages} pages, {name}: order to ready {}, ×{:.1}",
            times(&fleet.ordered),
            ordered / medians[0].0
        );
        println!(
            "{pages} pages, {name}: kill to ready {}, ×{:.1}",
            times(&fleet.killed),
            killed / medians[0].1
        );
    }
    Ok(())
}

/// In seconds. Sorts them.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// The start of many children with `preload`, and as many loads. Their data does not fit into memory, so that each
/// process ends once it has loaded, and two load at a time.
fn measure_start() -> BenchResult<()> {
    let start = Instant::now();
    StartedProcess::new(&["preloading", &MANY.to_string()])?.next_ups(1 + MANY)?;
    let forked = start.elapsed();
    let start = Instant::now();
    StartedProcess::new(&["executed", &MANY.to_string()])?.next_ups(MANY)?;
    let executed = start.elapsed();
    let start = Instant::now();
    for _ in 0..MANY / 2 {
        let mut processes = [StartedProcess::new(&["alone"])?, StartedProcess::new(&["alone"])?];
        for process in &mut processes {
            process.next_up()?;
        }
    }
    let loaded = start.elapsed();
    println!("start of {MANY} children with `preload`: {forked:.2?}");
    let times = |other: Duration| other.as_secs_f64() / forked.as_secs_f64();
    println!("start of {MANY} children without data: {executed:.2?}, ×{:.1}", times(executed));
    println!("{MANY} loads, two at a time: {loaded:.2?}, ×{:.1}", times(loaded));
    Ok(())
}

fn measure_accesses(pages: &str, more: &[&str]) -> BenchResult<()> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let mut master = StartedProcess::new(&[&["accessing", "1"], more].concat())?;
        let line = master.next_line()?;
        let figures = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        runs.push(figures);
    }
    let middle = |place: usize| {
        let mut figures: Vec<u64> = runs.iter().map(|run| run[place]).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    for (access, place) in [("read", 0), ("change", 4)] {
        let [first, first_faults, later, later_faults] = [0, 1, 2, 3].map(|n| middle(place + n));
        println!(
            "{pages}, {access} of an entry in a forked child: {first} ns at first, {later} ns later; \
             {first_faults} and {later_faults} page faults for {ACCESSES}"
        );
    }
    Ok(())
}
