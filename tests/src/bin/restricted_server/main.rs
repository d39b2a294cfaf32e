//! A server whose children have privilege options. It exists on Linux only; see [`server`].

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod server;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return server::run();
    #[cfg(not(target_os = "linux"))]
    ExitCode::FAILURE
}
