//! The running file, and files that are executed through a descriptor.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{F_GETFL, fcntl};
use nix::libc;

/// The directory of a process's own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// The file that this process runs, pinned.
pub(in crate::sys) fn own_executable() -> Option<(PathBuf, File)> {
    match pin(Path::new("/proc/self/exe")) {
        Ok((name, Some(file))) => Some((name, file)),
        Ok((_, None)) | Err(_) => None,
    }
}

/// Opens the file at `path` and returns a name for it that no rename or deletion changes. The name works
/// in every process that has inherited the descriptor, whatever user it runs as.
pub(in crate::sys) fn pin(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let name = Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string());
    match name.try_exists()? {
        true => Ok((name, Some(file))),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "/proc is not mounted")),
    }
}

/// The descriptor in the name of a pinned file.
pub(in crate::sys) fn pinned(name: &Path) -> Option<RawFd> {
    name.strip_prefix(DESCRIPTORS).ok()?.to_str()?.parse().ok()
}

/// Whether a descriptor is open and of the kind that pins a file.
pub(in crate::sys) fn is_pin(descriptor: BorrowedFd<'_>) -> bool {
    fcntl(descriptor, F_GETFL).is_ok_and(|flags| flags & libc::O_PATH != 0)
}

/// Sets the name of this process to the program's: the kernel named it after the descriptor that it was
/// executed through.
pub(in crate::sys) fn restore_process_name() {
    let Some(mut program) = std::env::args_os().next().map(PathBuf::from) else { return };
    if program.starts_with("/proc") {
        // A wrapper passed the path that it executed as the zeroth argument.
        program = std::env::current_exe().unwrap_or(program);
    }
    let Some(name) = program.file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Cosmetic: a refusal is harmless.
        let _ = nix::sys::prctl::set_name(&name);
    }
}
