//! A server made by the attribute, with a value for every option of a server without TLS. Its log and each
//! run of `init` go to the file that the option `log_file` names.

#![allow(clippy::expect_used, reason = "a panic in a server under test fails the test")]

use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use log::Log;
use prefork::{ChildContext, Shutdown};
use prefork_tests::app::{self, FileLogger};

const GRACE: &str = "30s";

fn file() -> FileLogger {
    FileLogger::append(app::option("log_file").expect("the option log_file"))
}

/// Runs first, in the master and in each child.
fn set_up() -> Result<(), String> {
    let role = if prefork::is_child() { "child" } else { "master" };
    file().log(&log::Record::builder().args(format_args!("init in a {role}")).build());
    if app::option("init_fails").is_some() { Err("failed on request".to_owned()) } else { Ok(()) }
}

#[prefork::main(
    init = set_up,
    logger = file(),
    addr = app::option("addr").expect("the option addr"),
    network = "tcp",
    reuseport = app::reuseport().unwrap_or(cfg!(windows)),
    workers = 2,
    backlog = 512,
    recover = 3,
    recover_window = Duration::from_secs(60),
    recover_interval = "1ms",
    shutdown_grace = GRACE,
    start_timeout = "30s",
    ready = "manual",
    reload_parallel = 2,
    stop_delay = "1ms",
    max_lifetime = "1h",
    max_rss = "4GiB",
    hang_timeout = "1h",
    on_child_recover = |old: u32, new: u32| app::print_error(&format!("recovered {old} {}", old != new)),
)]
fn serve(ln: TcpListener, child: ChildContext, shutdown: Shutdown) -> io::Result<()> {
    child.ready();
    for stream in app::incoming(&ln) {
        match stream {
            Ok(stream) => drop(thread::spawn(move || app::answer(stream))),
            // On Windows a stop makes `accept` fail.
            Err(_) if shutdown.is_requested() => {}
            Err(error) => return Err(error),
        }
        if shutdown.is_requested() {
            break;
        }
    }
    Ok(())
}
