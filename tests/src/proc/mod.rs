//! Processes, looked at from outside: through `/proc`, or as Windows' snapshots show them.
//!
//! Both platforms have [`Family`], `Orphan`, `is_alive`, `is_stopped`, `children`, `zombies`, `thread_count`,
//! `handle_count` and `held_listeners`; whatever else `/proc` shows is for tests of Linux alone.

use std::process::{Child, Command};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

/// Every process that descends from a command, wrappers and grandchildren included.
#[derive(Debug)]
pub struct Family(Bond);

impl Family {
    /// The family of what `command` is about to start; no other has the same `name`.
    pub fn of(command: &mut Command, name: &str) -> Self {
        Self(Bond::tie(command, name))
    }

    /// To be called right after the start.
    pub fn begins_with(&self, first: &Child) {
        self.0.hold(first);
    }

    /// Those that have not ended.
    pub fn members(&self) -> Vec<u32> {
        self.0.members()
    }
}
