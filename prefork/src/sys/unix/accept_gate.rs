//! Closes the listeners of a server that does not know that it is being stopped.
//!
//! The server holds its listener by number. It may block in `accept` on it, or have it in an event loop.
//! Closing the gate puts a decoy over that number: a listening socket at an unknown address, made when the
//! child starts, with the same blocking mode. From then on every `accept` there waits for ever, or would
//! block. A signal interrupts threads that were in `accept` already, and their call is repeated on the decoy.
//! Registrations in epoll sets are moved: an epoll set keeps the file that was registered, not the number.
//! If connections are queued then, the other processes are woken: they may not have been told of them.
//! The listening socket itself, which other processes share, is unaffected.
//!
//! A number is replaced only if it is the listener's file immediately before. What remains is the time of
//! two system calls: if the server closes its listener in between, and opens another file at once, that
//! file is lost. No system call compares and replaces. A server that takes `Shutdown` and closes its
//! listener by itself cannot meet this.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};

use nix::fcntl::{F_GETFL, F_SETFD, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use socket2::{SockAddr, SockRef, Socket};

use super::connections::AcceptedConnections;
use super::decoy::Decoy;
use super::descriptors::{FileId, open_descriptors};
use super::listener::has_queue;
use super::platform::{accept_calls::AcceptCalls, epoll, io_uring, tcp_info};

/// The signal that interrupts `accept`. It is ignored by default, so a stray one is harmless.
const WAKE: Signal = Signal::SIGURG;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AcceptGate {
    listeners: Vec<GuardedListener>,
    /// The numbers that decoys have replaced.
    replaced: Vec<RawFd>,
    accept_calls: AcceptCalls,
    connections: AcceptedConnections,
}

/// A listener, known by its file, and its decoy.
#[derive(Debug)]
struct GuardedListener {
    id: FileId,
    decoy: Decoy,
}

impl AcceptGate {
    /// The gate of `listeners` and of every copy that the server makes of them.
    ///
    /// Call it before there are other threads, which inherit this thread's signal mask.
    pub(crate) fn new(listeners: &[Socket]) -> io::Result<Self> {
        let mut wake = SigSet::empty();
        wake.add(WAKE);
        wake.thread_unblock()?;
        let addrs = listeners.iter().map(Socket::local_addr).collect::<io::Result<Vec<SockAddr>>>()?;
        let listeners = listeners.iter().map(GuardedListener::new).collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            replaced: Vec::new(),
            accept_calls: AcceptCalls::default(),
            connections: AcceptedConnections::new(addrs),
        })
    }

    /// Closes the gate; connections already accepted are unaffected. After a failure, try again.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        catch_wake()?;
        let descriptors = open_descriptors();
        let sets = epoll::sets(&descriptors);
        for listener in &self.listeners {
            let held = listener.held_among(&descriptors);
            let Some(first) = held.first() else { continue };
            listener.decoy.set_nonblocking(is_nonblocking(*first)?)?;
            epoll::remove_stale(&sets, *first, listener.id.inode());
            for number in held {
                listener.replace(number, &sets)?;
                self.replaced.push(number);
            }
        }
        // What threads have done before, and threads that begin later, have nothing to do with the old sockets.
        self.accept_calls = AcceptCalls::begin();
        Ok(())
    }

    /// Whether the server can still accept after [`close`](Self::close).
    pub(crate) fn stays_open(&self) -> bool {
        false
    }

    /// Whether the closed gate holds this server: what it has registered with the kernel can be seen and
    /// moved.
    pub(crate) fn holds_server(&self) -> bool {
        epoll::are_visible() && !self.server_uses_io_uring()
    }

    /// Whether the server has a ring of io_uring. Accepts that are pending there keep the old socket.
    pub(crate) fn server_uses_io_uring(&self) -> bool {
        io_uring::is_among(&open_descriptors())
    }

    /// Makes threads that are in `accept` on the old socket go to the decoy. To be repeated: a thread may
    /// have been about to enter the call. Returns how many there were, and whether a thread may be
    /// returning from `accept` with a connection that has no descriptor yet; an error means that this
    /// system cannot tell.
    pub(crate) fn interrupt_accepts(&mut self) -> io::Result<(usize, bool)> {
        self.accept_calls.interrupt(&self.replaced, WAKE)
    }

    /// Wakes `count` threads that are in `accept` on a decoy, by connecting to it. A loop that checks its
    /// stop flag between connections then checks it.
    pub(crate) fn wake_acceptors(&self, count: usize) {
        for listener in &self.listeners {
            for _ in 0..count {
                listener.decoy.wake();
            }
        }
    }

    /// Whether a connection that came in through this gate is open, whether or not the serve function has
    /// returned.
    pub(crate) fn has_connections(&mut self, _returned: bool) -> bool {
        self.connections.any_open()
    }

    /// Whether a connection that came in through this gate has just brought bytes, or waits for its first
    /// ones; an error means that this system cannot tell.
    pub(crate) fn has_active_connections(&mut self) -> io::Result<bool> {
        self.connections.any_active()
    }

    /// How many connections are queued at the open gate: on the listeners at these places, or if there are
    /// none, on those that this child alone has. An error means that this system cannot tell.
    pub(crate) fn queue_length(&self, places: &[usize]) -> io::Result<u32> {
        let descriptors = open_descriptors();
        let mut queued = 0;
        for (place, listener) in self.listeners.iter().enumerate() {
            let held = listener.held_among(&descriptors);
            let Some(own) = held.first() else { continue };
            if places.contains(&place) {
                queued += tcp_info::queue_length(*own).unwrap_or_else(|_| u32::from(has_queue_at(*own)));
            } else if places.is_empty() && is_of_one_slot(*own) {
                queued += tcp_info::queue_length(*own)?;
            }
        }
        Ok(queued)
    }
}

impl GuardedListener {
    fn new(listener: &Socket) -> io::Result<Self> {
        Ok(Self { id: FileId::of(listener.as_fd())?, decoy: Decoy::of(listener)? })
    }

    /// The numbers at which the server has this listener.
    fn held_among(&self, descriptors: &[RawFd]) -> Vec<RawFd> {
        descriptors.iter().copied().filter(|number| self.is_held_at(*number)).collect()
    }

    fn is_held_at(&self, number: RawFd) -> bool {
        FileId::at(number) == Some(self.id)
    }

    /// Puts the decoy over `number`, and moves its registrations in epoll sets.
    fn replace(&self, number: RawFd, sets: &[epoll::EpollSet]) -> io::Result<()> {
        if !self.is_held_at(number) {
            return Ok(());
        }
        let moved = epoll::remove(sets, number, self.id.inode());
        // A connection that has woken this process alone is left to others now.
        if has_queue_at(number) {
            epoll::wake_watchers(number);
        }
        self.put_decoy(number, &moved)
    }

    /// The second half of [`replace`](Self::replace). If the server has closed the number meanwhile, another
    /// file may have it, which must not be watched in the listener's name.
    fn put_decoy(&self, number: RawFd, moved: &[epoll::Removed]) -> io::Result<()> {
        if !self.is_held_at(number) {
            return Ok(());
        }
        let replaced = put(self.decoy.as_fd(), number);
        epoll::add(moved, number);
        replaced
    }
}

/// Whether a listener belongs to one slot, and is not shared by all children.
fn is_of_one_slot(number: RawFd) -> bool {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    SockRef::from(&descriptor).reuse_port().unwrap_or(false)
}

/// Whether `accept` would return a connection at once.
fn has_queue_at(number: RawFd) -> bool {
    // SAFETY: as above.
    has_queue(unsafe { BorrowedFd::borrow_raw(number) })
}

fn is_nonblocking(number: RawFd) -> io::Result<bool> {
    // SAFETY: as above.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(OFlag::from_bits_retain(fcntl(descriptor, F_GETFL)?).contains(OFlag::O_NONBLOCK))
}

/// From now on the signal interrupts calls. The system repeats `accept` with the file that the number has then, and also
/// what a thread does that has just left `accept`, such as a read: only one with a timeout of its own fails with EINTR.
fn catch_wake() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, so it is safe to run at any point.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// `dup2`, with close-on-exec.
fn put(source: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the number was the server's listener a moment ago; it stays an open listening socket, but
    // another one. If the server has closed it in that moment, it gains a socket that it does not use.
    // `into_raw_fd` leaves the number with its owner, the server.
    let replaced = unsafe { nix::unistd::dup2_raw(source, number) }?;
    fcntl(&replaced, F_SETFD(FdFlag::FD_CLOEXEC))?;
    let _ = replaced.into_raw_fd();
    Ok(())
}

#[cfg(test)]
mod tests;
