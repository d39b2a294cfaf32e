//! Shuts the listeners of a server that does not know that it is being stopped.
//!
//! The server holds its listener by number and may sit in `accept` on it, or have it in an event
//! loop. A fresh listening socket that nobody knows is put over that number, with the same blocking
//! mode: from then on every `accept` waits there for ever, or would block. A thread that was in
//! `accept` already is interrupted by a signal, and its retry meets the new socket. The listening
//! socket itself, which other processes share, never notices.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{F_GETFL, F_SETFD, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{SockaddrStorage, getpeername, getsockname, getsockopt, sockopt::AcceptConn};

use super::linux;
use super::program::open_descriptors;

/// The signal that interrupts `accept`: ignored by default, so a stray one harms nobody.
pub(super) const WAKE: Signal = Signal::SIGURG;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Door {
    addrs: Vec<SocketAddr>,
    decoys: Vec<Decoy>,
    /// Holds a descriptor for a decoy, in case the server has used up all others by then.
    spare: Option<OwnedFd>,
}

#[derive(Debug)]
struct Decoy {
    number: RawFd,
    addr: SocketAddr,
}

impl Door {
    /// The door that `listeners` are, and every copy that the server makes of them.
    ///
    /// To be made before there are other threads, which inherit this one's signal mask.
    pub(crate) fn new(listeners: &[TcpListener]) -> io::Result<Self> {
        let mut wake = SigSet::empty();
        wake.add(WAKE);
        wake.thread_unblock()?;
        let addrs = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let spare = io::stdin().as_fd().try_clone_to_owned().ok();
        Ok(Self { addrs, decoys: Vec::new(), spare })
    }

    /// Shuts it. Fails where a descriptor is wanted and none is left: try again.
    pub(crate) fn shut(&mut self) -> io::Result<()> {
        catch_wake()?;
        let descriptors = open_descriptors();
        self.spare = None;
        for number in descriptors {
            if let Some(addr) = self.listens(number) {
                self.decoys.push(replace(number, addr)?);
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

    /// Wakes `count` threads that sit in `accept` behind the shut door with a connection from
    /// nobody, so that a loop which looks at its stop flag between connections gets to look.
    pub(crate) fn knock(&self, count: usize) {
        for decoy in &self.decoys {
            for _ in 0..count {
                // Refused if the server has closed its listener: then nobody waits there.
                let _ = TcpStream::connect_timeout(&decoy.addr, Duration::from_millis(100));
            }
        }
    }

    /// The numbers under which the server holds its listeners.
    pub(super) fn listeners(&self) -> Vec<RawFd> {
        open_descriptors().into_iter().filter(|number| self.listens(*number).is_some()).collect()
    }

    /// How many connections that came in through this door are open.
    pub(crate) fn connections(&self) -> usize {
        open_descriptors().into_iter().filter(|number| self.serves(*number)).count()
    }

    /// How many connections wait behind the open door; an error means that this system cannot tell.
    pub(crate) fn queued(&self) -> io::Result<u32> {
        self.listeners().first().map_or(Ok(0), |listener| linux::queued(*listener))
    }

    fn listens(&self, number: RawFd) -> Option<SocketAddr> {
        let addr = local_addr(number).filter(|addr| self.addrs.contains(addr))?;
        // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        getsockopt(&descriptor, AcceptConn).is_ok_and(|listening| listening).then_some(addr)
    }

    fn serves(&self, number: RawFd) -> bool {
        let Some(local) = local_addr(number) else { return false };
        let through = |addr: &SocketAddr| {
            addr.port() == local.port() && (addr.ip().is_unspecified() || addr.ip() == local.ip())
        };
        self.addrs.iter().any(through) && getpeername::<SockaddrStorage>(number).is_ok()
    }
}

fn local_addr(number: RawFd) -> Option<SocketAddr> {
    let name = getsockname::<SockaddrStorage>(number).ok()?;
    if let Some(v4) = name.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    name.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into())
}

/// Puts a listening socket that nobody knows over `number`.
fn replace(number: RawFd, addr: SocketAddr) -> io::Result<Decoy> {
    let loopback: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let decoy = TcpListener::bind((loopback, 0))?;
    let addr = decoy.local_addr()?;
    copy_mode(number, &decoy)?;
    put(decoy.as_fd(), number)?;
    Ok(Decoy { number, addr })
}

/// From now on the signal interrupts calls: its handler does nothing, and there is no SA_RESTART.
pub(super) fn catch_wake() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, so it is safe to run at any point.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// Gives `listener` the blocking mode of the one at `number`.
pub(super) fn copy_mode(number: RawFd, listener: &TcpListener) -> io::Result<()> {
    // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let mode = OFlag::from_bits_retain(fcntl(descriptor, F_GETFL)?);
    listener.set_nonblocking(mode.contains(OFlag::O_NONBLOCK))
}

/// `dup2`, with close-on-exec.
pub(super) fn put(source: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the number is the server's listener, as we saw a moment ago; it stays an open
    // listening socket, only another one. Should the server have closed it in that moment, it
    // gains a socket that nobody uses. `into_raw_fd` leaves the number with its owner, the server.
    let replaced = unsafe { nix::unistd::dup2_raw(source, number) }?;
    fcntl(&replaced, F_SETFD(FdFlag::FD_CLOEXEC))?;
    let _ = replaced.into_raw_fd();
    Ok(())
}
