//! Operates a fleet of [`prefork`](https://docs.rs/prefork) through its control socket.
//!
//! - `arguments.rs`: the command line
//! - `run.rs`: from that to the exit status
//! - `client.rs`: requests over the socket
//! - `operation.rs`: what changes the fleet, with its progress
//! - `wait.rs`: the end of a reload that holds
//! - `status.rs`: what the fleet is doing
//! - `top/`: the same, live
//! - `check.rs`: whether a program would start
//! - `manual.rs`: the manual pages
//! - `shown.rs`: text of the fleet, without what a terminal obeys
//! - `failure.rs`: what went wrong, and the exit status

#[cfg(unix)]
mod arguments;
#[cfg(unix)]
mod check;
#[cfg(unix)]
mod client;
#[cfg(unix)]
mod failure;
#[cfg(unix)]
mod manual;
#[cfg(unix)]
mod operation;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod shown;
#[cfg(unix)]
mod status;
#[cfg(unix)]
mod top;
#[cfg(unix)]
mod wait;

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    run::run()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!(
        "preforkctl: this system has no control socket; use the signals or the health endpoint of the fleet"
    );
    ExitCode::FAILURE
}
