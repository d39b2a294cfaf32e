//! Answers of the server programs: reads a request, and does what its path says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{option, subcommand, this_program};
use crate::signal::{self, Signal};
use crate::wait;

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

pub(super) fn hang() -> ! {
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
