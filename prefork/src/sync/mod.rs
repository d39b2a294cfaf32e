//! What threads and processes synchronise with. It is the standard library's; in the models, it is loom's, which runs a
//! model in every order that its threads can act in, and with every value that a relaxed load may return.
//!
//! A model is a test beside the code that it runs, in a module `models`; see `tests/README.md`. Code that has models
//! takes these types from here.

#[cfg(all(test, loom))]
pub(crate) mod model;

#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    hint,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
    time::Instant,
};

#[cfg(all(test, loom))]
pub(crate) use model::{Condvar, Instant, Mutex, MutexGuard, atomic, hint, thread};
