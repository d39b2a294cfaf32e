//! What the processes do: events of the reactor become events of the supervisor.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::children::{ChildEntry, StopOrder};
use super::{Master, ProcessId};
use crate::error::Failure;
use crate::protocol::{OwnPid, ToChild, ToMaster, UpgradePlan};
use crate::supervisor::{ChildId, Event, Exit, RecycleReason};
use crate::sys::ProcessEvent;

impl Master {
    /// Translates an event of the reactor into an event of the supervisor.
    pub(super) fn on_event(&mut self, event: ProcessEvent<ProcessId>) {
        use ProcessId::{Child, Template};

        let now = Instant::now();
        match event {
            ProcessEvent::Signal(signal) => self.on_signal(signal),
            ProcessEvent::Message(Child(child), line) => self.on_message(now, child, &line),
            ProcessEvent::HungUp(Child(child)) => self.on_link_closed(now, child),
            ProcessEvent::BadMessage(Child(child), reason) => self.on_link_abused(now, child, &reason),
            ProcessEvent::Exited(Child(child), status, cpu) => self.on_exited(now, child, status, cpu),
            ProcessEvent::Message(Template(template), line) => self.on_template_message(now, template, &line),
            ProcessEvent::BadMessage(Template(template), reason) => {
                self.on_template_abused(template, &reason)
            }
            ProcessEvent::Exited(Template(template), status, _) => {
                self.on_template_exited(now, template, status);
            }
            // It is about to exit: it has no other reason.
            ProcessEvent::HungUp(Template(_)) => {}
        }
    }

    fn on_message(&mut self, now: Instant, child: ChildId, line: &str) {
        if let Some(OwnPid(pid)) = OwnPid::from_line(line) {
            // The template may have told it.
            if self.templates.is_ordered(child) {
                self.note_pid(child, pid);
                self.perform_for_templates();
            }
            return;
        }
        let Some(entry) = self.children.get_mut(&child) else { return };
        if UpgradePlan::is_one(line) && self.supervisor.is_upgrade_check(child) {
            // From any other child it is an unknown message.
            return self.on_upgrade_plan(child, line);
        }
        match ToMaster::from_line(line) {
            Some(ToMaster::Received) => entry.took_handshake = true,
            Some(ToMaster::Ready) if !entry.is_ready() => {
                entry.note_ready();
                self.report_ready(child);
                self.supervisor.handle(now, Event::Ready(child));
            }
            Some(ToMaster::Ready) => {}
            Some(ToMaster::Recycle) => self.recycle(now, child, RecycleReason::Retired),
            Some(ToMaster::RecycleOfSize) => self.recycle(now, child, RecycleReason::Size),
            Some(ToMaster::Hangs) => self.supervisor.handle(now, Event::Hangs(child)),
            Some(ToMaster::StopRequested) => {
                // Otherwise the child would stop by itself, maybe before a new one is ready.
                self.send(child, &ToChild::StopNoted);
                self.recycle(now, child, RecycleReason::Signalled);
            }
            Some(ToMaster::Candidate) => self.supervisor.handle(now, Event::Candidate(child)),
            Some(ToMaster::Resigned) => self.on_resigned(now, child),
            None if entry.note_logged(line) => {}
            None => entry.report_unknown_message(&self.plan.logger, line),
        }
    }

    fn recycle(&mut self, now: Instant, child: ChildId, reason: RecycleReason) {
        self.supervisor.handle(now, Event::RecycleRequested(child, reason));
    }

    /// A child that exits closes its link as well. The supervisor decides when it has not exited in time.
    fn on_link_closed(&mut self, now: Instant, child: ChildId) {
        if self.templates.is_ordered(child) {
            return self.on_order_link_closed(now, child);
        }
        self.check_handshake(now, child);
        if self.children.contains_key(&child) {
            self.supervisor.handle(now, Event::LinkClosed(child));
        }
    }

    fn on_link_abused(&mut self, now: Instant, child: ChildId, reason: &str) {
        let Some(entry) = self.children.get(&child) else { return };
        entry.report_abuse(&self.plan.logger, reason);
        self.supervisor.handle(now, Event::LinkAbused(child));
    }

    fn on_exited(&mut self, now: Instant, child: ChildId, status: ExitStatus, cpu: Duration) {
        let Some(entry) = self.children.remove(&child) else { return };
        let ChildEntry { slot, pid, lane, .. } = entry;
        let (ready, order) = (entry.is_ready(), entry.order());
        lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
        self.observers.child_ended(slot, cpu);
        let was_late =
            matches!(&self.last_failure, Some(Failure::NotReady { pid: late, .. }) if *late == pid);
        if order != StopOrder::None {
            entry.report_stopped(&self.plan.logger, status);
        } else if !was_late {
            entry.report_exit(&self.plan.logger, status);
            let failure = Failure::Exited { slot, pid, ready, status };
            self.note_trial_failure(child, &entry, &failure);
            self.last_failure = Some(failure);
        }
        // Its listeners are held no more when vacated sockets are closed.
        drop(entry);
        self.supervisor.handle(now, Event::Exited { child, exit: exit_of(status) });
        self.close_vacated_sockets();
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match status.code() {
        Some(0) => Exit::Clean,
        Some(_) => Exit::Failed,
        // On Windows there is always a code.
        None => Exit::Signalled,
    }
}
