//! A file with the pid of this process, which holds a lock on it for as long as it lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::kill;
use nix::unistd::{AccessFlags, Pid, access};

use super::super::pid_text::{held, no_pid_file, pid_in};
use super::descriptors::take;

/// How often another process may replace or remove the file meanwhile.
const TRIES: u32 = 100;
/// How long to wait for a process that replaces the file of a dead one.
const PAUSE: Duration = Duration::from_millis(10);

/// See the [module](self). Dropping it removes the file, unless another one has taken its place.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: Flock<File>,
}

impl PidFile {
    /// Puts a file with this process's pid at `path`: readers see it whole, or the one that was there before.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`] if another process holds the file. A file that is no pid file is left
    /// alone.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut holder = None;
        for _ in 0..TRIES {
            let stale = match open(&path)? {
                None => None,
                Some(file) => match lock(file)? {
                    Ok(locked) if !is_at(&locked, &path) => continue,
                    Ok(locked) => Some(locked),
                    Err(file) if !is_at(&file, &path) => continue,
                    Err(file) => {
                        let pid = pid_in(&file)?;
                        if is_alive(&pid) {
                            return Err(held(&pid));
                        }
                        holder = Some(pid);
                        thread::sleep(PAUSE);
                        continue;
                    }
                },
            };
            if let Some(file) = &stale {
                pid_in(file)?;
            }
            let (temporary, file) = write_beside(&path)?;
            // The lock on the stale file ends after the new one, which is locked as well, is in its place.
            let placed =
                if stale.is_some() { fs::rename(&temporary, &path) } else { place(&temporary, &path) };
            match placed {
                Ok(()) => return Ok(Self { path, file }),
                Err(error) => {
                    let _ = fs::remove_file(&temporary);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(error);
                    }
                }
            }
        }
        // A process in another container, maybe.
        Err(holder.map_or_else(
            || io::Error::other("other processes keep replacing it; stop them, or choose another path"),
            |pid| held(&pid),
        ))
    }

    /// Checks, without a change, whether [`create`](Self::create) may work once no other process holds the
    /// file.
    pub(crate) fn check(path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let directory = path.parent().unwrap_or(&path);
        access(directory, AccessFlags::W_OK | AccessFlags::X_OK)?;
        open(&path)?.map_or(Ok(()), |file| pid_in(&file).map(drop))
    }

    /// The file that the previous program in this process has created, with its descriptor.
    pub(crate) fn adopt(path: &Path, number: RawFd) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = File::from(take(number)?);
        if !is_at(&file, &path) {
            return Err(io::Error::other("another file has taken its place"));
        }
        let file = lock(file)?.map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
        Ok(Self { path, file })
    }

    /// Whether it is the file at `path`, which may be another spelling.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| is_at(&self.file, &path))
    }

    /// This file, if it is the one at `path`, which may be another spelling.
    pub(crate) fn at(mut self, path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok().filter(|path| is_at(&self.file, path))?;
        self.path = path;
        Some(self)
    }

    /// The number of its descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.file).as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file at `path`, if there is one. A link is not followed, and a FIFO is not waited for.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(no_pid_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // The system's error for it speaks of too many links.
        Err(_) if path.is_symlink() => Err(io::Error::other(
            "it is a symbolic link, which is not followed; name the file that it leads to",
        )),
        Err(error) => Err(error),
    }
}

/// Locks the file, or returns it if another process has the lock.
fn lock(file: File) -> io::Result<Result<Flock<File>, File>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => Ok(Ok(locked)),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Err(file)),
        Err((_, error)) => Err(error.into()),
    }
}

/// Whether the process exists, as far as this one sees.
fn is_alive(pid: &str) -> bool {
    pid.parse().is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(theirs)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}

/// Creates a locked file with this process's pid in the directory of `path`.
fn write_beside(path: &Path) -> io::Result<(PathBuf, Flock<File>)> {
    let pid = std::process::id();
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(format!(".{pid}"));
    let temporary = PathBuf::from(temporary);
    // What an earlier process with this pid has left.
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written = (&file).write_all(format!("{pid}\n").as_bytes());
    let locked = written.and_then(|()| lock(file)?.map_err(|_| io::ErrorKind::ResourceBusy.into()));
    if locked.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok((temporary, locked?))
}

/// Moves the file to `path`, where no file is; an error of kind `AlreadyExists` if there is one by now.
fn place(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Ok(()) => {
            let _ = fs::remove_file(temporary);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) => fs::rename(temporary, path),
    }
}
