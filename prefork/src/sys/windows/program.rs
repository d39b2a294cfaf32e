//! The program of this process, which children run.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use socket2::Socket;
use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;

use super::{Channel, HeldSignals, PidFile, SharedMemory};
use crate::sys::{Inheritance, MARKER};

/// The executable that children run, and its arguments. Windows allows no process to write to or delete a
/// running file, so its path is enough. The file can be renamed, and another put in its place.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The running program.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self { path: env::current_exe()?, arguments: env::args_os().skip(1).collect() })
    }

    /// The program that is at its path now, to be run with the same arguments.
    pub(crate) fn afresh(&self) -> io::Result<Self> {
        if !self.path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not an executable file"));
        }
        Ok(Self { path: self.path.clone(), arguments: self.arguments.clone() })
    }

    /// The path at which it is looked up.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts a child. It leads a process group of its own, so that Ctrl-C in a
    /// console reaches the master alone.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env(MARKER, std::process::id().to_string())
            .creation_flags(CREATE_NEW_PROCESS_GROUP);
        command
    }

    /// Unsupported: a process cannot become another program here.
    pub(crate) fn exec(
        &self,
        _held: &HeldSignals,
        _text: &str,
        _listeners: &[&Socket],
        _channels: &[&Channel],
        _pid_files: &[&PidFile],
        _memory: Option<&SharedMemory>,
    ) -> io::Error {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "Windows cannot put another program into a running process",
        )
    }
}

/// Nothing: there is no inheritance.
pub(crate) fn guard_inheritance() {}

/// Nothing: a process cannot become another program here.
pub(crate) fn inheritance() -> io::Result<Option<Inheritance>> {
    Ok(None)
}
