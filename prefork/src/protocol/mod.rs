//! What the processes of a fleet send each other. Both ends of each message are in one file.
//!
//! ```text
//! master ─▶ child       handshake.rs   Handshake, with the listeners; ToChild
//! child  ─▶ master      handshake.rs   ToMaster
//! master ─▶ child       secrets.rs     TLS material, in a file without a name
//! master ─▶ next master snapshot.rs    the fleet, over the exec of an upgrade
//! ```
//!
//! All of it is text in one form, `codec.rs`: records with named fields. A reload or an upgrade can put
//! a newer or an older program at either end, so a reader skips records and fields that it does not
//! know, and has a default for a field that is missing; a change that cannot be made in that way gets
//! a new number in the first line.
//!
//! The codec is our own because the formats that tolerate unknown fields cost too much here: serde with
//! JSON is seven crates more, which is a third of all that the default features need.

mod codec;
mod handshake;
mod secrets;
mod snapshot;

pub(crate) use handshake::{Handshake, ToChild, ToMaster};
pub(crate) use secrets::Secrets;
pub(crate) use snapshot::{Inherited, Upgrade};
