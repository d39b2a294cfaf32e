//! Injects faults into a fleet under load, and explains every request that fails:
//! `cargo run -p prefork-tests --bin fault_suite -- --mode shared --duration 60s --seed 7`. See `tests/README.md`.
//!
//! It exits with 1 if a failed request is unexplained, or if an invariant is broken.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic ends the run as a failure")]

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod fleet;
#[cfg(target_os = "linux")]
mod inject;
#[cfg(target_os = "linux")]
mod invariants;
#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod oracle;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod status;
#[cfg(target_os = "linux")]
mod templates;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match prefork_tests::app::option("form") {
        Some(form) => server::main(&form),
        None => run::main(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
