//! A server whose children have privileges and places; [`server`] is all of it, and for Linux only.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod server;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return server::run();
    #[cfg(not(target_os = "linux"))]
    ExitCode::FAILURE
}
