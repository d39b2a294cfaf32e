//! The state of processes, from `/proc` or from Windows' snapshots.
//!
//! Both platforms have [`ProcessTree`], `ExitWatch`, `is_alive`, `is_stopped`, `children`, `zombies`,
//! `thread_count`, `handle_count` and `held_listeners`. All other functions are for Linux tests.

use std::process::{Child, Command};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

/// The process that a command starts, and all its descendants.
#[derive(Debug)]
pub struct ProcessTree(Marker);

impl ProcessTree {
    /// Prepares `command`, before its start. `name` is unique.
    pub fn prepare(command: &mut Command, name: &str) -> Self {
        Self(Marker::prepare(command, name))
    }

    /// Adds the process that the command started; to be called right after the start.
    pub fn add_root(&self, root: &Child) {
        self.0.add_root(root);
    }

    /// The pids of the processes that have not ended.
    pub fn live_pids(&self) -> Vec<u32> {
        self.0.live_pids()
    }
}

/// The children of a master, zombies included, sorted. A template is none.
pub fn children_of_fleet(master: u32) -> Vec<u32> {
    children(master).into_iter().filter(|child| !is_template(*child)).collect()
}
