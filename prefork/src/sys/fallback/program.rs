//! Executables, which these systems execute by path only.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

/// Unknown.
pub(in crate::sys) fn own_executable() -> Option<(PathBuf, File)> {
    None
}

/// The path itself: a file cannot be executed through a descriptor.
pub(in crate::sys) fn pin(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    Ok((path.to_owned(), None))
}

pub(in crate::sys) fn pinned(_name: &Path) -> Option<RawFd> {
    None
}

pub(in crate::sys) fn is_pin(_descriptor: BorrowedFd<'_>) -> bool {
    false
}

/// The program was started by its path, so the name is right.
pub(in crate::sys) fn restore_process_name() {}
