//! All five hooks: functions of the program that prefork calls at events of the fleet.
//!
//! ```console
//! $ cargo run --example hooks
//! $ kill -9 PID_OF_A_CHILD      # runs on_child_spawn and on_child_recover
//! $ kill -9 PID_OF_THE_MASTER   # runs on_master_death in every child
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, process, thread};

#[prefork::main(
    workers = 2,
    // Paths of functions, or closures. They may return a `Result`; an error stops the fleet and becomes the
    // error of the master.
    on_child_spawn = spawned,
    on_master_ready = |pids: &[u32]| eprintln!("on_master_ready: {pids:?} serve"),
    on_child_recover = |old, new| eprintln!("on_child_recover: {new} replaces {old}"),
    on_master_death = || eprintln!("on_master_death: {} finishes its requests and ends", process::id()),
    command_producer = start,
)]
fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in ln.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || answer(stream))),
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

/// Runs in the master. The master does nothing else meanwhile, so the function must be short.
fn spawned(pid: u32) -> io::Result<()> {
    eprintln!("on_child_spawn: {pid}");
    Ok(())
}

/// Starts a child, in the master. The command is complete. It can be changed or wrapped, except for its
/// standard input, which connects master and child.
fn start(mut command: Command) -> io::Result<Child> {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed) + 1;
    eprintln!("command_producer: child number {number}");
    command.env("HELLO_NUMBER", number.to_string()).spawn()
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let number = env::var("HELLO_NUMBER").unwrap_or_default();
    let body = format!("hello from process {}, child number {number}\n", process::id());
    let length = body.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(response.as_bytes())
}
