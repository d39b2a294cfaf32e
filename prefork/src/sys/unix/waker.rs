//! What other threads ring to end the reactor's wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// What a [`Waker`] rings: to wake, or to ask for a stop.
const WAKE: u8 = 0;
const STOP: u8 = 1;

/// The reactor's end, and the cord that others pull.
#[derive(Debug)]
pub(super) struct SelfPipe {
    rings: UnixStream,
    waker: Waker,
}

impl SelfPipe {
    pub(super) fn new() -> io::Result<Self> {
        let (rings, cord) = UnixStream::pair()?;
        rings.set_nonblocking(true)?;
        cord.set_nonblocking(true)?;
        Ok(Self { rings, waker: Waker { cord: Arc::new(cord) } })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Takes note of all that was rung; says how many of them asked for a stop.
    pub(super) fn answer(&mut self) -> usize {
        let mut rings = [0; 64];
        let mut stops = 0;
        while let Ok(count @ 1..) = self.rings.read(&mut rings) {
            stops += rings[..count].iter().filter(|ring| **ring == STOP).count();
        }
        stops
    }
}

impl AsFd for SelfPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rings.as_fd()
    }
}

/// See [`Reactor::waker`](super::Reactor::waker).
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    cord: Arc<UnixStream>,
}

impl Waker {
    pub(crate) fn wake(&self) {
        self.ring(WAKE);
    }

    /// Does what SIGTERM does.
    pub(crate) fn ask_to_stop(&self) {
        self.ring(STOP);
    }

    fn ring(&self, how: u8) {
        // Where no more can be written, the self_pipe has not been answered yet.
        let _ = (&*self.cord).write(&[how]);
    }
}
