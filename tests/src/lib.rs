//! What the integration tests are made of: servers to test, and means to watch and to disturb them.
//!
//! - [`app`]: what the server programs in `src/bin` have in common.
//! - [`fleet`]: starts one of them and leaves nothing of it behind.
//! - [`client`]: asks it things.
//! - [`load`]: keeps asking, and counts.
//! - [`console`]: reads what it says.
//! - [`proc`]: looks at its processes from outside.
//! - [`tls`]: certificates, and a client that knows how its handshake went.
//! - [`signal`]: sends signals to them.
//! - [`terminal`]: runs one where Ctrl-C can be pressed.
//! - [`wait`]: waits for conditions, never for time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, what cannot be done is a failure, and a panic is how tests fail"
)]

pub mod app;
pub mod client;
pub mod console;
pub mod fleet;
pub mod load;
pub mod proc;
pub mod signal;
pub mod terminal;
pub mod tls;
pub mod wait;
