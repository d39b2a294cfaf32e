//! The macro's own files: the library of a procedural macro exports nothing but its macros.

#![no_main]

#[path = "../../../prefork-macros/src"]
mod macros {
    pub mod args;
    pub mod diagnostics;
    pub mod expand;
    pub mod fuzzing;
    pub mod literal;
    pub mod rules;
    pub mod signature;
}
use macros::{args, diagnostics, expand, fuzzing, literal, rules, signature};

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::attribute(data));
