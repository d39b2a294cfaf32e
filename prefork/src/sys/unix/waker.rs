//! A self-pipe: ends the reactor's wait from another thread. And how long such a wait is.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::PollTimeout;

/// The end that the reactor polls, and the end that others write to.
#[derive(Debug)]
pub(super) struct SelfPipe {
    read: UnixStream,
    waker: Waker,
}

impl SelfPipe {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Self { read, waker: Waker { write: Arc::new(write) } })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Empties the pipe, so that the next poll waits again.
    pub(super) fn drain(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(1..) = self.read.read(&mut bytes) {}
    }
}

impl AsFd for SelfPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// See [`Reactor::waker`](super::Reactor::waker).
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    write: Arc<UnixStream>,
}

impl Waker {
    pub(crate) fn wake(&self) {
        // A full pipe has not been read yet: the reactor wakes anyway.
        let _ = (&*self.write).write(&[0]);
    }
}

/// `None` waits for ever. Rounds up: waking too early means waking twice.
pub(super) fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;

    fn is_readable(self_pipe: &SelfPipe) -> bool {
        let mut descriptors = [PollFd::new(self_pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn full_pipe_wakes_and_can_be_drained() {
        let mut self_pipe = SelfPipe::new().unwrap();
        let waker = self_pipe.waker();
        for _ in 0..2 {
            assert!(!is_readable(&self_pipe));
            // Far more than the pipe takes.
            (0..100_000).for_each(|_| waker.wake());
            assert!(is_readable(&self_pipe));
            self_pipe.drain();
        }
    }
}
