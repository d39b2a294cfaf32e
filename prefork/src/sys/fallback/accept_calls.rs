//! Threads in `accept`, which cannot be told from others here.

use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::Signal;

/// Nothing is known.
#[derive(Debug, Default)]
pub(in crate::sys) struct AcceptCalls {}

impl AcceptCalls {
    pub(in crate::sys) fn begin() -> Self {
        Self {}
    }

    /// Unsupported: a thread in `accept` takes one more connection, and the drain waits for that one.
    pub(in crate::sys) fn interrupt(
        &mut self,
        _listeners: &[RawFd],
        _signal: Signal,
    ) -> io::Result<(usize, bool)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
