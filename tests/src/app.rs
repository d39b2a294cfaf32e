//! The parts that the server programs share: options from the environment, the fleet builder, and answers.
//!
//! An option `name` is the environment variable `TEST_NAME`. Options of the builder have the same
//! names: `addr`, `network`, `workers`, `recover`, `recover_window`,
//! `recover_interval`, `shutdown_grace`, `start_timeout`, `backlog`, `runtime`,
//! `title`. Further options:
//!
//! - `environment`: if set, `PREFORK_` variables set nothing;
//! - `reuseport`: `0` is false, any other value is true; the default is the platform's;
//! - `boot`: the behaviour of a child before it serves: `exit0`, `exit1`, `panic`, `hang`, `late_hang`
//!   (only children after the first `workers` hang), or `thread` (the child starts a thread and serves);
//! - `log_file`: a file that the fleet's own logger writes to;
//! - `gate`: requests for `/gate` are answered once this file exists;
//! - `started`: a directory in which each child that reaches `main` creates a file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use std::{env, thread};

use prefork::{Prefork, Serve};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::signal::{self, Signal};
use crate::wait;

/// The value of an option, if it is set.
pub fn option(name: &str) -> Option<String> {
    env::var(format!("TEST_{}", name.to_uppercase())).ok()
}

/// The value of an option, as a number.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    option(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// A fleet with the options from the environment. A server program calls it first in `main`.
pub fn builder<Args>(serve: impl Serve<Args>) -> Prefork {
    if prefork::is_child() {
        boot();
    }
    let mut fleet = Prefork::new(serve);
    if let Some(network) = option("network") {
        fleet = fleet.network(network);
    }
    if let Some(workers) = number("workers") {
        fleet = fleet.workers(workers);
    }
    if option("environment").is_some() {
        fleet = fleet.environment(false);
    }
    if let Some(failures) = number("recover") {
        fleet = fleet.recover(failures);
    }
    if let Some(window) = option("recover_window") {
        fleet = fleet.recover_window(window);
    }
    if let Some(interval) = option("recover_interval") {
        fleet = fleet.recover_interval(interval);
    }
    // On a busy machine wine takes seconds to list the open connections.
    let is_slow = cfg!(windows) && env::var_os("PREFORK_SHUTDOWN_GRACE").is_none();
    if let Some(grace) = option("shutdown_grace").or(is_slow.then(|| "20s".to_owned())) {
        fleet = fleet.shutdown_grace(grace);
    }
    if let Some(timeout) = option("start_timeout") {
        fleet = fleet.start_timeout(timeout);
    }
    if let Some(backlog) = number("backlog") {
        fleet = fleet.backlog(backlog);
    }
    if let Some(runtime) = option("runtime") {
        fleet = fleet.runtime(runtime);
    }
    if let Some(title) = option("title") {
        fleet = fleet.title(title);
    }
    if option("log_panics").is_some() {
        fleet = fleet.logger(PanickingLogger);
    }
    if let Some(path) = option("log_file") {
        fleet = fleet.logger(FileLogger::append(path));
    }
    if let Some(reuseport) = reuseport() {
        fleet = fleet.reuseport(reuseport);
    }
    fleet
}

/// The option `reuseport`.
pub fn reuseport() -> Option<bool> {
    option("reuseport").map(|value| value != "0")
}

/// Starts the fleet. In the master it returns the exit code of the program.
pub fn start(fleet: Prefork) -> ExitCode {
    finish(match option("addr") {
        Some(addr) => fleet.listen_and_serve(addr),
        None => fleet.run(),
    })
}

/// The exit code for the result of a fleet; prints the error.
pub fn finish(result: Result<(), prefork::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("error: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

/// Records the start of this child, and applies the option `boot`.
fn boot() {
    let mut started = 0;
    if let Some(directory) = option("started").map(PathBuf::from) {
        let _ = fs::write(directory.join(process::id().to_string()), "");
        started = directory.read_dir().map_or(0, Iterator::count);
    }
    match option("boot").as_deref() {
        Some("exit0") => process::exit(0),
        Some("exit1") => process::exit(1),
        Some("panic") => panic!("panic at boot, as the option says"),
        Some("thread") => drop(thread::spawn(thread::park)),
        Some("hang") => hang(),
        Some("late_hang") if Some(started) > number("workers") => hang(),
        _ => {}
    }
}

/// The incoming connections of a listener. When two processes accept from one socket, wine sometimes
/// returns `WouldBlock`; Windows does not.
pub fn incoming(ln: &TcpListener) -> impl Iterator<Item = io::Result<TcpStream>> {
    let is_spurious = |error: &io::Error| cfg!(windows) && error.kind() == io::ErrorKind::WouldBlock;
    ln.incoming().filter(move |stream| !stream.as_ref().is_err_and(is_spurious))
}

/// A serve function: answers each connection in its own thread.
///
/// # Errors
///
/// Errors of `accept`.
pub fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

/// Answers one request and closes the connection.
///
/// # Errors
///
/// Errors of the connection.
pub fn answer(stream: impl Read + Write) -> io::Result<()> {
    answer_or(stream, |path| format!("unknown path: {path}"))
}

/// [`answer`] with `other` for the paths of a single program.
///
/// # Errors
///
/// Errors of the connection.
pub fn answer_or(mut stream: impl Read + Write, other: impl Fn(&str) -> String) -> io::Result<()> {
    let path = read_path(&mut stream)?;
    stream.write_all(head().as_bytes())?;
    stream.flush()?;
    let body = body(&path).unwrap_or_else(|| other(&path));
    stream.write_all(format!("{body}\n").as_bytes())?;
    if path == "/leave/later" {
        // On Windows the new process would inherit an open connection.
        drop(stream);
        start_lasting_process();
    }
    Ok(())
}

/// The head of an answer. The client reads the pid before the body exists.
pub fn head() -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Pid: {}\r\n\r\n", process::id())
}

/// Writes a line to standard error in one call, so that lines of several processes do not mix.
pub fn print_error(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Reads a complete request; returns its path.
fn read_path(stream: &mut impl Read) -> io::Result<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend(&bytes[..length]);
    }
    Ok(path_of(&request))
}

/// Reads a complete request from an async stream; `None` if the client closed the connection before.
///
/// # Errors
///
/// Errors of the connection.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(request))
}

/// The path of a request.
pub fn path_of(request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    request.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The answers of every blocking server.
fn body(path: &str) -> Option<String> {
    let (path, argument) = path.split_at(path[1..].find('/').map_or(path.len(), |slash| slash + 1));
    let argument = argument.trim_start_matches('/');
    Some(match path {
        "/" => process::id().to_string(),
        "/gate" => {
            wait_at_gate();
            process::id().to_string()
        }
        "/hold" => hang(),
        "/exit" => process::exit(argument.parse().expect("a status")),
        "/abort" => process::abort(),
        "/overflow" => overflow(0).to_string(),
        "/panic" => panic!("panic in a thread, as requested"),
        "/role" => prefork::is_child().to_string(),
        "/variable" => format!("{:?}", env::var(argument).ok()),
        "/arguments" => env::args().collect::<Vec<_>>().join(" "),
        "/grandchild" => output_of(subcommand(&["role"])),
        "/nested" => nested(),
        "/leave" if argument.is_empty() => start_lasting_process(),
        "/leave" => process::id().to_string(),
        _ => return None,
    })
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// Whether the response gate is open.
pub fn gate_is_open() -> bool {
    option("gate").is_some_and(|gate| PathBuf::from(gate).exists())
}

/// Waits until the response gate is open.
pub fn wait_at_gate() {
    while !gate_is_open() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the subcommand in the first argument; returns false if there is none. Subcommands: `role` prints
/// the role of this process, `exit` exits with a status, `sleep` sleeps, `run` executes another program,
/// `serve` starts one like a Windows service, `ctrl-c` sends Ctrl-C to the console of a process.
pub fn ran_subcommand() -> bool {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("role") => {
            println!("is_child {}, marker {:?}", prefork::is_child(), env::var_os("PREFORK_CHILD"));
        }
        Some("exit") => process::exit(arguments.next().and_then(|status| status.parse().ok()).unwrap_or(2)),
        Some("sleep") => thread::sleep(Duration::from_secs(1000)),
        #[cfg(windows)]
        Some("ctrl-c") => {
            let pid = arguments.next().and_then(|pid| pid.parse().ok()).expect("a pid");
            crate::terminal::send_ctrl_c(pid).expect("Ctrl-C can be sent");
        }
        #[cfg(windows)]
        Some("serve") => {
            let mut service = Command::new(arguments.next().expect("a program"));
            run(crate::terminal::detach(&mut service).args(arguments));
        }
        Some("run") => run(Command::new(arguments.next().expect("a program")).args(arguments)),
        _ => return false,
    }
    true
}

/// Executes another program in place of this one; on Windows runs it and exits with its status.
fn run(command: &mut Command) -> ! {
    #[cfg(unix)]
    panic!("cannot run {command:?}: {}", std::os::unix::process::CommandExt::exec(command));
    #[cfg(not(unix))]
    process::exit(command.status().expect("the program runs").code().unwrap_or(2))
}

/// The command that runs this program with a subcommand.
pub fn subcommand(arguments: &[&str]) -> Command {
    let mut command = this_program();
    command.args(arguments);
    command
}

fn this_program() -> Command {
    Command::new(env::current_exe().expect("this program has a path"))
}

fn output_of(mut command: Command) -> String {
    let output = command.output().expect("this program runs");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs this program as another master, sends it a request and stops it.
fn nested() -> String {
    let mut master = this_program().stderr(Stdio::piped()).spawn().expect("this program runs");
    let mut lines = BufReader::new(master.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let addr = lines.find_map(|line| {
        let (_, rest) = line.split_once("listening on ")?;
        rest.split_once(' ')?.0.parse().ok()
    });
    let ready = lines.any(|line| line.contains("ready (pids"));
    let served = addr.map(|addr| crate::client::try_get(addr, "/role").map_err(|error| error.to_string()));
    let status = stop(&mut master);
    format!("ready {ready}, is_child {served:?}, {status}")
}

fn stop(master: &mut Child) -> String {
    signal::send(master.id(), Signal::SIGTERM);
    let status = || master.try_wait().expect("it is a child of this process");
    wait::for_value("end of the nested master", status).to_string()
}

/// Overflows the stack.
fn overflow(depth: usize) -> usize {
    let frame = std::hint::black_box([depth; 1024]);
    if frame[0] == usize::MAX { 0 } else { overflow(depth + 1) + frame[1] }
}

/// Starts a process that outlives this one; returns its pid.
#[expect(clippy::zombie_processes, reason = "the process is meant to become an orphan")]
fn start_lasting_process() -> String {
    let process = subcommand(&["sleep"]).spawn().expect("this program runs");
    process.id().to_string()
}

/// The fields of a record, each as ` name=value`.
struct Fields(String);

impl Fields {
    fn of(record: &log::Record<'_>) -> Self {
        let mut fields = Self(String::new());
        record.key_values().visit(&mut fields).expect("the visitor never fails");
        fields
    }
}

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        self.0 += &format!(" {key}={value}");
        Ok(())
    }
}

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A logger whose destination is gone.
#[derive(Debug)]
struct PanickingLogger;

impl log::Log for PanickingLogger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _record: &log::Record<'_>) {
        panic!("the log's destination is gone");
    }

    fn flush(&self) {}
}

/// A logger that writes to a file.
#[derive(Debug)]
pub struct FileLogger(Mutex<fs::File>);

impl FileLogger {
    /// A logger that appends to the file at `path`.
    pub fn append(path: impl Into<PathBuf>) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path.into());
        Self(Mutex::new(file.expect("the log file can be opened")))
    }
}

impl log::Log for FileLogger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let fields = Fields::of(record);
        let line = format!("{} {}: {}{fields}\n", record.level(), record.target(), record.args());
        let mut file = self.0.lock().expect("no panic under the lock");
        file.write_all(line.as_bytes()).expect("the log file can be written to");
    }

    fn flush(&self) {}
}
