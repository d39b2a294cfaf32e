//! Each example is a file in the parent folder. This library is empty; with it `cargo test` compiles the
//! programs in the README.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]
