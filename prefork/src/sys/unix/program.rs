//! The program of this process, which children run.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{F_SETFD, FdFlag, fcntl};

use super::platform::program as platform;
use super::service;
use crate::sys::{MARKER, STATE_VARIABLE};

/// The executable of children, and its arguments.
#[derive(Debug)]
pub(crate) struct Program {
    /// The path that is executed.
    executable: PathBuf,
    /// Keeps `executable` the name of the same file while this lives.
    _pin: Option<File>,
    /// The path under which the program was started, to look up a newer program.
    path: PathBuf,
    /// The zeroth argument.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// The running program: the same file, even if another one has its path by now.
    pub(crate) fn current() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let running = env::current_exe()?;
        let name = arguments.next().unwrap_or_else(|| running.clone().into());
        let path = path_as_started(&name, &running);
        let (executable, pin) = match platform::own_executable() {
            Some((executable, pin)) => (executable, Some(pin)),
            None => (running, None),
        };
        Ok(Self { executable, _pin: pin, path, name, arguments: arguments.collect() })
    }

    /// The program that is at its path now, to be run with the same arguments.
    ///
    /// A script is refused where the file is executed through a descriptor: an exec closes the descriptor
    /// before the interpreter can read the script, and the master would end.
    pub(crate) fn afresh(&self) -> io::Result<Self> {
        let metadata = self.path.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not an executable file"));
        }
        let (executable, pin) = platform::pin(&self.path)?;
        if pin.is_some() && is_script(&executable) {
            let reason = "it is a script, which cannot take a program's place: put there what it starts";
            return Err(io::Error::other(reason));
        }
        let (path, name, arguments) = (self.path.clone(), self.name.clone(), self.arguments.clone());
        Ok(Self { executable, _pin: pin, path, name, arguments })
    }

    /// The path at which it is looked up.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn executable(&self) -> &Path {
        &self.executable
    }

    /// Every argument, including the zeroth.
    pub(super) fn argv(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(&self.name).chain(&self.arguments).map(OsString::as_os_str)
    }

    /// A command that starts a child. It leads a process group of its own, so that Ctrl-C in a
    /// terminal reaches the master alone. The marker names the descriptor that it is executed through.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .arg0(&self.name)
            .args(&self.arguments)
            .env_remove(STATE_VARIABLE)
            .env(MARKER, platform::pinned(&self.executable).unwrap_or_default().to_string())
            .process_group(0);
        for variable in service::VARIABLES {
            command.env_remove(variable);
        }
        command
    }
}

/// Whether the file begins with the name of its interpreter. A file that cannot be read is not a script:
/// its interpreter could not read it either.
fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

/// The path under which the program was started, with its links unresolved: a deployment may change a
/// link. `running` if the zeroth argument does not lead to the running file.
fn path_as_started(name: &OsStr, running: &Path) -> PathBuf {
    let named = Path::new(name);
    let candidates: Vec<PathBuf> = if named.components().count() > 1 {
        std::path::absolute(named).into_iter().collect()
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|directory| directory.join(named)).collect()
    };
    let is_running = |candidate: &PathBuf| match (candidate.metadata(), running.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    };
    candidates.into_iter().find(is_running).unwrap_or_else(|| running.to_owned())
}

/// Makes the pinned file of the program `name` inheritable while `start` runs. A program that wraps the
/// command needs it, and a child that runs as another user cannot open it through the master's `/proc`.
pub(super) fn with_pin<T>(name: &OsStr, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(number) = platform::pinned(Path::new(name)) else { return start() };
    // SAFETY: the `Program` with this name keeps it open; it is borrowed for calls that leave it open.
    let pin = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(pin, F_SETFD(FdFlag::empty()))?;
    let started = start();
    fcntl(pin, F_SETFD(FdFlag::FD_CLOEXEC))?;
    started
}

/// Closes, in a child, the file that it was executed through.
pub(super) fn close_pin() {
    let number = env::var(MARKER).ok().and_then(|number| number.parse::<RawFd>().ok());
    let Some(number) = number.filter(|number| *number > 2) else { return };
    // SAFETY: borrowed for one call that leaves it as it is; if it is not open, the call fails.
    if platform::is_pin(unsafe { BorrowedFd::borrow_raw(number) }) {
        // SAFETY: it is open, as the call above has shown. The master has named it as the file that this
        // process was executed through; no other code knows the number.
        drop(unsafe { File::from_raw_fd(number) });
    }
}

/// Runs `start` with `handshake` also as this process's own standard input: a producer that wraps the
/// command in another cannot move its standard input, but what it starts inherits the master's.
pub(super) fn with_stdin<T>(
    handshake: OwnedFd,
    start: impl FnOnce(OwnedFd) -> io::Result<T>,
) -> io::Result<T> {
    let before = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(&handshake)?;
    let started = start(handshake);
    nix::unistd::dup2_stdin(before)?;
    started
}
