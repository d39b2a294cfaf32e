//! A console without a window. Only a process that is attached to a console can send Ctrl-C to it, and a
//! process has one console at most. So another process sends it.

use std::io;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent, STD_ERROR_HANDLE, STD_INPUT_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleCtrlHandler, SetStdHandle,
};
use windows_sys::Win32::System::Threading::{CREATE_NO_WINDOW, DETACHED_PROCESS};

use crate::fleet::{RunningFleet, Server};

/// The server program, whose subcommand `ctrl-c` sends Ctrl-C.
#[derive(Debug)]
pub(super) struct Keyboard(PathBuf);

impl Keyboard {
    pub(super) fn with_server(executable: &Path) -> (Server, Self) {
        let mut server = Server::new(executable);
        server.command.creation_flags(CREATE_NO_WINDOW);
        (server, Self(executable.to_owned()))
    }

    pub(super) fn press_ctrl_c(&self, fleet: &RunningFleet) -> io::Result<()> {
        let sender = Command::new(&self.0).args(["ctrl-c", &fleet.master().to_string()]).status()?;
        if sender.success() { Ok(()) } else { Err(io::Error::other("Ctrl-C was not sent")) }
    }
}

/// Sends Ctrl-C to the console of `master`.
pub(crate) fn send_ctrl_c(master: u32) -> io::Result<()> {
    // SAFETY: the arguments are numbers. The null handler keeps this process from being interrupted too.
    unsafe {
        FreeConsole();
        check(AttachConsole(master))?;
        check(SetConsoleCtrlHandler(None, 1))?;
        check(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
    }
}

/// Makes `command` run like a service: without a console and without standard handles.
pub(crate) fn detach(command: &mut Command) -> &mut Command {
    for handle in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the call replaces a number, which the command inherits.
        unsafe { SetStdHandle(handle, ptr::null_mut()) };
    }
    command.creation_flags(DETACHED_PROCESS)
}

fn check(answer: windows_sys::core::BOOL) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
