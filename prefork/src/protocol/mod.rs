//! What processes of one fleet send each other: one codec, both ends of each message in one file.
//!
//! - `codec.rs`: values as text
//! - `handshake.rs`: between master and child

pub(crate) mod codec;
mod handshake;

pub(crate) use handshake::{Handshake, ToChild, ToMaster};
