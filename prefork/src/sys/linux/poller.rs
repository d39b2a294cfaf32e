//! Waiting with epoll, whose cost does not depend on the number of descriptors; and descriptors that tell the end of a
//! process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::unistd::Pid;

/// How many descriptors one wait tells. The kernel tells the others by the next one.
const AT_ONCE: usize = 256;

/// Descriptors that are waited for.
#[derive(Debug)]
pub(in crate::sys) struct DescriptorSet(Epoll);

impl DescriptorSet {
    pub(in crate::sys) fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    pub(in crate::sys) fn add(&mut self, descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
        let data = u64::try_from(number).map_err(io::Error::other)?;
        Ok(self.0.add(descriptor.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data))?)
    }

    /// Call it before the descriptor is closed: a copy of it in another process would keep it in the set.
    pub(in crate::sys) fn remove(&mut self, descriptor: BorrowedFd<'_>) {
        let _ = self.0.delete(descriptor);
    }

    /// The descriptors that can be read now.
    pub(in crate::sys) fn wait(&mut self, timeout: PollTimeout) -> Result<Vec<RawFd>, Errno> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = self.0.wait(&mut events, timeout)?;
        Ok(events[..count].iter().filter_map(|event| RawFd::try_from(event.data()).ok()).collect())
    }
}

/// A descriptor that can be read once the process has ended. Needs Linux 5.3.
pub(in crate::sys) fn exit_descriptor(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has opened it for this call; it is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
