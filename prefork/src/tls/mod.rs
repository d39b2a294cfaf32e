//! TLS: what the options name, what is read, and what children are given.
//!
//! - `options.rs`: the TLS options
//! - `material.rs`: certificates and keys: where they come from, and their PEM
//! - `config.rs`, `tickets.rs`, `validity.rs` (feature `rustls`): the `rustls::ServerConfig`, session
//!   tickets that every child can open, and the time in which a certificate is valid
//! - `check.rs`: whether options and files make a configuration
//! - `store.rs`: the files of each generation, for the children and for the master's own successor
//! - `prepared.rs`: what a child has ready for its serve function
//!
//! The master reads the files, once for each generation: at its start, and before a reload or an upgrade
//! starts anything. The children of a generation get what it read over the handshake. So a child needs
//! no access to the key's file, the successor of a crashed child serves what its siblings serve, and a
//! bad file leaves the fleet as it is.

mod check;
#[cfg(feature = "rustls")]
mod config;
mod material;
mod options;
mod prepared;
mod store;
#[cfg(feature = "rustls")]
mod tickets;
#[cfg(feature = "rustls")]
mod validity;

pub(crate) use options::{PemSource, TlsOptions};
pub(crate) use prepared::PreparedTls;
pub(crate) use store::{TlsSecrets, TlsStore};
