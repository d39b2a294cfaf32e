//! A terminal, to run a server in and to press Ctrl-C.

use std::path::Path;

use crate::fleet::{Fleet, Server};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix::Keyboard;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows::Keyboard;
#[cfg(windows)]
pub(crate) use windows::{press_ctrl_c, without_any};

/// A server that has a terminal of its own, in whose foreground it runs.
#[derive(Debug)]
pub struct Terminal {
    /// The server in it.
    pub fleet: Fleet,
    keyboard: Keyboard,
}

impl Terminal {
    /// Starts the program `executable`, with the options that `set` sets, and waits until its children
    /// are ready.
    pub fn start(executable: &Path, set: impl FnOnce(Server) -> Server) -> Self {
        let (server, keyboard) = Keyboard::of(executable);
        Self { fleet: set(server).start(), keyboard }
    }

    /// Whoever is in the foreground, or all who are in the terminal, are interrupted.
    pub fn press_ctrl_c(&self) {
        self.keyboard.press_ctrl_c(&self.fleet);
    }
}
