//! Serves what waits on another slot's socket through this server's own listener.
//!
//! A slot that has to wait for its next child may have connections in its queue. A live child is
//! lent the socket, and for as long as something waits there, puts it where its server expects its
//! own listener: over the same number. A thread in `accept` is interrupted and goes on with the
//! other queue. An event loop would not notice; so the socket is registered with it just as the
//! server's own is, and taken out again afterwards.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::Socket;

use super::linux::{self, Registration};
use super::{AcceptGate, accept_gate};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct StandIn {
    lent: Socket,
    /// While the lent socket is in place: what stood there.
    replaced: Vec<Replaced>,
    /// Where it has been in place.
    numbers: Vec<RawFd>,
}

#[derive(Debug)]
struct Replaced {
    number: RawFd,
    own: OwnedFd,
    registrations: Vec<Registration>,
}

impl StandIn {
    pub(crate) fn new(lent: Socket) -> Self {
        Self { lent, replaced: Vec::new(), numbers: Vec::new() }
    }

    /// Puts the lent socket in place if something waits there, and takes it away if nothing does.
    pub(crate) fn look(&mut self, gate: &AcceptGate) -> io::Result<()> {
        let waiting = linux::queued(self.lent.as_raw_fd())? > 0;
        match (waiting, self.is_in_place()) {
            // What could not be put in place whole must not stay there in part.
            (true, false) => self.begin(gate).inspect_err(|_| drop(self.end())),
            (false, true) => self.end(),
            // A thread may have been on its way into `accept` on what was there before.
            (true, true) | (false, false) => self.interrupt(),
        }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        !self.replaced.is_empty()
    }

    fn begin(&mut self, gate: &AcceptGate) -> io::Result<()> {
        let lent = self.lent.as_raw_fd();
        let same_gate = gate.listeners_on(&self.lent.local_addr()?);
        let own: Vec<RawFd> = same_gate.into_iter().filter(|number| *number != lent).collect();
        for number in own {
            let replaced = Replaced::new(number)?;
            let registrations = replaced.registrations.clone();
            self.replaced.push(replaced);
            self.numbers.push(number);
            accept_gate::copy_mode(number, &self.lent)?;
            accept_gate::put(self.lent.as_fd(), number)?;
            registrations.iter().try_for_each(|registration| registration.add(number))?;
        }
        self.interrupt()
    }

    /// Puts everything back.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let outcome = self.replaced.iter().try_for_each(Replaced::restore);
        self.replaced.clear();
        outcome.and(self.interrupt())
    }

    fn interrupt(&self) -> io::Result<()> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        accept_gate::catch_wake()?;
        linux::interrupt_accepts(&self.numbers).map(drop)
    }
}

impl Replaced {
    fn new(number: RawFd) -> io::Result<Self> {
        // SAFETY: borrowed for one call that leaves it open; if it is gone, the call fails.
        let own = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()?;
        Ok(Self { number, own, registrations: Registration::all_of(number)? })
    }

    fn restore(&self) -> io::Result<()> {
        for registration in &self.registrations {
            registration.delete(self.number)?;
        }
        accept_gate::put(self.own.as_fd(), self.number)?;
        // What came in meanwhile was announced to a server that looked at the other queue.
        self.registrations.iter().try_for_each(|registration| registration.announce_again(self.number))
    }
}
