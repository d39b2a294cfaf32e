//! Helpers of the integration tests: starting servers, sending requests and signals, reading state.
//!
//! - `accepts`: a file in which children record the connections that they accept (Unix).
//! - [`app`]: the parts that the server programs in `src/bin` share.
//! - [`fleet`]: starts a server program, and kills all of its processes at the end of a test.
//! - [`gate`]: a file that holds back the answers to requests for `/gate`.
//! - [`judged`]: the programs whose new children are judged.
//! - [`client`]: sends single requests.
//! - `link_attack`: what a hostile child sends to its master (Linux).
//! - [`load`]: sends requests all the time, and counts the outcomes.
//! - [`config_file`]: a configuration file, and servers that are started with it.
//! - `control`: a client of the control socket (Unix).
//! - [`console`]: collects the standard error of a server.
//! - [`metrics`]: scrapes metrics, and reads them strictly.
//! - [`status`]: reads `/status`.
//! - `preload`: a fleet whose children are forked by a template (Unix).
//! - [`proc`]: reads the state of processes.
//! - [`program`]: a copy of a program that a test can replace.
//! - [`tls`]: certificates, and a client that reports the result of its handshake.
//! - [`signal`]: sends signals.
//! - [`skip`]: reports tests that the machine cannot run.
//! - [`terminal`]: runs a server in a terminal of its own, for Ctrl-C.
//! - `upgradable`: a fleet that is upgraded to a program with other options (Linux).
//! - [`wait`]: waits for conditions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test")]

#[cfg(unix)]
pub mod accepts;
pub mod app;
pub mod client;
pub mod config_file;
pub mod console;
#[cfg(unix)]
pub mod control;
pub mod fleet;
pub mod gate;
pub mod judged;
#[cfg(target_os = "linux")]
pub mod link_attack;
pub mod load;
pub mod metrics;
#[cfg(unix)]
pub mod preload;
pub mod proc;
pub mod program;
pub mod signal;
#[path = "../../prefork/src/skip.rs"]
pub mod skip;
pub mod status;
pub mod terminal;
pub mod tls;
#[cfg(target_os = "linux")]
pub mod upgradable;
pub mod wait;
