//! A server made by the attribute, whose children fail as the option `fails` says: in `init` with an error (`init`) or
//! a panic (`init_panic`), in the serve function with an error (`error`) or a panic (`panic`), or a task that it awaits
//! panics (`task_panic`). The option `reason` is the text. With the option `gate` it fails once that is
//! open. With the option `log_file` the messages go there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is one of the failures")]

use std::fmt;
use std::io;
use std::thread;

use log::LevelFilter;
use prefork::{ChildContext, Shutdown};
use prefork_tests::app::{self, FileLogger};

/// A logger of the program's own, if the option names its file.
fn install_logger() {
    if let Some(path) = app::option("log_file") {
        log::set_boxed_logger(Box::new(FileLogger::append(path))).unwrap();
        log::set_max_level(LevelFilter::Info);
    }
}

/// Why a child fails in this way.
fn reason(way: &str) -> Option<String> {
    let fails = prefork::is_child() && app::option("fails").as_deref() == Some(way);
    if fails && app::option("gate").is_some() {
        app::wait_at_gate();
    }
    fails.then(|| app::option("reason").unwrap())
}

fn init() -> Result<(), String> {
    install_logger();
    if let Some(reason) = reason("init_panic") {
        panic!("{reason}");
    }
    reason("init").map_or(Ok(()), Err)
}

/// An error with a source, of no common type.
#[derive(Debug)]
struct NotServed(io::Error);

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot serve")
    }
}

impl std::error::Error for NotServed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<io::Error> for NotServed {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

#[prefork::main(init = init, addr = app::option("addr").unwrap(), workers = 2, ready = "manual")]
async fn serve(ln: tokio::net::TcpListener, child: ChildContext, stop: Shutdown) -> Result<(), NotServed> {
    if let Some(reason) = reason("error") {
        return Err(NotServed(io::Error::other(reason)));
    }
    if let Some(reason) = reason("panic") {
        panic!("{reason}");
    }
    if let Some(reason) = reason("task_panic") {
        let task = tokio::spawn(async move { panic!("{reason}") });
        std::panic::resume_unwind(task.await.unwrap_err().into_panic());
    }
    child.ready();
    let ln = ln.into_std()?;
    ln.set_nonblocking(false)?;
    thread::spawn(move || app::answer_all(&ln));
    stop.await;
    Ok(())
}
