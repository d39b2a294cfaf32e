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
//!   (only children after the first `hang_after`, or `workers`, hang), or `thread` (the child starts a thread and serves);
//! - `next`: a file with lines `name=value`, which replace these options, as in a rebuilt program; an empty
//!   value unsets one;
//! - `health`, `control`, `pidfile`, `user`, `unix_mode`: as the builder's methods;
//! - `log_file`: a file that the fleet's own logger writes to;
//! - `early_helper`: the master starts a process before the fleet, and prints its pid;
//! - `gate`: requests for `/gate` are answered once this file exists;
//! - `pidfile_in`: a file with the path of the pid file;
//! - `preload`: children are forked by a template, which has loaded a megabyte;
//! - `reads`: a thread of the master reads standard input once the gate is open;
//! - `started`: a directory in which each child that reaches `main` creates a file.
//!
//! - `app.rs`: options, start, and subcommands
//! - `answers.rs`: what each path does
//! - `loggers.rs`: loggers that tests read or let fail

mod answers;
mod loggers;

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use prefork::{ChildContext, FromChild, Prefork, Serve};

use answers::hang;
pub use answers::{answer, answer_or, gate_is_open, head, path_of, print_error, read_request, wait_at_gate};
pub use loggers::FileLogger;
use loggers::PanickingLogger;

/// The value of an option, if it is set: in the file `next`, or in the environment.
pub fn option(name: &str) -> Option<String> {
    let variable = |name: &str| env::var(format!("TEST_{}", name.to_uppercase())).ok();
    let next = variable("next").and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    match next.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')) {
        Some(value) => Some(value.to_owned()).filter(|value| !value.is_empty()),
        None => variable(name),
    }
}

/// The value of an option, as a number.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    option(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// A fleet with the options from the environment. A server program calls it first in `main`.
pub fn builder<Args>(serve: impl Serve<Args>) -> Prefork {
    if prefork::is_child() {
        if !preloads() {
            boot();
        }
    } else if option("reads").is_some() {
        thread::spawn(|| {
            wait_at_gate();
            io::read_to_string(io::stdin())
        });
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
    if let Some(addr) = option("health") {
        fleet = fleet.health(addr);
    }
    if let Some(path) = option("control") {
        fleet = fleet.control(path);
    }
    if let Some(path) = option("pidfile") {
        fleet = fleet.pidfile(path);
    }
    if let Some(user) = option("user") {
        fleet = fleet.user(user);
    }
    if let Some(mode) = option("unix_mode") {
        fleet = fleet.unix_mode(mode);
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
    if option("early_helper").is_some() && !prefork::is_child() {
        start_helper();
    }
    if let Some(file) = option("pidfile_in") {
        fleet = fleet.pidfile(fs::read_to_string(file).expect("the file can be read"));
    }
    if let Some(path) = option("log_file") {
        fleet = fleet.logger(FileLogger::append(path));
    }
    if preloads() {
        fleet = fleet.preload(|| vec![1_u8; 1 << 20]);
    }
    if let Some(reuseport) = reuseport() {
        fleet = fleet.reuseport(reuseport);
    }
    fleet
}

/// It outlives this process.
fn start_helper() {
    let mut helper = subcommand(&["sleep"]);
    let helper = helper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    print_error(&format!("helper {}", helper.expect("this program runs").id()));
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

/// The option `preload`.
pub fn preloads() -> bool {
    option("preload").is_some()
}

/// An argument of serve functions: what an executed child does in `main`, a child that a template forks does here.
#[derive(Debug)]
pub struct Booted(());

impl FromChild for Booted {
    type Error = Infallible;

    fn from_child(_: &ChildContext) -> Result<Self, Infallible> {
        if prefork::is_child() && preloads() {
            boot();
        }
        Ok(Self(()))
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
        Some("late_hang") if Some(started) > number("hang_after").or(number("workers")) => hang(),
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
pub fn serve(ln: TcpListener, _: Booted) -> io::Result<()> {
    answer_all(&ln)
}

/// Answers each connection in its own thread.
///
/// # Errors
///
/// Errors of `accept`.
pub fn answer_all(ln: &TcpListener) -> io::Result<()> {
    for stream in incoming(ln) {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

/// Runs the subcommand in the first argument; returns false if there is none. Subcommands: `role` prints
/// the role of this process, `exit` exits with a status, `sleep` sleeps, `run` executes another program,
/// `serve` starts one like a Windows service, `ctrl-c` sends Ctrl-C to the console of a process, `tell` sends a file
/// over the link that it was lent.
pub fn ran_subcommand() -> bool {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("role") => {
            println!("is_child {}, marker {:?}", prefork::is_child(), env::var_os("PREFORK_CHILD"));
        }
        Some("exit") => process::exit(arguments.next().and_then(|status| status.parse().ok()).unwrap_or(2)),
        #[cfg(unix)]
        Some("ask") => {
            let mut next = || arguments.next().expect("a path and a request");
            let (path, request) = (PathBuf::from(next()), next());
            let mut stream =
                std::os::unix::net::UnixStream::connect(path).expect("the socket can be reached");
            // The answer may come before the request.
            let _ = io::Write::write_all(&mut stream, format!("{request} HTTP/1.0\r\n\r\n").as_bytes());
            print!("{}", io::read_to_string(stream).expect("the answer can be read"));
        }
        Some("sleep") => thread::sleep(Duration::from_secs(1000)),
        #[cfg(target_os = "linux")]
        Some("tell") => {
            wait_at_gate();
            crate::link_attack::tell(&arguments.next().expect("a file"));
        }
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
