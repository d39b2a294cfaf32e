//! Threads in `accept`, which cannot be told from others here, and decoys for Unix sockets.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;

/// Unsupported: a thread in `accept` takes one more connection, and the drain waits for that one.
pub(in crate::sys) fn interrupt_accepts(_listeners: &[RawFd], _signal: Signal) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown.
pub(in crate::sys) fn other_threads_run() -> bool {
    false
}

/// A listening Unix socket whose file is removed at once.
pub(in crate::sys) fn unix_decoy() -> io::Result<UnixListener> {
    let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("prefork-XXXXXX"))?;
    let path = directory.join("decoy");
    let listener = UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir(&directory);
    listener
}
