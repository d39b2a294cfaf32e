//! A blocking server with data that is loaded once. Further options:
//!
//! - `loads`: a file to which each process that loads adds a line with its pid;
//! - `load`: `fail` returns an error, `panic` panics, `exit` exits with status 3, `thread` leaves a thread named `helper`,
//!   `gate` waits until the gate is open, `hang` never returns, `fork` returns in two processes; `tell` starts a process
//!   that sends the text of the file `tells` over the link to the master, once the gate is open;
//! - `size`: megabytes that are loaded;
//! - `form`: `async` serves on a runtime, with a task for each connection; `/block` blocks the thread that runs it.
//!
//! `/loaded-by` answers with the pid of the process that has loaded, `/value` with the sum of the bytes. `/grow` takes 64 MB that
//! are the child's own; `/read/FILE` tells whether it can read a file.
#![allow(clippy::panic, reason = "an option of this server")]

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use prefork::Preloaded;
use prefork_tests::app;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Not `Sync`, and its drop is told.
struct Data {
    bytes: Vec<u8>,
    loaded_by: u32,
    _not_sync: std::cell::Cell<u8>,
}

impl Drop for Data {
    fn drop(&mut self) {
        app::print_error("the data was dropped");
    }
}

fn main() -> ExitCode {
    if app::ran_subcommand() {
        return ExitCode::SUCCESS;
    }
    app::start(match app::option("form").as_deref() {
        Some("async") => app::builder(serve_async).try_preload(load),
        _ => app::builder(serve).try_preload(load),
    })
}

fn load() -> Result<Data, String> {
    if let Some(path) = app::option("loads") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(format!("{}\n", process::id()).as_bytes()));
    }
    match app::option("load").as_deref() {
        Some("fail") => return Err("no such index".to_owned()),
        Some("panic") => panic!("no such index"),
        Some("exit") => process::exit(3),
        Some("thread") => drop(thread::Builder::new().name("helper".to_owned()).spawn(thread::park)),
        Some("gate") => app::wait_at_gate(),
        Some("hang") => thread::sleep(Duration::from_secs(1000)),
        // SAFETY: this process has one thread.
        #[cfg(target_os = "linux")]
        Some("fork") => drop(unsafe { nix::unistd::fork() }),
        #[cfg(target_os = "linux")]
        Some("tell") => {
            let path = app::option("tells").unwrap_or_default();
            drop(prefork_tests::link_attack::lend_link(&mut app::subcommand(&["tell", &path])));
        }
        _ => {}
    }
    // Without a line break it stays in the buffer.
    print!("buffered");
    let size = app::option("size").and_then(|size| size.parse::<usize>().ok()).unwrap_or(1);
    Ok(Data { bytes: vec![1; size << 20], loaded_by: process::id(), _not_sync: std::cell::Cell::new(0) })
}

fn serve(ln: TcpListener, data: Preloaded<Data>) -> std::io::Result<()> {
    for stream in app::incoming(&ln) {
        let _ = app::answer_or(stream?, |path| match path {
            "/loaded-by" => data.loaded_by.to_string(),
            "/value" => sum(&data.bytes).to_string(),
            "/grow" => Vec::leak(vec![1_u8; 64 << 20]).len().to_string(),
            _ => path.strip_prefix("/read").map_or_else(
                || format!("unknown path: {path}"),
                |file| std::fs::read(file).is_ok().to_string(),
            ),
        });
    }
    Ok(())
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

async fn serve_async(ln: tokio::net::TcpListener, data: Preloaded<Data>) -> std::io::Result<()> {
    let Data { bytes, loaded_by, .. } = data.into_static();
    loop {
        let (stream, _) = ln.accept().await?;
        tokio::spawn(answer_async(stream, bytes, *loaded_by));
    }
}

async fn answer_async(mut stream: TcpStream, bytes: &[u8], loaded_by: u32) -> std::io::Result<()> {
    let Some(request) = app::read_request(&mut stream).await? else { return Ok(()) };
    let body = match app::path_of(&request).as_str() {
        "/loaded-by" => loaded_by.to_string(),
        "/value" => sum(bytes).to_string(),
        "/block" => loop {
            thread::park();
        },
        path => format!("unknown path: {path}"),
    };
    stream.write_all(format!("{}{body}\n", app::head()).as_bytes()).await
}
