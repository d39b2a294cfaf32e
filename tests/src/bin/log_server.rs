//! A server that installs a `log` logger. It writes to the file that the option `installed` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a server under test fails the test"
)]

use std::process::ExitCode;

use prefork_tests::app::{self, FileLogger};

fn main() -> ExitCode {
    if let Some(path) = app::option("installed") {
        log::set_boxed_logger(Box::new(FileLogger::append(path))).expect("the only logger");
        log::set_max_level(log::LevelFilter::Info);
    }
    app::start(app::builder(app::serve))
}
