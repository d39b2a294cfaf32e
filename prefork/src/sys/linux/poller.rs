//! Waiting with epoll, whose cost does not depend on the number of descriptors; and descriptors that tell the end of a
//! process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::unistd::Pid;

/// Descriptors that are waited for.
#[derive(Debug)]
pub(in crate::sys) struct DescriptorSet {
    epoll: Epoll,
    /// Room for one event of each descriptor, and never none, which the kernel refuses.
    events: Vec<EpollEvent>,
}

impl DescriptorSet {
    pub(in crate::sys) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, events: vec![EpollEvent::empty()] })
    }

    pub(in crate::sys) fn add(&mut self, descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
        let data = u64::try_from(number).map_err(io::Error::other)?;
        self.epoll.add(descriptor.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data))?;
        self.events.push(EpollEvent::empty());
        Ok(())
    }

    /// Call it before the descriptor is closed: a copy of it in another process would keep it in the set.
    pub(in crate::sys) fn remove(&mut self, descriptor: BorrowedFd<'_>) {
        if self.epoll.delete(descriptor).is_ok() {
            self.events.pop();
        }
    }

    /// All descriptors that can be read now.
    pub(in crate::sys) fn wait(&mut self, timeout: PollTimeout) -> Result<Vec<RawFd>, Errno> {
        let count = self.epoll.wait(&mut self.events, timeout)?;
        Ok(self.events[..count].iter().filter_map(|event| RawFd::try_from(event.data()).ok()).collect())
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
