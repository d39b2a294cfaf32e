//! A server whose serve function ends when the first client connects, as the option `ends` says: `error`, `panic`,
//! or with a status.

#![allow(clippy::panic, reason = "a panic is one of the ends")]

use std::io;
use std::net::TcpListener;
use std::process::{ExitCode, Termination};

use prefork_tests::app;

fn main() -> ExitCode {
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener) -> ExitCode {
    drop(ln.accept());
    match app::option("ends").as_deref() {
        Some("error") => Err::<(), _>(io::Error::other("ended on request")).report(),
        Some("panic") => panic!("the serve function panics on request"),
        Some(status) => status.parse::<u8>().map_or(ExitCode::SUCCESS, ExitCode::from),
        None => ExitCode::SUCCESS,
    }
}
