//! Waiting with `poll`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Descriptors that are waited for.
#[derive(Debug)]
pub(in crate::sys) struct DescriptorSet(Vec<RawFd>);

impl DescriptorSet {
    #[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
    pub(in crate::sys) fn new() -> io::Result<Self> {
        Ok(Self(Vec::new()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
    pub(in crate::sys) fn add(&mut self, _descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
        self.0.push(number);
        Ok(())
    }

    /// Call it before the descriptor is closed.
    pub(in crate::sys) fn remove(&mut self, descriptor: BorrowedFd<'_>) {
        self.0.retain(|number| *number != descriptor.as_raw_fd());
    }

    /// The descriptors that can be read now.
    pub(in crate::sys) fn wait(&mut self, timeout: PollTimeout) -> Result<Vec<RawFd>, Errno> {
        // SAFETY: each is removed before it is closed.
        let borrow = |number: &RawFd| unsafe { BorrowedFd::borrow_raw(*number) };
        let mut waited: Vec<PollFd<'_>> =
            self.0.iter().map(|number| PollFd::new(borrow(number), PollFlags::POLLIN)).collect();
        poll(&mut waited, timeout)?;
        let ready = waited.iter().zip(&self.0).filter(|(one, _)| one.any().unwrap_or(false));
        Ok(ready.map(|(_, number)| *number).collect())
    }
}

/// There is none: the end of a process is told by SIGCHLD alone.
pub(in crate::sys) fn exit_descriptor(_pid: Pid) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
