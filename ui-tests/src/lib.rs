//! Compile-time tests of the attribute; see `tests/`.
