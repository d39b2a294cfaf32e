//! Whole fleets on Windows. The tests of the `tests` package speak to their fleets in signals; these
//! are the few that do not. The program is its own server: the variable `FLEET` says which one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    match std::env::var("FLEET") {
        Ok(which) => server::run(&which),
        Err(_) => driver::run(),
    }
}

#[cfg(windows)]
mod server {
    use std::io::{self, BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, ExitCode};
    use std::thread;
    use std::time::Duration;

    use prefork::{Prefork, Shutdown};

    /// Longer than anything takes that ends by itself.
    pub(crate) const GRACE: Duration = Duration::from_secs(60);

    pub(crate) fn run(which: &str) -> ExitCode {
        if which == "role" {
            println!("is child: {}", prefork::is_child());
            return ExitCode::SUCCESS;
        }
        let fleet = match which {
            "cooperating" => Prefork::new(cooperate),
            "failing" => Prefork::new(|_: TcpListener| std::process::exit(7)),
            #[cfg(feature = "tokio")]
            "async" => Prefork::new(serve_async),
            "wrapped" => Prefork::new(serve).command_producer(wrap),
            _ => Prefork::new(serve),
        };
        let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
        let fleet = fleet
            .workers(2)
            .reuseport(which != "shared")
            .shutdown_grace(GRACE)
            .on_master_ready(|pids: &[u32]| eprintln!("all ready: {pids:?}"))
            .on_child_recover(|old, new| eprintln!("recovered: {old} {new}"))
            .on_master_death(|| eprintln!("master death"));
        match fleet.listen_and_serve(addr) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Starts the child through another program.
    fn wrap(command: Command) -> io::Result<std::process::Child> {
        Command::new("cmd").arg("/c").arg(command.get_program()).spawn()
    }

    fn serve(ln: TcpListener) -> io::Result<()> {
        for stream in ln.incoming() {
            let stream = stream?;
            thread::spawn(move || answer(stream));
        }
        Ok(())
    }

    fn cooperate(ln: TcpListener, shutdown: Shutdown) {
        // The listener is the whole fleet's: what this loop has accepted, nobody else will serve.
        for stream in ln.incoming() {
            if let Ok(stream) = stream {
                thread::spawn(move || answer(stream));
            }
            if shutdown.is_requested() {
                break;
            }
        }
        eprintln!("left the loop");
    }

    #[cfg(feature = "tokio")]
    async fn serve_async(ln: tokio::net::TcpListener) -> io::Result<()> {
        loop {
            let stream = ln.accept().await?.0.into_std()?;
            stream.set_nonblocking(false)?;
            thread::spawn(move || answer(stream));
        }
    }

    fn answer(mut stream: TcpStream) -> io::Result<()> {
        let mut request = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut request)?;
        let body = match request.split(' ').nth(1).unwrap_or_default() {
            "/die" => std::process::abort(),
            "/slow" => {
                thread::sleep(Duration::from_secs(2));
                "slow".to_owned()
            }
            "/grandchild" => grandchild()?,
            _ => std::process::id().to_string(),
        };
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}")
    }

    /// What a process that this one starts thinks it is.
    fn grandchild() -> io::Result<String> {
        let output = Command::new(std::env::current_exe()?)
            .env("FLEET", "role")
            .stdin(std::process::Stdio::inherit())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

#[cfg(windows)]
mod driver {
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
    use std::sync::mpsc::{self, Receiver, TryRecvError};
    use std::thread;
    use std::time::{Duration, Instant};

    use windows_sys::Win32::Foundation::CloseHandle;
    use windows_sys::Win32::System::Threading::{EVENT_MODIFY_STATE, OpenEventW, SetEvent};

    use crate::server::GRACE;

    /// For everything that takes as long as a loaded machine likes.
    const LONG: Duration = Duration::from_secs(120);

    pub(crate) fn run() -> ExitCode {
        let tests: &[(&str, fn())] = &[
            ("without reuseport nothing is started", without_reuseport),
            ("a stray marker is refused", stray_marker),
            ("a busy port is the master's error", busy_port),
            ("children that fail at once are given up", boot_failure),
            ("both children serve, and a dead one is replaced", recovery),
            ("a grandchild is nobody's child", grandchild),
            ("a stop lets a request finish and does not wait for the grace", stop),
            ("a second stop ends at once", second_stop),
            ("a server that cooperates leaves its loop", cooperation),
            ("children drain when the master dies", master_death),
            ("a reload replaces every child and loses no request", reload),
            ("a wrapped child takes the handoff", wrapped),
            #[cfg(feature = "tokio")]
            ("an async server serves and stops", async_server),
        ];
        let wanted = std::env::args().nth(1).filter(|name| !name.starts_with('-')).unwrap_or_default();
        for (name, test) in tests.iter().filter(|(name, _)| name.contains(&wanted)) {
            let begin = Instant::now();
            test();
            println!("ok: {name} ({} ms)", begin.elapsed().as_millis());
        }
        ExitCode::SUCCESS
    }

    struct Fleet {
        master: Child,
        lines: Receiver<String>,
    }

    impl Fleet {
        fn start(which: &str, environment: &[(&str, &str)]) -> Self {
            let mut master = Command::new(std::env::current_exe().unwrap())
                .env("FLEET", which)
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stderr = BufReader::new(master.stderr.take().unwrap());
            let (sender, lines) = mpsc::channel();
            thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
            Self { master, lines }
        }

        /// Waits for a line with `part` in it.
        #[track_caller]
        fn line(&self, part: &str) -> String {
            let mut seen = Vec::new();
            loop {
                match self.lines.recv_timeout(LONG) {
                    Ok(line) if line.contains(part) => return line,
                    Ok(line) => seen.push(line),
                    Err(_) => panic!("no line with {part:?} in {seen:#?}"),
                }
            }
        }

        #[track_caller]
        fn ready(which: &str) -> (Self, SocketAddr) {
            let fleet = Self::start(which, &[]);
            let line = fleet.line("listening on ");
            let addr = line.split("listening on ").nth(1).unwrap().split(' ').next().unwrap();
            let addr = addr.parse().unwrap();
            fleet.line("all ready");
            (fleet, addr)
        }

        /// Sets the event that stands for a signal.
        fn request(&self, what: &str) {
            let name = format!("Global\\prefork-{}-{what}\0", self.master.id());
            let name: Vec<u16> = name.encode_utf16().collect();
            // SAFETY: the name ends with a zero; the handle is ours and closed once.
            unsafe {
                let event = OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr());
                assert!(!event.is_null(), "no event: {}", io::Error::last_os_error());
                assert_ne!(SetEvent(event), 0);
                CloseHandle(event);
            }
        }

        fn end(&mut self) -> ExitStatus {
            let begin = Instant::now();
            loop {
                if let Some(status) = self.master.try_wait().unwrap() {
                    return status;
                }
                assert!(begin.elapsed() < LONG, "the master goes on");
                thread::sleep(Duration::from_millis(10));
            }
        }

        #[track_caller]
        fn fails_with(which: &str, environment: &[(&str, &str)], part: &str) {
            let mut fleet = Self::start(which, environment);
            fleet.line(part);
            assert_eq!(fleet.end().code(), Some(1));
        }
    }

    impl Drop for Fleet {
        fn drop(&mut self) {
            let _ = self.master.kill();
            let _ = self.master.wait();
        }
    }

    fn get(addr: SocketAddr, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(LONG))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))
    }

    /// A request that takes two seconds, and is being served already.
    fn slow_request(addr: SocketAddr) -> thread::JoinHandle<io::Result<String>> {
        let request = thread::spawn(move || get(addr, "/slow"));
        thread::sleep(Duration::from_millis(500));
        request
    }

    fn wait_until_port_is_free(addr: SocketAddr) {
        let begin = Instant::now();
        while TcpListener::bind(addr).is_err() {
            assert!(begin.elapsed() < LONG, "somebody keeps the port");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn without_reuseport() {
        Fleet::fails_with("shared", &[], "windows only supports reuseport = true");
    }

    fn stray_marker() {
        Fleet::fails_with("plain", &[("PREFORK_CHILD", "1")], "PREFORK_CHILD is set");
    }

    fn busy_port() {
        let (_fleet, addr) = Fleet::ready("plain");
        Fleet::fails_with("plain", &[("ADDR", &addr.to_string())], "cannot bind 127.0.0.1:");
    }

    fn boot_failure() {
        Fleet::fails_with("failing", &[], "too many children failed");
    }

    fn recovery() {
        let (fleet, addr) = Fleet::ready("plain");
        let old = get(addr, "/").unwrap();
        get(addr, "/die").unwrap_err();
        let line = fleet.line("recovered: ");
        let new = line.rsplit(' ').next().unwrap();
        let begin = Instant::now();
        while get(addr, "/").unwrap() != new {
            assert!(begin.elapsed() < LONG, "{new}, in place of a sibling of {old}, serves nobody");
        }
    }

    fn grandchild() {
        let (_fleet, addr) = Fleet::ready("plain");
        assert_eq!(get(addr, "/grandchild").unwrap(), "is child: false");
    }

    fn stop() {
        let (mut fleet, addr) = Fleet::ready("plain");
        let request = slow_request(addr);
        fleet.request("stop");
        assert_eq!(request.join().unwrap().unwrap(), "slow");
        let begin = Instant::now();
        assert_eq!(fleet.end().code(), Some(0));
        assert!(begin.elapsed() < GRACE / 2, "it took {:?}", begin.elapsed());
        wait_until_port_is_free(addr);
    }

    fn second_stop() {
        let (mut fleet, addr) = Fleet::ready("plain");
        let request = slow_request(addr);
        fleet.request("stop");
        fleet.line("stopping: ");
        fleet.request("stop");
        assert_eq!(fleet.end().code(), Some(0));
        request.join().unwrap().unwrap_err();
    }

    fn cooperation() {
        let (mut fleet, addr) = Fleet::ready("cooperating");
        let request = slow_request(addr);
        fleet.request("stop");
        fleet.line("left the loop");
        fleet.line("left the loop");
        assert_eq!(request.join().unwrap().unwrap(), "slow");
        assert_eq!(fleet.end().code(), Some(0));
    }

    fn master_death() {
        let (mut fleet, addr) = Fleet::ready("plain");
        let request = slow_request(addr);
        fleet.master.kill().unwrap();
        fleet.line("master death");
        fleet.line("master death");
        assert_eq!(request.join().unwrap().unwrap(), "slow");
        let begin = Instant::now();
        wait_until_port_is_free(addr);
        assert!(begin.elapsed() < GRACE / 2, "it took {:?}", begin.elapsed());
    }

    fn reload() {
        let (mut fleet, addr) = Fleet::ready("cooperating");
        let (over, is_over) = mpsc::channel();
        let load = thread::spawn(move || {
            let mut served = Vec::new();
            while is_over.try_recv() == Err(TryRecvError::Empty) {
                served.push(get(addr, "/").unwrap());
            }
            served
        });
        fleet.request("reload");
        fleet.line("left the loop");
        fleet.line("left the loop");
        thread::sleep(Duration::from_millis(200));
        over.send(()).unwrap();
        let pids = load.join().unwrap();
        assert_ne!(pids.first(), pids.last());
        fleet.request("stop");
        assert_eq!(fleet.end().code(), Some(0));
    }

    fn wrapped() {
        let (mut fleet, addr) = Fleet::ready("wrapped");
        get(addr, "/").unwrap();
        fleet.request("stop");
        assert_eq!(fleet.end().code(), Some(0));
    }

    #[cfg(feature = "tokio")]
    fn async_server() {
        let (mut fleet, addr) = Fleet::ready("async");
        for _ in 0..50 {
            get(addr, "/").unwrap();
        }
        let request = slow_request(addr);
        fleet.request("stop");
        assert_eq!(request.join().unwrap().unwrap(), "slow");
        assert_eq!(fleet.end().code(), Some(0));
    }
}
