//! The bodies of the fuzz targets in `tests/fuzz`: for each parser of what others write, a function that takes bytes and
//! checks what must hold whatever they are. They are built for tests, and public for cargo-fuzz only, which sets
//! `cfg(fuzzing)`.
//!
//! A body panics where something does not hold. The tests here run all of them with what the fuzzer has found to be
//! different (`tests/fuzz/corpus`), and with random changes of that.

#![allow(clippy::expect_used, clippy::panic, reason = "it is a test")]

use std::fmt::Display;

use crate::{builder, master, protocol, shared};

/// Takes any bytes.
type Body = fn(&[u8]);

/// Every body, by the name of its target and of its corpus.
const BODIES: &[(&str, Body)] = &[
    ("handshake", protocol::fuzzing::handshake),
    ("snapshot", protocol::fuzzing::snapshot),
    ("child", protocol::fuzzing::child),
    ("http", master::fuzzing::http),
    ("control", master::fuzzing::control),
    ("region", shared::fuzzing::region),
    ("series", shared::fuzzing::series),
    ("values", builder::fuzzing::values),
    ("environment", builder::fuzzing::environment),
    #[cfg(feature = "config")]
    ("config", builder::fuzzing::config),
];

/// Runs the body of this name.
///
/// # Panics
///
/// What the body checks does not hold, or there is no such body.
pub fn check(name: &str, data: &[u8]) {
    let (_, body) = BODIES.iter().find(|(known, _)| *known == name).expect("a body of this name");
    body(data);
}

/// A message is one line, whatever was written by others.
pub(crate) fn assert_one_line(message: &impl Display) {
    let message = message.to_string();
    assert!(!message.contains(char::is_control), "not one line: {message:?}");
}

#[cfg(test)]
mod tests;
