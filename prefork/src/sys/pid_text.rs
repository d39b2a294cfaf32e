//! The text of a pid file, on every platform.

use std::fs::File;
use std::io::{self, Read};

/// More than a file with a pid has.
const LENGTH_MAX: u64 = 32;

/// The pid in the file: empty if its process ended before it wrote one.
///
/// # Errors
///
/// The file holds something else.
pub(super) fn pid_in(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LENGTH_MAX).read_to_string(&mut text).map_err(|_| no_pid_file())?;
    let pid = text.trim();
    let is_whole = (text.len() as u64) < LENGTH_MAX;
    if is_whole && pid.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(pid.to_owned())
    } else {
        Err(no_pid_file())
    }
}

/// The error for a file that the process with this pid holds.
pub(super) fn held(pid: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, format!("process {} holds it", pid.trim()))
}

pub(super) fn no_pid_file() -> io::Error {
    io::Error::other("the file there is no pid file; remove it, or choose another path")
}
