//! The time in which the health endpoint answers a probe: alone, and among idle and slow clients, while
//! children are replaced.
//!
//! `cargo bench -p prefork --bench health`. It asserts nothing.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use prefork::Prefork;

type BenchResult<T> = Result<T, Box<dyn Error>>;

const IDLE_CLIENTS: usize = 500;
const SLOW_CLIENTS: usize = 50;
const PROBES: usize = 2000;

fn main() -> BenchResult<()> {
    if env::args().any(|argument| argument == "fleet") {
        let fleet = Prefork::new(serve).addr("127.0.0.1:0").health("127.0.0.1:0").workers(2);
        // Children are replaced all the time.
        return Ok(fleet.max_lifetime("200ms").run()?);
    }
    let master = Master::start()?;
    report("alone", &mut probe(master.health, || Ok(()))?);
    let idle: Vec<TcpStream> = connect(master.health, IDLE_CLIENTS)?;
    let mut slow = connect(master.health, SLOW_CLIENTS)?;
    let mut turn = 0;
    let mut times = probe(master.health, || {
        turn += 1;
        // One byte of each, and a new client for one that has lost its place.
        let place = turn % SLOW_CLIENTS;
        if slow[place].write_all(b"G").is_err() {
            slow[place] = TcpStream::connect(master.health)?;
        }
        Ok(())
    })?;
    report(&format!("among {IDLE_CLIENTS} idle and {SLOW_CLIENTS} slow clients"), &mut times);
    drop(idle);
    Ok(())
}

fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        drop(stream);
    }
}

fn connect(addr: SocketAddr, count: usize) -> BenchResult<Vec<TcpStream>> {
    (0..count).map(|_| Ok(TcpStream::connect(addr)?)).collect()
}

/// The times of probes, each on a connection of its own.
fn probe(addr: SocketAddr, mut meanwhile: impl FnMut() -> BenchResult<()>) -> BenchResult<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..PROBES {
        meanwhile()?;
        let start = Instant::now();
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(format!("not live: {answer}").into());
        }
        times.push(start.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(times)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let [half, most, all] = [times.len() / 2, times.len() * 99 / 100, times.len() - 1];
    println!("/livez {what}: median {:?}, 99% {:?}, longest {:?}", times[half], times[most], times[all]);
}

/// A master, and what it logs. Its drop kills it; its children then end.
struct Master {
    process: Child,
    health: SocketAddr,
    _lines: Lines<BufReader<ChildStderr>>,
}

impl Master {
    fn start() -> BenchResult<Self> {
        let mut process = Command::new(env::current_exe()?).arg("fleet").stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let health = loop {
            let line = lines.next().ok_or("the master ended")??;
            if let Some((_, addr)) = line.split_once("health endpoint on ") {
                break addr.parse()?;
            }
        };
        Ok(Self { process, health, _lines: lines })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
