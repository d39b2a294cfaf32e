//! Runs a server in a terminal of its own, for Ctrl-C.

use std::io;
use std::path::Path;

use crate::fleet::{RunningFleet, Server};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix::Keyboard;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows::Keyboard;
#[cfg(windows)]
pub(crate) use windows::{detach, send_ctrl_c};

/// A server in the foreground of its own terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The server.
    pub fleet: RunningFleet,
    keyboard: Keyboard,
}

impl Terminal {
    /// Starts the program `executable` with the options that `set` sets; waits until all children are ready.
    pub fn start(executable: &Path, set: impl FnOnce(Server) -> Server) -> Self {
        let (server, keyboard) = Keyboard::with_server(executable);
        Self { fleet: set(server).start(), keyboard }
    }

    /// Interrupts the foreground process group; on Windows every process of the console.
    ///
    /// # Errors
    ///
    /// The fleet has ended.
    pub fn press_ctrl_c(&self) -> io::Result<()> {
        self.keyboard.press_ctrl_c(&self.fleet)
    }
}
