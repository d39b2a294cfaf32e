//! The cost of a scrape of `/metrics`, and of `/status`: the time of an answer, its size, and the CPU time of the master for it.
//!
//! `cargo bench -p prefork --bench metrics -- [CHILDREN]`, 1,000 by default. It asserts nothing.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use prefork::Prefork;
use prefork::shared::{Counter, CounterFamily};

type BenchResult<T> = Result<T, Box<dyn Error>>;

const VALUES: usize = 500;
const SCRAPES: usize = 20;
/// Longer than any text is used again.
const PAUSE: Duration = Duration::from_millis(1500);

fn main() -> BenchResult<()> {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let children = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    if env::var_os("METRICS_FLEET").is_some() {
        let fleet = Prefork::new(serve).addr("127.0.0.1:0").health("127.0.0.1:0").workers(children);
        let fleet = if arguments.next().is_some() { fleet.reuseport(true) } else { fleet };
        return Ok(fleet.run()?);
    }
    for sharing in ["one shared socket", "a socket for each slot"] {
        let reuseport = sharing != "one shared socket";
        let master = Master::start(children, reuseport)?;
        println!("{children} children with {VALUES} values, {sharing}:");
        master.measure("/metrics")?;
        master.measure("/status")?;
        master.measure("/livez")?;
    }
    Ok(())
}

static FAMILY: CounterFamily<1> =
    CounterFamily::new("bench_values_total", "Values", ["number"]).limit(VALUES);

/// `/status` tells the requests of each child.
static REQUESTS: Counter = Counter::new("bench_requests_total", "Requests");

/// A child that has counted in each of the values.
fn serve(listener: TcpListener) {
    REQUESTS.inc();
    for number in 0..VALUES {
        FAMILY.with([&number.to_string()]).inc();
    }
    for stream in listener.incoming() {
        drop(stream);
    }
}

/// A master, and what it logs. Its drop kills it; its children then end.
struct Master {
    process: Child,
    health: SocketAddr,
    _lines: Lines<BufReader<ChildStderr>>,
}

impl Master {
    fn start(children: usize, reuseport: bool) -> BenchResult<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(children.to_string()).args(reuseport.then_some("reuseport"));
        let mut process = command.env("METRICS_FLEET", "1").stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let mut health = None;
        loop {
            let line = lines.next().ok_or("the master ended")??;
            if let Some((_, addr)) = line.split_once("health endpoint on ") {
                health = Some(addr.parse()?);
            }
            if line.contains("children ready") {
                break;
            }
        }
        Ok(Self { process, health: health.ok_or("no health endpoint")?, _lines: lines })
    }

    fn measure(&self, path: &str) -> BenchResult<()> {
        let (mut times, mut size) = (Vec::new(), 0);
        let before = self.cpu_by_thread()?;
        for _ in 0..SCRAPES {
            thread::sleep(PAUSE);
            let start = Instant::now();
            let mut stream = TcpStream::connect(self.health)?;
            write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            if !answer.starts_with("HTTP/1.1 200 ") {
                return Err(format!("no answer: {answer}").into());
            }
            times.push(start.elapsed());
            size = answer.len();
        }
        let after = self.cpu_by_thread()?;
        times.sort();
        println!(
            "  {path}: {size} bytes, median {:?}, longest {:?}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            let each = (after - before) / SCRAPES as f64 * 1e6;
            println!("    CPU time of the thread {name}: {each:.0} us for each");
        }
        Ok(())
    }

    /// The CPU time of each thread of the master, in seconds.
    fn cpu_by_thread(&self) -> BenchResult<Vec<(String, f64)>> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let path = task?.path();
            let name = fs::read_to_string(path.join("comm"))?.trim().to_owned();
            let sched = fs::read_to_string(path.join("schedstat"))?;
            let nanos: f64 = sched.split_whitespace().next().ok_or("no CPU time")?.parse()?;
            threads.push((name, nanos / 1e9));
        }
        Ok(threads)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
