//! A server whose children have privileges and places; [`server`] is all of it. Windows has neither.

use std::process::ExitCode;

#[cfg(unix)]
mod server;

fn main() -> ExitCode {
    #[cfg(unix)]
    return server::run();
    #[cfg(not(unix))]
    ExitCode::FAILURE
}
