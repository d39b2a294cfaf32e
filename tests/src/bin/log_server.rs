//! A server that installs a `log` logger, which writes to the file that the option `installed` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a server under test that cannot start fails its test"
)]

use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;

use prefork_tests::app::{self, FileLogger};

fn main() -> ExitCode {
    if let Some(path) = app::option("installed") {
        log::set_boxed_logger(Box::new(FileLogger::append(path))).expect("the only logger");
        log::set_max_level(log::LevelFilter::Info);
    }
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer(stream));
    }
    Ok(())
}
