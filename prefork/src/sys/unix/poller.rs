//! The descriptors that the reactor waits for, and what each of them stands for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;

use super::platform::poller::DescriptorSet;
use super::waker::poll_timeout;

/// See the [module](self). `W` names a descriptor.
#[derive(Debug)]
pub(super) struct Poller<W> {
    set: DescriptorSet,
    watched: BTreeMap<RawFd, W>,
}

impl<W: Copy> Poller<W> {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { set: DescriptorSet::new()?, watched: BTreeMap::new() })
    }

    /// Waits for the descriptor from now on, until it is [removed](Self::remove).
    pub(super) fn add(&mut self, descriptor: &impl AsFd, what: W) -> io::Result<()> {
        let descriptor = descriptor.as_fd();
        let number = descriptor.as_raw_fd();
        self.set.add(descriptor, number)?;
        self.watched.insert(number, what);
        Ok(())
    }

    /// The same, and starts what will write to the descriptor. Without the one, the other is not done.
    pub(super) fn add_while<T>(
        &mut self,
        descriptor: &impl AsFd,
        what: W,
        start: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.add(descriptor, what)?;
        let started = start();
        if started.is_err() {
            self.remove(descriptor);
        }
        started
    }

    /// Call it before the descriptor is closed, also if it is not waited for.
    pub(super) fn remove(&mut self, descriptor: &impl AsFd) {
        let descriptor = descriptor.as_fd();
        if self.watched.remove(&descriptor.as_raw_fd()).is_some() {
            self.set.remove(descriptor);
        }
    }

    /// Waits until there is something to read, or for `timeout`. May return nothing. Tells all that can be read.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<W>> {
        let waited = match self.set.wait(poll_timeout(timeout)) {
            // What has arrived while this process was stopped counts before what is overdue.
            Err(Errno::EINTR) => self.set.wait(PollTimeout::ZERO),
            waited => waited,
        };
        match waited {
            Ok(ready) => Ok(ready.iter().filter_map(|number| self.watched.get(number).copied()).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn now(poller: &mut Poller<u32>) -> Vec<u32> {
        poller.wait(Some(Duration::ZERO)).unwrap()
    }

    #[test]
    fn descriptor_is_told_until_it_is_removed_although_it_has_a_copy() {
        let mut poller = Poller::new().unwrap();
        let (read, mut write) = UnixStream::pair().unwrap();
        let copy = read.try_clone().unwrap();
        poller.add(&read, 7).unwrap();
        assert!(now(&mut poller).is_empty());
        write.write_all(b"x").unwrap();
        assert_eq!(now(&mut poller), [7]);
        assert_eq!(now(&mut poller), [7], "it was not read");
        poller.remove(&read);
        drop(read);
        assert!(now(&mut poller).is_empty());
        drop(copy);
    }

    #[test]
    fn one_wait_tells_all_descriptors_however_many_they_are() {
        let mut poller = Poller::new().unwrap();
        let pairs: Vec<_> = (0..300).map(|_| UnixStream::pair().unwrap()).collect();
        for ((read, write), number) in pairs.iter().zip(0..) {
            poller.add(read, number).unwrap();
            (&*write).write_all(b"x").unwrap();
        }
        let mut told = now(&mut poller);
        told.sort_unstable();
        assert!(told.into_iter().eq(0..300));
        pairs[..299].iter().for_each(|(read, _)| poller.remove(read));
        assert_eq!(now(&mut poller), [299]);
        poller.remove(&pairs[299].0);
        assert!(now(&mut poller).is_empty());
    }
}
