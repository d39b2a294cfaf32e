//! A blocking server with data that is loaded once. Further options:
//!
//! - `loads`: a file to which each process that loads adds a line with its pid;
//! - `load`: `fail` returns an error, `panic` panics, `exit` exits with status 3, `thread` leaves a thread named `helper`,
//!   `gate` waits until the gate is open, `hang` never returns;
//! - `size`: megabytes that are loaded.
//!
//! `/loaded-by` answers with the pid of the process that has loaded, `/value` with the sum of the bytes.
#![allow(clippy::panic, reason = "an option of this server")]

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use prefork::Preloaded;
use prefork_tests::app;

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
    app::start(app::builder(serve).try_preload(load))
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
            "/value" => data.bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string(),
            _ => format!("unknown path: {path}"),
        });
    }
    Ok(())
}
