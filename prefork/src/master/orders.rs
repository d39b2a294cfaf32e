//! What the master has its children do.

use std::io;

use super::Master;
use crate::handoff::Instruction;
use crate::listener::Sharing;
use crate::supervisor::ChildId;
use crate::sys::{self, Reactor};

impl Master {
    pub(super) fn dismiss(
        &mut self,
        child: ChildId,
        how: impl FnOnce(&mut Reactor<ChildId>) -> io::Result<()>,
    ) {
        if let Some(member) = self.crew.get_mut(&child) {
            member.dismissed = true;
            if let Err(error) = how(&mut self.reactor) {
                let (slot, pid) = (member.slot, member.pid);
                let event = self.plan.logger.event("cannot_signal").child(slot, pid);
                event.warn(format_args!("child {slot} (pid {pid}) cannot be signalled: {error}"));
            }
        }
    }

    /// In reuseport mode, lets the child serve what waits on its own socket before it stops.
    pub(super) fn retire(&mut self, child: ChildId) {
        match self.plan.sharing {
            Sharing::Shared => self.dismiss(child, |reactor| reactor.terminate(child)),
            Sharing::Reuseport => {
                self.settle();
                self.dismiss(child, |reactor| reactor.say(child, Instruction::Retire.to_line()));
            }
        }
    }

    /// While a slot waits for its next child, a live one serves what has queued on its socket.
    pub(super) fn lend_socket(&mut self, slot: usize) {
        self.settle();
        let Some(child) = self.supervisor.stand_in_for(slot) else { return };
        // Where nobody can tell how many wait, they wait for the slot's next child.
        let has_queue = |socket: &&_| sys::queued(socket).is_ok_and(|queued| queued > 0);
        let lent = self
            .sockets
            .own_of(slot)
            .filter(has_queue)
            .try_for_each(|socket| self.reactor.lend(child, Instruction::StandIn.to_line(), socket));
        if let Err(error) = lent {
            let event = self.plan.logger.event("cannot_lend").slot(slot);
            event.warn(format_args!("cannot lend the socket of slot {slot}: {error}"));
        }
    }

    pub(super) fn tell(&mut self, child: ChildId, instruction: Instruction) {
        if let Err(error) = self.reactor.say(child, instruction.to_line()) {
            let event = self.plan.logger.event("cannot_tell");
            event.warn(format_args!("cannot tell a child to {}: {error}", instruction.to_line()));
        }
    }
}
