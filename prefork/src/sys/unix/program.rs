//! This program, to be started again.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};

use super::{linux, service};
use crate::sys::{MARKER, STATE_VARIABLE};

/// The executable that children run, and its arguments.
#[derive(Debug)]
pub(crate) struct Program {
    /// What is executed.
    executable: PathBuf,
    /// Keeps `executable` meaning the same file for as long as this lives.
    _pin: Option<File>,
    /// Under which name the program was started, to look it up afresh.
    path: PathBuf,
    /// The zeroth argument, and the others.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program that runs now: the same file, even if its name means another one by now.
    pub(crate) fn current() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let running = env::current_exe()?;
        let name = arguments.next().unwrap_or_else(|| running.clone().into());
        let path = path_as_started(&name, &running);
        let (executable, pin) = match linux::own_executable() {
            Some((executable, pin)) => (executable, Some(pin)),
            None => (running, None),
        };
        Ok(Self { executable, _pin: pin, path, name, arguments: arguments.collect() })
    }

    /// The program that its name means now, to be run with the same arguments.
    ///
    /// A script is refused where the file is executed through a descriptor: an upgrade closes it
    /// before the interpreter can read from there, and the master would be lost.
    pub(crate) fn afresh(&self) -> io::Result<Self> {
        let metadata = self.path.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not an executable file"));
        }
        let (executable, pin) = linux::pin(&self.path)?;
        if pin.is_some() && is_script(&executable) {
            let reason = "it is a script, which cannot take a program's place: put there what it starts";
            return Err(io::Error::other(reason));
        }
        let (path, name, arguments) = (self.path.clone(), self.name.clone(), self.arguments.clone());
        Ok(Self { executable, _pin: pin, path, name, arguments })
    }

    /// Under which name it is looked up.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn executable(&self) -> &Path {
        &self.executable
    }

    /// Every argument, the zeroth included.
    pub(super) fn argv(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(&self.name).chain(&self.arguments).map(OsString::as_os_str)
    }

    /// A command that starts a child. It leads a process group of its own, so that Ctrl-C in a
    /// terminal reaches the master alone. The marker tells it which descriptor it was executed through.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .arg0(&self.name)
            .args(&self.arguments)
            .env_remove(STATE_VARIABLE)
            .env(MARKER, linux::pinned(&self.executable).unwrap_or_default().to_string())
            .process_group(0);
        for variable in service::VARIABLES {
            command.env_remove(variable);
        }
        command
    }
}

/// Whether the file names the program that is to interpret it. One that cannot be read is none: its
/// interpreter could not read it either.
fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

/// The path under which the program was started: not what links in it led to, for a deployment may
/// put another file there by changing a link. Where the zeroth argument is of no use, `running`.
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

/// Lets what is started inherit the pinned file of the program `name`, while `start` runs: a program
/// that wraps the command needs it, and a child that is to run as another user may look into no other
/// process.
pub(super) fn with_pin<T>(name: &OsStr, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(number) = linux::pinned(Path::new(name)) else { return start() };
    // SAFETY: the program that the name is of keeps it open; it is borrowed for calls that leave it so.
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
    if linux::is_pin(unsafe { BorrowedFd::borrow_raw(number) }) {
        // SAFETY: it is open, as the call above has shown, and by the master's word it is the file that
        // this process was executed through; nothing else here knows of it.
        drop(unsafe { File::from_raw_fd(number) });
    }
}

/// Every descriptor of this process that is open now.
pub(super) fn open_descriptors() -> Vec<RawFd> {
    match std::fs::read_dir("/dev/fd") {
        Ok(entries) => {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        }
        // No such directory: try every number that can be one.
        Err(_) => {
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
            (0..RawFd::try_from(limit).unwrap_or(65_536).min(65_536)).collect()
        }
    }
}

/// The slow way to do what Linux does in one call.
pub(super) fn close_on_exec_one_by_one() {
    for number in open_descriptors().into_iter().filter(|number| *number > 2) {
        // SAFETY: the number is used for one call that does not close it; if it is free, or taken
        // by somebody else meanwhile, nothing worse happens than an error or a flag that is set already.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl(descriptor, F_SETFD(FdFlag::FD_CLOEXEC));
    }
}
