//! Closes the listeners of a server that does not know that it is being stopped.
//!
//! The server holds its listener by number. It may block in `accept` on it, or have it in an event loop.
//! Closing the gate puts a decoy over that number: a fresh listening socket at an unknown address, with
//! the same blocking mode. From then on every `accept` there waits for ever, or would block. A signal
//! interrupts threads that were in `accept` already, and their next call meets the decoy. The listening
//! socket itself, which other processes share, is unaffected.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{F_GETFL, F_SETFD, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::descriptors::open_descriptors;
use super::platform::{accept_gate as platform, listener};

/// The signal that interrupts `accept`. It is ignored by default, so a stray one is harmless.
const WAKE: Signal = Signal::SIGURG;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AcceptGate {
    addrs: Vec<SockAddr>,
    decoys: Vec<Decoy>,
    /// Reserves a descriptor for a decoy, in case the server has used up all others by then.
    spare: Option<OwnedFd>,
}

#[derive(Debug)]
struct Decoy {
    number: RawFd,
    addr: SockAddr,
}

impl AcceptGate {
    /// The gate of `listeners` and of every copy that the server makes of them.
    ///
    /// Call it before there are other threads, which inherit this thread's signal mask.
    pub(crate) fn new(listeners: &[Socket]) -> io::Result<Self> {
        let mut wake = SigSet::empty();
        wake.add(WAKE);
        wake.thread_unblock()?;
        let addrs = listeners.iter().map(Socket::local_addr).collect::<io::Result<_>>()?;
        let spare = io::stdin().as_fd().try_clone_to_owned().ok();
        Ok(Self { addrs, decoys: Vec::new(), spare })
    }

    /// Closes the gate; connections already accepted are unaffected. Fails without a free descriptor: try
    /// again.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        catch_wake()?;
        let descriptors = open_descriptors();
        self.spare = None;
        for number in descriptors {
            if let Some(addr) = self.listens(number) {
                self.decoys.push(replace(number, &addr)?);
            }
        }
        Ok(())
    }

    /// Whether the server can still accept after [`close`](Self::close).
    pub(crate) fn stays_open(&self) -> bool {
        false
    }

    /// Makes threads that are in `accept` on the old socket go to the decoy. To be repeated: a thread may
    /// have been about to enter the call. Returns how many there were; an error means that this system
    /// cannot tell.
    pub(crate) fn interrupt_accepts(&self) -> io::Result<usize> {
        let numbers: Vec<RawFd> = self.decoys.iter().map(|decoy| decoy.number).collect();
        platform::interrupt_accepts(&numbers, WAKE)
    }

    /// Whether a thread may be returning from `accept` with a connection that has no descriptor yet.
    pub(crate) fn accept_in_progress(&self) -> bool {
        platform::other_threads_run()
    }

    /// Wakes `count` threads that are in `accept` on a decoy, by connecting to it. A loop that checks its
    /// stop flag between connections then checks it.
    pub(crate) fn wake_acceptors(&self, count: usize) {
        for decoy in &self.decoys {
            for _ in 0..count {
                // Refused if the server has closed its listener: then no thread waits there.
                let _ = connect(&decoy.addr);
            }
        }
    }

    /// The numbers under which the server holds its listeners on `addr`.
    fn listeners_on(&self, addr: &SockAddr) -> Vec<RawFd> {
        open_descriptors().into_iter().filter(|number| self.listens(*number).as_ref() == Some(addr)).collect()
    }

    /// How many connections that came in through this gate are open, whether or not the serve function has
    /// returned.
    pub(crate) fn connections(&self, _returned: bool) -> usize {
        open_descriptors().into_iter().filter(|number| self.serves(*number)).count()
    }

    /// How many connections are queued at the open gate for this child alone; an error means that this
    /// system cannot tell.
    pub(crate) fn queue_length(&self) -> io::Result<u32> {
        let mut queued = 0;
        for addr in &self.addrs {
            let own = self.listeners_on(addr).first().copied();
            if let Some(own) = own.filter(|listener| is_own(*listener)) {
                queued += listener::queue_length(own)?;
            }
        }
        Ok(queued)
    }

    fn listens(&self, number: RawFd) -> Option<SockAddr> {
        // SAFETY: borrowed for calls that leave it open; if it is gone, they fail.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let addr = SockRef::from(&descriptor).local_addr().ok().filter(|addr| self.addrs.contains(addr))?;
        getsockopt(&descriptor, AcceptConn).is_ok_and(|listening| listening).then_some(addr)
    }

    fn serves(&self, number: RawFd) -> bool {
        // SAFETY: as above.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let socket = SockRef::from(&descriptor);
        let Ok(local) = socket.local_addr() else { return false };
        self.addrs.iter().any(|addr| leads_through(addr, &local)) && socket.peer_addr().is_ok()
    }
}

/// Whether a connection with this `local` address came in through a listener on `addr`.
fn leads_through(addr: &SockAddr, local: &SockAddr) -> bool {
    match (addr.as_socket(), local.as_socket()) {
        (Some(addr), Some(local)) => {
            addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip())
        }
        _ => addr == local,
    }
}

/// Whether a listener belongs to one slot, and is not shared by all children.
fn is_own(number: RawFd) -> bool {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    SockRef::from(&descriptor).reuse_port().unwrap_or(false)
}

fn connect(addr: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(addr.domain(), Type::STREAM, None)?;
    socket.connect_timeout(addr, Duration::from_millis(100))
}

/// Puts a decoy over `number`, which listens on `addr`.
fn replace(number: RawFd, addr: &SockAddr) -> io::Result<Decoy> {
    let decoy: Socket = match addr.as_socket() {
        Some(addr) => TcpListener::bind((loopback(addr), 0))?.into(),
        None if addr.domain() == Domain::UNIX => platform::unix_decoy()?.into(),
        None => return Err(io::Error::other("a listener of an unknown kind")),
    };
    let addr = decoy.local_addr()?;
    copy_mode(number, &decoy)?;
    put(decoy.as_fd(), number)?;
    Ok(Decoy { number, addr })
}

fn loopback(addr: SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// From now on the signal interrupts calls: its handler does nothing, and there is no SA_RESTART.
fn catch_wake() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, so it is safe to run at any point.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// Gives `listener` the blocking mode of the one at `number`.
fn copy_mode(number: RawFd, listener: &Socket) -> io::Result<()> {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let mode = OFlag::from_bits_retain(fcntl(descriptor, F_GETFL)?);
    listener.set_nonblocking(mode.contains(OFlag::O_NONBLOCK))
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
