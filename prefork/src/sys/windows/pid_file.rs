//! A file with the pid of this process, which no other process can write to for as long as it lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;

use super::super::pid_text::{held, no_pid_file, pid_in};

/// See the [module](self). Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// `None` when it is dropped: an open file cannot be removed.
    file: Option<File>,
}

impl PidFile {
    /// Puts a file with this process's pid at `path`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`] if another process holds the file. A file that is no pid file is left
    /// alone.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).share_mode(FILE_SHARE_READ);
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == i32::try_from(ERROR_SHARING_VIOLATION).ok() => {
                let pid = File::open(&path).and_then(|file| pid_in(&file));
                return Err(held(&pid.unwrap_or_default()));
            }
            Err(error) => return Err(error),
        };
        pid_in(&file)?;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Self { path, file: Some(file) })
    }

    /// Checks, without a change, whether [`create`](Self::create) may work once no other process holds the
    /// file.
    pub(crate) fn check(path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        path.parent().unwrap_or(&path).metadata()?;
        match path.metadata() {
            Ok(found) if !found.is_file() => Err(no_pid_file()),
            _ => Ok(()),
        }
    }

    /// Nothing: no program is executed in this process after another one.
    pub(crate) fn adopt(_path: &Path, _number: i32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[expect(clippy::unused_self, reason = "elsewhere it can be another spelling")]
    pub(crate) fn is_at(&self, _path: &Path) -> bool {
        false
    }

    /// Nothing, likewise.
    pub(crate) fn at(self, _path: &Path) -> Option<Self> {
        None
    }

    #[expect(clippy::unused_self, reason = "elsewhere it is a descriptor's")]
    pub(crate) fn number(&self) -> i32 {
        -1
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        drop(self.file.take());
        let _ = fs::remove_file(&self.path);
    }
}
