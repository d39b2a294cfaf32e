//! The programs are beside this folder, one file each. This library is empty: it is here so that
//! `cargo test` compiles the programs in the README as well.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]
