//! What a command shows in a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};

use super::wait_for;

/// A program in a terminal of 100 columns and 20 rows.
pub(super) struct Terminal {
    pub(super) process: Child,
    input: File,
    pub(super) output: mpsc::Receiver<Vec<u8>>,
    pub(super) screen: vt100::Parser,
}

impl Terminal {
    pub(super) fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 20, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let copy = |end: &OwnedFd| Stdio::from(end.try_clone().unwrap());
        command.stdin(copy(&slave)).stdout(copy(&slave)).stderr(copy(&slave)).env("TERM", "xterm");
        let process = command.spawn().unwrap();
        let (sender, output) = mpsc::channel();
        let mut read = File::from(master.try_clone().unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process, input: File::from(master), output, screen: vt100::Parser::new(20, 100, 0) }
    }

    /// Waits until this is on the screen.
    pub(super) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    pub(super) fn wait_until(&mut self, what: &str, is_shown: impl Fn(&str) -> bool) {
        wait_for(what, || {
            // What is shown for a time must not be missed.
            let mut shown = is_shown(&self.screen.screen().contents());
            while !shown {
                let Ok(bytes) = self.output.try_recv() else { break };
                self.screen.process(&bytes);
                shown = is_shown(&self.screen.screen().contents());
            }
            shown
        });
    }

    pub(super) fn press(&mut self, key: &str) {
        self.input.write_all(key.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
