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

/// The error for a file that the process with this pid holds; empty: a process that has not written its pid.
pub(super) fn held(pid: &str) -> io::Error {
    let holder = if pid.is_empty() { "another process".to_owned() } else { format!("process {pid}") };
    io::Error::new(io::ErrorKind::ResourceBusy, format!("{holder} holds it"))
}

pub(super) fn no_pid_file() -> io::Error {
    io::Error::other("the file there is no pid file; remove it, or choose another path")
}

#[cfg(test)]
mod tests {
    use super::held;

    #[test]
    fn holder_without_a_pid_is_another_process() {
        assert_eq!(held("4711").to_string(), "process 4711 holds it");
        assert_eq!(held("").to_string(), "another process holds it");
    }
}
