//! A pseudoterminal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use crate::fleet::{RunningFleet, Server};

/// The master side of the pseudoterminal.
#[derive(Debug)]
pub(super) struct Keyboard(File);

impl Keyboard {
    pub(super) fn with_server(executable: &Path) -> (Server, Self) {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        // `setsid` makes a session whose terminal is the standard input, with the server in its foreground.
        let mut server = Server::through(&["setsid", "--ctty"], executable);
        server.command.stdin(Stdio::from(terminal.slave));
        (server, Self(File::from(terminal.master)))
    }

    pub(super) fn press_ctrl_c(&self, _fleet: &RunningFleet) -> io::Result<()> {
        (&self.0).write_all(b"\x03")
    }
}
