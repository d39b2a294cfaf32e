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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn end_of_a_process_is_told() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // Before Linux 5.3 there is none.
        if let Ok(end) = exit_descriptor(Pid::from_raw(child.id().try_into().unwrap())) {
            let mut set = DescriptorSet::new().unwrap();
            set.add(end.as_fd(), end.as_raw_fd()).unwrap();
            assert!(set.wait(PollTimeout::ZERO).unwrap().is_empty());
            drop(child.stdin.take());
            assert_eq!(set.wait(PollTimeout::NONE).unwrap(), [end.as_raw_fd()]);
            assert!(child.try_wait().unwrap().is_some());
        }
        assert!(child.wait().unwrap().success());
    }
}
