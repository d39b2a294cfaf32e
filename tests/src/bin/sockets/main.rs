//! A server on several addresses of any kind; [`server`] is all of it. Some of them are Unix sockets,
//! so there is none elsewhere.

use std::process::ExitCode;

#[cfg(unix)]
mod server;

fn main() -> ExitCode {
    #[cfg(unix)]
    return server::run();
    #[cfg(not(unix))]
    ExitCode::FAILURE
}
