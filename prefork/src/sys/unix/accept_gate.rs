//! Shuts the listeners of a server that does not know that it is being stopped.
//!
//! The server holds its listener by number and may sit in `accept` on it, or have it in an event
//! loop. A fresh listening socket that nobody knows is put over that number, with the same blocking
//! mode: from then on every `accept` waits there for ever, or would block. A thread that was in
//! `accept` already is interrupted by a signal, and its retry meets the new socket. The listening
//! socket itself, which other processes share, never notices.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{F_GETFL, F_SETFD, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::linux;
use super::program::open_descriptors;

/// The signal that interrupts `accept`: ignored by default, so a stray one harms nobody.
pub(super) const WAKE: Signal = Signal::SIGURG;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AcceptGate {
    addrs: Vec<SockAddr>,
    decoys: Vec<Decoy>,
    /// Holds a descriptor for a decoy, in case the server has used up all others by then.
    spare: Option<OwnedFd>,
}

#[derive(Debug)]
struct Decoy {
    number: RawFd,
    addr: SockAddr,
}

impl AcceptGate {
    /// The gate that `listeners` are, and every copy that the server makes of them.
    ///
    /// To be made before there are other threads, which inherit this one's signal mask.
    pub(crate) fn new(listeners: &[Socket]) -> io::Result<Self> {
        let mut wake = SigSet::empty();
        wake.add(WAKE);
        wake.thread_unblock()?;
        let addrs = listeners.iter().map(Socket::local_addr).collect::<io::Result<_>>()?;
        let spare = io::stdin().as_fd().try_clone_to_owned().ok();
        Ok(Self { addrs, decoys: Vec::new(), spare })
    }

    /// Shuts it. Fails where a descriptor is wanted and none is left: try again.
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

    /// Whether the server can accept through it although it is shut.
    pub(crate) fn stays_open(&self) -> bool {
        false
    }

    /// Makes threads that sit in `accept` on the old socket go to the new one. To be repeated: a
    /// thread may have been on its way into the call. Says how many sat there; an error means that
    /// this system cannot tell.
    pub(crate) fn interrupt_accepts(&self) -> io::Result<usize> {
        let numbers: Vec<RawFd> = self.decoys.iter().map(|decoy| decoy.number).collect();
        linux::interrupt_accepts(&numbers)
    }

    /// Whether a thread may be on its way out of `accept`, with a connection that nobody can see yet.
    pub(crate) fn somebody_may_be_in_it(&self) -> bool {
        linux::others_are_moving()
    }

    /// Wakes `count` threads that sit in `accept` behind the shut gate with a connection from
    /// nobody, so that a loop which looks at its stop flag between connections gets to look.
    pub(crate) fn wake_acceptors(&self, count: usize) {
        for decoy in &self.decoys {
            for _ in 0..count {
                // Refused if the server has closed its listener: then nobody waits there.
                let _ = connect(&decoy.addr);
            }
        }
    }

    /// The numbers under which the server holds its listeners on `addr`.
    fn listeners_on(&self, addr: &SockAddr) -> Vec<RawFd> {
        open_descriptors().into_iter().filter(|number| self.listens(*number).as_ref() == Some(addr)).collect()
    }

    /// How many connections that came in through this gate are open, whether or not the server has left
    /// it by now.
    pub(crate) fn connections(&self, _is_left: bool) -> usize {
        open_descriptors().into_iter().filter(|number| self.serves(*number)).count()
    }

    /// How many connections wait behind the open gate for this child alone; an error means that this
    /// system cannot tell.
    pub(crate) fn queued(&self) -> io::Result<u32> {
        let mut queued = 0;
        for addr in &self.addrs {
            let listener = self.listeners_on(addr).first().copied();
            if let Some(listener) = listener.filter(|listener| is_own(*listener)) {
                queued += linux::queued(listener)?;
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

/// Whether a connection that is `local` here has come in through a listener on `addr`.
fn leads_through(addr: &SockAddr, local: &SockAddr) -> bool {
    match (addr.as_socket(), local.as_socket()) {
        (Some(addr), Some(local)) => {
            addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip())
        }
        _ => addr == local,
    }
}

/// Whether a listener is its slot's alone, and not one that all children accept from.
fn is_own(number: RawFd) -> bool {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    SockRef::from(&descriptor).reuse_port().unwrap_or(false)
}

fn connect(addr: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(addr.domain(), Type::STREAM, None)?;
    socket.connect_timeout(addr, Duration::from_millis(100))
}

/// Puts a listening socket that nobody knows over `number`, which listens on `addr`.
fn replace(number: RawFd, addr: &SockAddr) -> io::Result<Decoy> {
    let decoy: Socket = match addr.as_socket() {
        Some(addr) => TcpListener::bind((loopback(addr), 0))?.into(),
        None if addr.domain() == Domain::UNIX => linux::nameless_unix_listener()?.into(),
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
    // SAFETY: the number is the server's listener, as we saw a moment ago; it stays an open
    // listening socket, only another one. Should the server have closed it in that moment, it
    // gains a socket that nobody uses. `into_raw_fd` leaves the number with its owner, the server.
    let replaced = unsafe { nix::unistd::dup2_raw(source, number) }?;
    fcntl(&replaced, F_SETFD(FdFlag::FD_CLOEXEC))?;
    let _ = replaced.into_raw_fd();
    Ok(())
}
