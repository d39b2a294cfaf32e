//! The cost of a fleet compared with bare processes: start, recovery, memory, wake-ups while idle.
//!
//! `cargo bench -p prefork`. Every figure is a ratio or a difference within one run on one machine. The
//! benchmark asserts nothing.

mod processes;

use std::env;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use prefork::Prefork;

use self::processes::{BenchResult, NoLogger, StartedProcess, field, print_pid, send, wake_ups};

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

fn serve(ln: TcpListener) -> std::io::Result<()> {
    print_pid();
    ln.accept().map(drop)
}

fn measure() -> BenchResult<()> {
    let mut one = Vec::new();
    let mut bare = Vec::new();
    let mut fleet = Vec::new();
    let mut recovery = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        StartedProcess::new(&["bare"])?.next_up()?;
        one.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut processes =
            (0..=CHILDREN).map(|_| StartedProcess::new(&["bare"])).collect::<BenchResult<Vec<_>>>()?;
        for process in &mut processes {
            process.next_up()?;
        }
        bare.push(start.elapsed().as_secs_f64());
        drop(processes);

        let start = Instant::now();
        let mut master = StartedProcess::new(&["fleet"])?;
        let children = master.next_ups(CHILDREN)?;
        fleet.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        send(children[0], "SIGKILL")?;
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
    let mut bare = StartedProcess::new(&["bare"])?;
    let bare_pid = bare.next_up()?;
    let mut master = StartedProcess::new(&["fleet"])?;
    let mut pids = master.next_ups(CHILDREN)?;
    pids.push(master.pid());
    // The last child has printed its pid but may not sleep yet.
    thread::sleep(Duration::from_millis(500));
    let difference = resident(master.pid())?.saturating_sub(resident(bare_pid)?);
    println!("memory of the master beyond a bare process: {difference} KiB");
    let before = wake_ups(&pids)?;
    thread::sleep(Duration::from_secs(10));
    println!("wake-ups of master and children in ten idle seconds: {}", wake_ups(&pids)? - before);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn resident(pid: u32) -> BenchResult<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}
