//! Copies of programs, for tests that replace the file of a running program or run it as another user.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A copy of a program in a directory that every user can read.
#[derive(Debug)]
pub struct ProgramCopy {
    directory: TempDir,
}

impl ProgramCopy {
    /// Copies the file `program`.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let copy = Self { directory: public_directory() };
        copy_program(program.as_ref(), &copy.path());
        copy
    }

    /// The path of the copy.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("program")
    }

    /// Puts a copy of another program in the place of this one. A running process keeps the old file.
    pub fn replace_with(&self, program: impl AsRef<Path>) {
        let new = self.directory.path().join("new");
        copy_program(program.as_ref(), &new);
        fs::rename(&new, self.path()).expect("the copy can be replaced");
    }
}

/// In another process: a file that this one writes is open in a child that another test forks meanwhile, and cannot
/// be executed until that child is executed itself.
#[cfg(unix)]
fn copy_program(program: &Path, copy: &Path) {
    let status = std::process::Command::new("cp").args([program, copy]).status();
    assert!(status.expect("cp can be executed").success(), "the program cannot be copied");
}

#[cfg(not(unix))]
fn copy_program(program: &Path, copy: &Path) {
    fs::copy(program, copy).expect("the program can be copied");
}

/// A temporary directory that every user can read.
pub fn public_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    #[cfg(unix)]
    make_readable_by_all(directory.path());
    directory
}

#[cfg(unix)]
fn make_readable_by_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("the owner may");
}
