//! The macro's own files: the library of a procedural macro exports nothing but its macros.

#![no_main]

#[path = "../../../prefork-macros/src/args.rs"]
mod args;
#[path = "../../../prefork-macros/src/diagnostics.rs"]
mod diagnostics;
#[path = "../../../prefork-macros/src/expand.rs"]
mod expand;
#[path = "../../../prefork-macros/src/fuzzing.rs"]
mod fuzzing;
#[path = "../../../prefork-macros/src/literal.rs"]
mod literal;
#[path = "../../../prefork-macros/src/rules.rs"]
mod rules;
#[path = "../../../prefork-macros/src/signature.rs"]
mod signature;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::attribute(data));
