//! Which sockets of a group get new connections.

use std::io;

use super::SocketGroup;
use crate::listen::{Holders, Sharing};
use crate::sys;

/// How the kernel spreads new connections over the sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Steering {
    /// Over all of them.
    Everywhere,
    /// Over those at these places.
    Only(Vec<usize>),
    /// As the previous program in this process set it, or as it was before a failure.
    Unknown,
}

/// What decides to which sockets new connections are steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SteeredFor {
    /// See [`Holders::changes`].
    changes: u64,
    sockets: usize,
    in_order: bool,
}

impl SocketGroup {
    /// Opens the missing sockets up to this slot's, because the fleet has grown. New connections go to the other
    /// sockets until the next [`steer`](Self::steer): if the slot's child cannot be started, its socket is closed.
    pub(in crate::listen) fn grow_to(&mut self, slot: usize) -> io::Result<()> {
        let grows = self.sharing == Sharing::Reuseport && self.sockets.len() <= slot;
        let is_steered = self.steering != Steering::Everywhere || !self.in_order;
        if !grows || self.sockets.is_empty() || (is_steered && self.sockets.len() > 1) {
            return self.open_up_to(slot);
        }
        let present: Vec<usize> = (0..self.sockets.len()).collect();
        let steered = self.keep_to(&present);
        let opened = self.open_up_to(slot);
        if !steered {
            // The kernel had no group yet. Where it cannot steer, the new socket gets its share at once.
            self.keep_to(&present);
        }
        opened
    }

    /// Steers new connections to these; returns whether the system can.
    fn keep_to(&mut self, present: &[usize]) -> bool {
        self.steered_for = None;
        let steered = self.sockets.first().is_some_and(|first| sys::steer(first, present).is_ok());
        if steered {
            self.steering = Steering::Only(present.to_vec());
        }
        steered
    }

    /// See [`SocketSet::steer`](crate::listen::SocketSet::steer).
    pub(in crate::listen) fn steer(&mut self, holders: &Holders) -> io::Result<()> {
        let state =
            SteeredFor { changes: holders.changes(), sockets: self.sockets.len(), in_order: self.in_order };
        if self.steered_for == Some(state) {
            return Ok(());
        }
        let live = |place: &usize| holders.is_live(&self.sockets[*place]);
        let steered = self.steer_to((0..self.sockets.len()).filter(live).collect());
        // What was refused is tried again.
        self.steered_for = (steered.is_ok() && !self.refusal_reported).then_some(state);
        steered
    }

    pub(super) fn steer_to(&mut self, targets: Vec<usize>) -> io::Result<()> {
        let is_group = self.sharing == Sharing::Reuseport || self.sockets.len() > 1;
        let Some(first) = self.sockets.first().filter(|_| is_group) else { return Ok(()) };
        let everywhere = targets.is_empty() || targets.len() == self.sockets.len() || !self.in_order;
        let wanted = if everywhere { Steering::Everywhere } else { Steering::Only(targets) };
        if self.steering == wanted {
            return Ok(());
        }
        let steered = match &wanted {
            Steering::Only(targets) => sys::steer(first, targets),
            Steering::Everywhere | Steering::Unknown => sys::unsteer(first),
        };
        match steered {
            Ok(()) => {
                self.steering = wanted;
                self.refusal_reported = false;
                Ok(())
            }
            Err(error) => {
                // The last program would steer to slots that are not live any more. The next call tries again.
                let detached = sys::unsteer(first).is_ok();
                self.steering = if detached { Steering::Everywhere } else { Steering::Unknown };
                if std::mem::replace(&mut self.refusal_reported, true) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// From now on the first socket is the only one on its address.
    pub(super) fn leave_kernel_group(&mut self) {
        let Some(first) = self.sockets.first() else { return };
        // Errors: it was not steered, or is no TCP socket.
        let _ = sys::unsteer(first);
        let _ = sys::leave_reuseport_group(first);
        self.steered_for = None;
        self.steering = Steering::Everywhere;
    }
}
