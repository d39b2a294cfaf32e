//! A pseudo-terminal.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::fleet::{Fleet, Server};

/// The other side of the terminal.
#[derive(Debug)]
pub(super) struct Keyboard(File);

impl Keyboard {
    pub(super) fn of(executable: &Path) -> (Server, Self) {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        // A session of its own, whose terminal is the standard input, and the server in its foreground.
        let mut server = Server::through(&["setsid", "--ctty"], executable);
        server.command.stdin(Stdio::from(terminal.slave));
        (server, Self(File::from(terminal.master)))
    }

    pub(super) fn press_ctrl_c(&self, _fleet: &Fleet) {
        (&self.0).write_all(b"\x03").expect("the terminal takes it");
    }
}
