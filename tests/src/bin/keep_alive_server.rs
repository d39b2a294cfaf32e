//! A server that keeps connections open. It takes `Shutdown`: after a stop request every answer is the last
//! on its connection.
//!
//! Further options: `ready`, `stop_delay`, `reload_parallel`, `max_lifetime`, `max_rss`, `hang_timeout`;
//! `loop_pause`: milliseconds that the accept loop is busy after each connection;
//! `busy`: the path of a file, which the master makes when it is told to open its logs again, and keeps it busy while it
//! exists; `broken`: while this file exists, a child exits before it is ready; `overrides`: a file with an address, a
//! number of workers and optionally a user. They replace the options, as in a rebuilt program.

#![allow(clippy::expect_used, reason = "a panic in a server under test fails the test")]

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, process, thread};

use prefork::{ChildContext, FromChild, Prefork, Shutdown};
use prefork_tests::{app, wait};

/// How often an idle connection checks for a stop request.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The number of further checks before an idle connection is closed. A client that is about to send a
/// request has this time to do so.
const POLLS_AFTER_STOP: u32 = 30;

/// The memory that `/grow` allocated.
static BALLAST: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let fleet = with_lifecycle_options(app::builder(serve));
    let overrides = app::option("overrides").and_then(|path| fs::read_to_string(path).ok());
    let words: Vec<&str> = overrides.iter().flat_map(|text| text.split(' ')).collect();
    let Some((addr, [workers, user @ ..])) = words.split_first() else { return app::start(fleet) };
    let fleet = fleet.workers(workers.parse().expect("a number"));
    let fleet = user.iter().fold(fleet, |fleet, user| fleet.user(user));
    app::finish(fleet.listen_and_serve(addr))
}

fn with_lifecycle_options(mut fleet: Prefork) -> Prefork {
    if let Some(ready) = app::option("ready") {
        fleet = fleet.ready(ready);
    }
    if let Some(delay) = app::option("stop_delay") {
        fleet = fleet.stop_delay(delay);
    }
    if let Some(slots) = app::option("reload_parallel") {
        fleet = fleet.reload_parallel(slots.parse().expect("a number"));
    }
    if let Some(limit) = app::option("max_lifetime") {
        fleet = fleet.max_lifetime(limit);
    }
    if let Some(limit) = app::option("max_rss") {
        fleet = fleet.max_rss(limit);
    }
    if let Some(timeout) = app::option("hang_timeout") {
        fleet = fleet.hang_timeout(timeout);
    }
    if let Some(path) = app::option("busy") {
        fleet = fleet.on_log_reopen(move || keep_master_busy(&PathBuf::from(&path)));
    }
    fleet
}

fn keep_master_busy(file: &Path) -> io::Result<()> {
    if !prefork::is_child() {
        fs::write(file, "")?;
        wait::until("removed file", || !file.exists());
    }
    Ok(())
}

/// Ends the child before it is ready if it is `broken`. An argument is made in a child that is forked as well.
struct NotBroken;

impl FromChild for NotBroken {
    type Error = Infallible;

    fn from_child(_: &ChildContext) -> Result<Self, Infallible> {
        if app::option("broken").is_some_and(|path| PathBuf::from(path).exists()) {
            process::exit(1);
        }
        Ok(Self)
    }
}

fn serve(ln: TcpListener, child: ChildContext, shutdown: Shutdown, _: NotBroken) -> io::Result<()> {
    if app::option("ready").as_deref() == Some("manual") {
        let child = child.clone();
        thread::spawn(move || {
            wait::until("open response gate", app::gate_is_open);
            child.ready();
        });
    }
    let pause = app::option("loop_pause").map_or(0, |millis| millis.parse().expect("a number"));
    thread::scope(|scope| {
        for stream in app::incoming(&ln) {
            match stream {
                Ok(stream) => {
                    let (child, stop) = (&child, &shutdown);
                    scope.spawn(move || serve_connection(stream, child, stop));
                }
                // On Windows a stop makes `accept` fail.
                Err(_) if shutdown.is_requested() => {}
                Err(error) => return Err(error),
            }
            if shutdown.is_requested() {
                break;
            }
            thread::sleep(Duration::from_millis(pause));
        }
        Ok(())
    })
}

/// Answers requests until the client closes the connection or the child stops.
fn serve_connection(mut stream: TcpStream, child: &ChildContext, shutdown: &Shutdown) -> io::Result<()> {
    stream.set_read_timeout(Some(POLL_INTERVAL))?;
    while let Some(request) = next_request(&mut stream, shutdown)? {
        let body = body(&app::path_of(&request), child);
        let last = shutdown.is_requested();
        let connection = if last { "close" } else { "keep-alive" };
        let length = body.len() + 1;
        let head = format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}\n").as_bytes())?;
        if last {
            return Ok(());
        }
    }
    Ok(())
}

fn next_request(stream: &mut TcpStream, shutdown: &Shutdown) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    let mut idle_polls = 0;
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(None),
            Ok(length) => request.extend(&bytes[..length]),
            // Linux ends a read that has a timeout when the process is stopped and continued.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && idle_polls < POLLS_AFTER_STOP => {
                idle_polls += u32::from(shutdown.is_requested());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(request))
}

fn body(path: &str, child: &ChildContext) -> String {
    match path {
        "/slow" => {
            let _busy = child.busy();
            thread::sleep(Duration::from_millis(500));
            process::id().to_string()
        }
        "/gate" => {
            app::wait_at_gate();
            process::id().to_string()
        }
        "/work" => {
            let _busy = child.busy();
            app::print_error(&format!("work of {} has begun", process::id()));
            app::wait_at_gate();
            process::id().to_string()
        }
        "/hang" => {
            let _busy = child.busy();
            loop {
                thread::park();
            }
        }
        "/grow" => {
            let mut ballast = BALLAST.lock().expect("no panic under the lock");
            ballast.resize(64 << 20, 1);
            ballast.len().to_string()
        }
        "/stopping" => child.is_stopping().to_string(),
        "/generation" => child.generation().to_string(),
        _ => process::id().to_string(),
    }
}
