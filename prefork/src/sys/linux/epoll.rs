//! The epoll sets of this process, as /proc shows them, and moving a registration from one file to another.
//!
//! An epoll set keeps the file that was registered. If another file takes its number, the set goes on
//! watching the first one, and neither the program nor the kernel can remove it by number any more.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::fcntl::{F_DUPFD_CLOEXEC, fcntl};
use nix::libc;

const FILE_INFO: &str = "/proc/self/fdinfo";

/// An epoll set, with what is registered in it.
#[derive(Debug)]
pub(in crate::sys) struct EpollSet {
    number: RawFd,
    /// `None` if that cannot be read: it takes a descriptor, and the process may have none left.
    registrations: Option<Vec<Registration>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Registration {
    target: RawFd,
    events: u32,
    data: u64,
    /// Inode of the file that is registered; unknown before Linux 4.13.
    inode: Option<u64>,
}

/// A registration that was removed, to be made for another file.
#[derive(Debug)]
pub(in crate::sys) struct Removed {
    set: RawFd,
    events: u32,
    data: u64,
}

/// Whether /proc shows them.
pub(in crate::sys) fn are_visible() -> bool {
    Path::new(FILE_INFO).is_dir()
}

/// The epoll sets among these descriptors.
pub(in crate::sys) fn sets(descriptors: &[RawFd]) -> Vec<EpollSet> {
    let is_set = |number: &&RawFd| super::descriptors::is_anonymous(**number, "[eventpoll]");
    let sets = descriptors.iter().filter(is_set).map(|number| {
        let info = fs::read_to_string(format!("{FILE_INFO}/{number}")).ok();
        let registrations = info.map(|info| info.lines().filter_map(parse).collect());
        EpollSet { number: *number, registrations }
    });
    sets.collect()
}

/// Reads a line of an epoll set's file information: `tfd: 7 events: 19 data: 7 pos:0 ino:1f sdev:9`.
fn parse(line: &str) -> Option<Registration> {
    let rest = line.strip_prefix("tfd:")?;
    let (target, rest) = rest.split_once("events:")?;
    let (events, rest) = rest.split_once("data:")?;
    let mut rest = rest.split_whitespace();
    Some(Registration {
        target: target.trim().parse().ok()?,
        events: u32::from_str_radix(events.trim(), 16).ok()?,
        data: u64::from_str_radix(rest.next()?, 16).ok()?,
        inode: rest
            .find_map(|field| field.strip_prefix("ino:"))
            .and_then(|inode| u64::from_str_radix(inode, 16).ok()),
    })
}

impl EpollSet {
    fn registrations_of(&self, inode: u64) -> impl Iterator<Item = &Registration> {
        let readable = self.registrations.iter().flatten();
        readable.filter(move |one| one.inode.is_none_or(|its| its == inode))
    }
}

/// Removes the registrations of the file with this `inode` at `number`. Those that the program removes at the same time
/// are not among the result, nor are those in a set that cannot be read: the number is then in no set any more, and
/// nothing is watched in its place.
pub(in crate::sys) fn remove(sets: &[EpollSet], number: RawFd, inode: u64) -> Vec<Removed> {
    let mut removed = Vec::new();
    for set in sets {
        if set.registrations.is_none() {
            control(set.number, libc::EPOLL_CTL_DEL, number, 0, 0);
        }
        for Registration { events, data, .. } in
            set.registrations_of(inode).filter(|one| one.target == number)
        {
            if control(set.number, libc::EPOLL_CTL_DEL, number, 0, 0) {
                removed.push(Removed { set: set.number, events: *events, data: *data });
            }
        }
    }
    removed
}

/// Registers what is at `number` now with the same events and data.
pub(in crate::sys) fn add(removed: &[Removed], number: RawFd) {
    for Removed { set, events, data } in removed {
        control(*set, libc::EPOLL_CTL_ADD, number, *events, *data);
    }
}

/// Removes the registrations of the file with this `inode` whose number the program has closed, while it
/// has the file open at `number`: the file takes the closed number for a moment.
pub(in crate::sys) fn remove_stale(sets: &[EpollSet], number: RawFd, inode: u64) {
    for set in sets {
        for Registration { target, .. } in set.registrations_of(inode).filter(|one| one.inode.is_some()) {
            // The least free number from there on: another one if the program has the number in use.
            // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
            let held = unsafe { BorrowedFd::borrow_raw(number) };
            let Ok(copy) = fcntl(held, F_DUPFD_CLOEXEC(*target)) else { continue };
            // SAFETY: the call has just made the descriptor, and no other code knows it.
            let copy = unsafe { OwnedFd::from_raw_fd(copy) };
            if copy.as_raw_fd() == *target {
                control(set.number, libc::EPOLL_CTL_DEL, *target, 0, 0);
            }
        }
    }
}

/// Makes every process that waits for the listener at `number` look at its queue, whatever has been told to it.
///
/// Where sets watch with `EPOLLEXCLUSIVE`, a connection wakes the process of one; if that process then cannot accept
/// it, no other one learns of it. Shutting down the sending side of a listening socket has no effect but that it
/// wakes all who wait for it (`inet_shutdown` and `unix_shutdown` in the kernel end with `sk_state_change`).
pub(in crate::sys) fn wake_watchers(number: RawFd) {
    // SAFETY: the call leaves the descriptor open; if it is gone, or is no socket, the call fails.
    unsafe { libc::shutdown(number, libc::SHUT_WR) };
}

fn control(set: RawFd, operation: libc::c_int, number: RawFd, events: u32, data: u64) -> bool {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the event outlives the call. Numbers that are closed, or are no epoll set, are errors.
    unsafe { libc::epoll_ctl(set, operation, number, std::ptr::from_mut(&mut event)) == 0 }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use socket2::{Socket, Type};

    use super::*;

    #[test]
    fn registration_in_a_set_that_cannot_be_read_is_removed() {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let (watched, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        set.add(&watched, EpollEvent::new(EpollFlags::EPOLLOUT, 7)).unwrap();
        let unreadable = EpollSet { number: set.0.as_raw_fd(), registrations: None };
        assert!(remove(&[unreadable], watched.as_raw_fd(), 0).is_empty());
        assert_eq!(set.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap(), 0);
    }

    #[test]
    fn listener_that_wakes_its_watchers_accepts_on() {
        let tcp = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let unix = super::super::decoy::listen_on_unix_socket().unwrap();
        for listener in [tcp, unix] {
            let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLEXCLUSIVE;
            set.add(&listener, EpollEvent::new(once, 7)).unwrap();
            let wait = || set.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap();
            for _ in 0..2 {
                wake_watchers(listener.as_raw_fd());
                assert_eq!(wait(), 0);
                let client = Socket::new(listener.domain().unwrap(), Type::STREAM, None).unwrap();
                client.connect(&listener.local_addr().unwrap()).unwrap();
                assert_eq!((wait(), wait()), (1, 0));
                wake_watchers(listener.as_raw_fd());
                assert_eq!((wait(), wait()), (1, 0));
                listener.accept().unwrap();
            }
        }
    }

    #[test]
    fn registration_is_read_with_and_without_inode() {
        let line = "tfd:        7 events: 80000019 data:         ffffffff00000007  pos:0 ino:1f4a sdev:8";
        let registration =
            Registration { target: 7, events: 0x8000_0019, data: 0xffff_ffff_0000_0007, inode: Some(0x1f4a) };
        assert_eq!(parse(line), Some(registration));
        let old = "tfd:       12 events:       19 data:                c";
        assert_eq!(parse(old), Some(Registration { target: 12, events: 0x19, data: 0xc, inode: None }));
        assert_eq!(parse("pos:\t0"), None);
        assert_eq!(parse("tfd: x events: y data: z"), None);
    }
}
