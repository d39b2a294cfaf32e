//! A console without a window. Only who is attached to a console can make it interrupt others, and
//! nobody can be attached to two: so a process of its own does it.

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

use crate::fleet::{Fleet, Server};

/// The server's program, which runs the errand as well.
#[derive(Debug)]
pub(super) struct Keyboard(PathBuf);

impl Keyboard {
    pub(super) fn of(executable: &Path) -> (Server, Self) {
        let mut server = Server::new(executable);
        server.command.creation_flags(CREATE_NO_WINDOW);
        (server, Self(executable.to_owned()))
    }

    pub(super) fn press_ctrl_c(&self, fleet: &Fleet) {
        let errand = Command::new(&self.0).args(["ctrl-c", &fleet.master().to_string()]).status();
        assert!(errand.expect("the program runs").success(), "Ctrl-C was not pressed");
    }
}

/// The errand.
pub(crate) fn press_ctrl_c(master: u32) -> io::Result<()> {
    // SAFETY: plain numbers. Without the handler this process would be interrupted as well.
    unsafe {
        FreeConsole();
        check(AttachConsole(master))?;
        check(SetConsoleCtrlHandler(None, 1))?;
        check(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
    }
}

/// Has `command` run as services do: without a console, and with nothing for standard input and output.
pub(crate) fn without_any(command: &mut Command) -> &mut Command {
    for handle in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: it only replaces a number, which the command inherits.
        unsafe { SetStdHandle(handle, ptr::null_mut()) };
    }
    command.creation_flags(DETACHED_PROCESS)
}

fn check(answer: windows_sys::core::BOOL) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
