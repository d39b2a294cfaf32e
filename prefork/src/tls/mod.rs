//! TLS: the options, the files, and the material of children.
//!
//! - `options.rs`: the TLS options
//! - `material.rs`: certificates and keys: their files and their PEM
//! - `config.rs`, `tickets.rs`, `validity.rs` (feature `rustls`): the `rustls::ServerConfig`, session
//!   tickets that every child can open, and the time in which a certificate is valid
//! - `validate.rs`: the check of options and files in the master
//! - `check.rs`: the same for a check of the configuration, which reports every problem
//! - `store.rs`: the files of each generation, for the children and for the next program
//! - `prepared.rs`: a child's configuration for its serve function
//!
//! The master reads the files, once for each generation: at its start, and before a reload or an upgrade
//! starts a process. The children of a generation get the content with the handshake. So a child needs no
//! access to the key's file, the successor of a crashed child serves the same certificate as its siblings,
//! and a bad file does not change the fleet.

mod check;
#[cfg(feature = "rustls")]
mod config;
mod material;
mod options;
mod prepared;
mod store;
#[cfg(feature = "rustls")]
mod tickets;
mod validate;
#[cfg(feature = "rustls")]
mod validity;

pub(crate) use check::check;
pub(crate) use options::{PemSource, TlsOptions};
pub(crate) use prepared::PreparedTls;
pub(crate) use store::{TlsSecrets, TlsStore};
