//! The cost of a child that drains while clients keep idle connections: its share of a core, and how soon it
//! ends after the last connection.
//!
//! `cargo bench -p prefork --features tokio --bench drain [-- CONNECTIONS]`, by default 15,000, or what the
//! limit on open files allows. It runs on Linux, and asserts nothing.

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::io::{BufRead, BufReader, Lines};
    use std::net::TcpStream;
    use std::process::{Child, ChildStderr, Command, Stdio};
    use std::time::{Duration, Instant};
    use std::{env, fs, thread};

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use prefork::Prefork;

    type BenchResult<T> = Result<T, Box<dyn Error>>;

    const CONNECTIONS: usize = 15_000;
    /// Descriptors of the server and of the clients that are no connections.
    const OTHERS: usize = 100;
    /// Ports of one client address; the next connections come from the next one.
    const PORTS: usize = 20_000;
    const PERIOD: Duration = Duration::from_secs(10);

    pub(super) fn main() -> BenchResult<()> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        if env::args().any(|argument| argument == "fleet") {
            return Ok(Prefork::new(keep).workers(1).shutdown_grace("1h").listen_and_serve("127.0.0.1:0")?);
        }
        let wanted = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(CONNECTIONS);
        measure(wanted.min(usize::try_from(hard)?.saturating_sub(OTHERS)))
    }

    /// A serve function that knows nothing of a stop, and keeps each connection until its client closes it.
    async fn keep(ln: tokio::net::TcpListener) -> std::io::Result<()> {
        loop {
            let (stream, _) = ln.accept().await?;
            tokio::spawn(async move {
                loop {
                    stream.readable().await?;
                    match stream.try_read(&mut [0; 64]) {
                        Ok(0) => return Ok(()),
                        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
                        Ok(_) | Err(_) => {}
                    }
                }
            });
        }
    }

    /// A master, and what it logs. Its drop kills it; its children then end.
    struct Master {
        process: Child,
        lines: Lines<BufReader<ChildStderr>>,
    }

    impl Master {
        fn start() -> BenchResult<Self> {
            let mut process =
                Command::new(env::current_exe()?).arg("fleet").stderr(Stdio::piped()).spawn()?;
            let stderr = process.stderr.take().ok_or("no standard error")?;
            Ok(Self { process, lines: BufReader::new(stderr).lines() })
        }

        /// What follows `text` in the next line that has it, up to a space or a parenthesis.
        fn next_after(&mut self, text: &str) -> BenchResult<String> {
            loop {
                let line = self.lines.next().ok_or("the master ended")??;
                if let Some((_, rest)) = line.split_once(text) {
                    return Ok(rest.split([' ', ')']).next().unwrap_or_default().to_owned());
                }
            }
        }
    }

    impl Drop for Master {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    fn measure(count: usize) -> BenchResult<()> {
        let mut master = Master::start()?;
        let port: u16 = master.next_after("127.0.0.1:")?.parse()?;
        let child: i32 = master.next_after("ready (pids ")?.parse()?;
        let mut clients = Vec::new();
        for number in 0..count {
            clients.push(connect(2 + number / PORTS, port)?);
        }
        // All of them are idle from now on.
        thread::sleep(Duration::from_secs(2));
        let start = Instant::now();
        let before = cpu_seconds(child)?;
        kill(Pid::from_raw(i32::try_from(master.process.id())?), Signal::SIGHUP)?;
        master.next_after("reloaded:")?;
        thread::sleep(Duration::from_secs(2));
        let (first, settled) = (cpu_seconds(child)? - before, Instant::now());
        thread::sleep(PERIOD);
        let later = cpu_seconds(child)? - before - first;
        println!(
            "{count} idle connections: {:.0} ms of CPU in the first {:.1} s of the drain",
            first * 1e3,
            (settled - start).as_secs_f64()
        );
        println!("from then on {:.2}% of a core", 100.0 * later / settled.elapsed().as_secs_f64());
        drop(clients);
        let end = Instant::now();
        while fs::read_link(format!("/proc/{child}/exe")).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        println!("its end {:.0} ms after the end of its clients", end.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    fn connect(host: usize, port: u16) -> BenchResult<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        let own = std::net::SocketAddr::from(([127, 0, 0, u8::try_from(host)?], 0));
        socket.bind(&own.into())?;
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        Ok(socket.into())
    }

    /// The CPU time of a process; the kernel counts it in hundredths of a second.
    fn cpu_seconds(pid: i32) -> BenchResult<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("an unknown format of stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).ok_or("a short stat")?.parse::<f64>().map_err(Box::<dyn Error>::from);
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
