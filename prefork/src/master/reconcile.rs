//! What follows from the state of the fleet: programs, certificates and sockets that are needed, and where new
//! connections go.

use std::time::Instant;

use super::{Master, any_fleet};
use crate::supervisor::Event;

impl Master {
    /// Updates what follows from the state of the fleet: programs, certificates, what was opened for an
    /// upgrade, steering.
    pub(super) fn reconcile(&mut self) {
        self.keep_templates();
        self.programs.retain(|generation, _| self.supervisor.needs_generation(*generation));
        self.options.retain(|generation, _| self.supervisor.needs_generation(*generation));
        self.store.forget(|generation| self.supervisor.needs_generation(generation));
        self.start_problems.retain(|slot, _| *slot < self.supervisor.fleet_size());
        self.forget_canary();
        let upgrade = self.supervisor.upgrade_generation();
        self.next.take_if(|next| Some(next.generation) != upgrade);
        if !self.sockets.depend_on_holders() {
            return;
        }
        for addr in self.sockets.give_up_addresses(&self.holders) {
            self.report_given_up(&addr);
        }
        if let Err(error) = self.sockets.steer(&self.holders) {
            self.report_unsteered(&error);
        }
    }

    /// Closes the sockets of slots and of addresses that are gone, once the last child that holds them has
    /// exited. Until then it accepts what is queued there, and a slot that is added again gets its socket back.
    pub(super) fn close_vacated_sockets(&mut self) {
        // An address that leaves may be among those of the next program.
        if self.next.is_none() && self.sockets.depend_on_holders() {
            for addr in self.sockets.close_unneeded(self.supervisor.fleet_size(), &self.holders) {
                self.report_socket_reset(&addr);
            }
        }
    }

    /// Waits for the queues that a child accepts from, where the system refuses new connections. What
    /// queued for a slot without a child is reset when the listeners are closed.
    pub(super) fn check_queues(&mut self) {
        if self.sockets.have_last_queue(&self.holders) {
            return;
        }
        if self.sockets.have_orphaned_queue(&self.holders) {
            any_fleet::report_queue_left(&self.plan.logger);
        }
        self.supervisor.handle(Instant::now(), Event::QueuesEmpty);
    }
}
