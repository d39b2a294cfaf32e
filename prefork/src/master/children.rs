//! Starting and signalling children, and the causes of failed starts.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use super::messages::of_trial_child;
use super::process_log::ProcessLog;
use super::provision::Provision;
use super::{Cause, Master, ProcessId, messages};
use crate::error::{Error, Failure, chain};
use crate::hooks::CommandProducer;
use crate::listen::{HeldSockets, Holding};
use crate::protocol::{Handshake, Secrets, ToChild};
use crate::shared::LanePlace;
use crate::supervisor::{ChildId, Event};
use crate::sys::{self, Handover, Producer, Reactor};

/// A child's entry in the master.
#[derive(Debug)]
pub(super) struct ChildEntry {
    pub(super) slot: usize,
    pub(super) pid: u32,
    pub(super) generation: u32,
    /// Whether it took the handshake.
    pub(super) took_handshake: bool,
    ready: bool,
    /// The listeners that it was given.
    pub(super) listeners: HeldSockets,
    order: StopOrder,
    /// Its lane in the region of shared values.
    pub(super) lane: Option<LanePlace>,
    pub(super) log: ProcessLog,
}

/// The order to stop that a child was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopOrder {
    None,
    /// First it accepts what is queued on some of its listeners.
    AfterQueue,
    Given,
}

impl ChildEntry {
    /// An entry of a child that has just been started.
    pub(super) fn new(started: StartedChild) -> Self {
        let StartedChild { slot, generation, pid, listeners, lane } = started;
        Self {
            slot,
            pid,
            generation,
            took_handshake: false,
            ready: false,
            listeners,
            order: StopOrder::None,
            lane,
            log: ProcessLog::default(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn note_ready(&mut self) {
        self.ready = true;
        self.note_holding();
    }

    /// The order to stop that it was given.
    pub(super) fn order(&self) -> StopOrder {
        self.order
    }

    pub(super) fn note_order(&mut self, order: StopOrder) {
        self.order = order;
        self.note_holding();
    }

    fn note_holding(&mut self) {
        self.listeners.set(match self.order {
            StopOrder::None if self.ready => Holding::Live,
            StopOrder::AfterQueue => Holding::Emptying,
            StopOrder::None | StopOrder::Given => Holding::Idle,
        });
    }

    /// Notes a line that is a part of what the child logs. Returns whether it is one. Its errors are the reason for which
    /// it does not become ready.
    pub(super) fn note_logged(&mut self, line: &str) -> bool {
        self.log.note(line, (Some(self.slot), self.pid, self.generation), !self.ready)
    }
}

/// A child that has been started, by the master or by a template.
pub(super) struct StartedChild {
    pub(super) slot: usize,
    pub(super) generation: u32,
    pub(super) pid: u32,
    /// The listeners that it was given.
    pub(super) listeners: HeldSockets,
    pub(super) lane: Option<LanePlace>,
}

pub(super) type Panic = Box<dyn Any + Send>;

impl Master {
    pub(super) fn spawn(&mut self, child: ChildId, slot: usize, generation: u32) {
        let panicked = RefCell::new(None);
        let lane = self.lease_lane(slot);
        let started = self.start(child, slot, generation, lane, &panicked);
        let now = Instant::now();
        match started {
            Ok((pid, listeners)) => {
                self.note_started(child, StartedChild { slot, generation, pid, listeners, lane });
                self.supervisor.handle(now, Event::Spawned { child, pid });
            }
            Err(source) => {
                lane.iter().for_each(|lane| self.values.release(*lane, &self.plan.logger));
                let transient = sys::is_transient(&source);
                self.spawn_failed(child, slot, source, transient, panicked.into_inner());
                if self.supervisor.is_upgrade_trial(child) {
                    let problem = self.start_problems.get(&slot);
                    self.trial_failure = problem.map(|problem| of_trial_child(slot, problem));
                }
                self.supervisor.handle(now, Event::SpawnFailed { child, transient });
                self.forget_harmless_cause();
            }
        }
    }

    /// The child has a process.
    pub(super) fn note_started(&mut self, child: ChildId, started: StartedChild) {
        let StartedChild { slot, pid, lane, .. } = started;
        self.start_problems.remove(&slot);
        // One that checks the next program is not told its lane.
        let joins = !self.supervisor.is_upgrade_check(child);
        lane.iter().filter(|_| joins).for_each(|lane| self.values.note_pid(*lane, pid));
        if self.supervisor.is_upgrade_trial(child) {
            self.trial_failure = None;
        }
        let entry = ChildEntry::new(started);
        entry.report_started(&self.plan.logger);
        self.children.insert(child, entry);
    }

    /// A lane for the slot's next child.
    pub(super) fn lease_lane(&self, slot: usize) -> Option<LanePlace> {
        let lane = self.values.lease();
        if lane.is_none() && self.values.memory().is_some() {
            let event = self.plan.logger.event("not_shared");
            event.warn(format_args!(
                "the next child of slot {slot} counts its shared values alone: there are too many processes; lower \
                 `workers` or `reload_parallel`"
            ));
        }
        lane
    }

    fn start(
        &mut self,
        child: ChildId,
        slot: usize,
        generation: u32,
        lane: Option<LanePlace>,
        panicked: &RefCell<Option<Panic>>,
    ) -> io::Result<(u32, HeldSockets)> {
        let command = self.program_of(generation)?.command();
        let producer = self.plan.hooks.command_producer.clone();
        let mut pid = 0;
        let listeners = self.start_with(child, slot, generation, lane, |reactor, handover| {
            pid = run(reactor, child.into(), command, producer.as_deref(), panicked, handover)?;
            Ok(())
        })?;
        if self.supervisor.is_upgrade_check(child) {
            self.reactor.expect_long_line(child.into());
            return Ok((pid, self.holders.add(Vec::new(), Holding::Idle)));
        }
        Ok((pid, listeners))
    }

    /// Starts a child with what it is given. Returns its listeners.
    pub(super) fn start_with(
        &mut self,
        child: ChildId,
        slot: usize,
        generation: u32,
        lane: Option<LanePlace>,
        start: impl FnOnce(&mut Reactor<ProcessId>, &Handover<'_>) -> io::Result<()>,
    ) -> io::Result<HeldSockets> {
        let Provision { handshake, listeners, secrets } = self.provide(child, slot, generation)?;
        let handshake = Handshake { lane: lane.filter(|_| handshake.check.is_none()), ..handshake };
        let sockets: Vec<&Socket> = listeners.iter().map(|listener| &**listener).collect();
        let handover = Handover {
            handshake: &handshake.to_line(),
            listeners: &sockets,
            secrets: &secrets,
            memory: self.values.memory().filter(|_| handshake.lane.is_some()),
        };
        start(&mut self.reactor, &handover)?;
        Ok(self.holders.add(listeners.iter().map(Arc::downgrade).collect(), Holding::Idle))
    }

    /// Starts a process of this program that is given no listeners.
    pub(super) fn start_process(
        &mut self,
        key: ProcessId,
        generation: u32,
        handshake: Handshake,
        secrets: &Secrets,
        panicked: &RefCell<Option<Panic>>,
    ) -> io::Result<u32> {
        let command = self.program_of(generation)?.command();
        let Provision { handshake, secrets, .. } = Provision::new(handshake, Vec::new(), secrets);
        let handover =
            Handover { handshake: &handshake.to_line(), listeners: &[], secrets: &secrets, memory: None };
        let producer = self.plan.hooks.command_producer.as_deref();
        run(&mut self.reactor, key, command, producer, panicked, &handover)
    }

    /// Notes why a child could not be started.
    pub(super) fn note_not_started(
        &mut self,
        child: ChildId,
        slot: usize,
        transient: bool,
        source: io::Error,
    ) {
        let failure = Failure::NotStarted { slot, source };
        self.report_start_problem(child, slot, transient, chain(&failure).to_string());
        self.last_failure = Some(failure);
    }

    fn spawn_failed(
        &mut self,
        child: ChildId,
        slot: usize,
        source: io::Error,
        transient: bool,
        panic: Option<Panic>,
    ) {
        if transient || self.plan.hooks.command_producer.is_none() {
            return self.note_not_started(child, slot, transient, source);
        }
        let error = Error::CommandProducer { source };
        self.report_start_problem(child, slot, transient, messages::not_started_by_producer(slot, &error));
        self.record_cause(panic.map_or(Cause::Error(error), Cause::Panic));
    }

    /// Records a possible cause of the fleet's end. The first one counts.
    pub(super) fn record_cause(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// Reports a `command_producer` whose process never takes the handshake, which would otherwise look
    /// like a crashing server.
    pub(super) fn check_handshake(&mut self, now: Instant, child: ChildId) {
        let Some(entry) = self.children.get(&child) else { return };
        let producer_works = entry.took_handshake || self.supervisor.has_announced_ready();
        if producer_works || entry.order() != StopOrder::None || self.plan.hooks.command_producer.is_none() {
            return;
        }
        let source = messages::handshake_not_taken(entry.pid);
        self.record_cause(Cause::Error(Error::CommandProducer { source }));
        self.supervisor.handle(now, Event::HandshakeRefused(child));
        self.forget_harmless_cause();
    }

    /// Drops a cause that did not end the fleet, such as that of an aborted reload.
    pub(super) fn forget_harmless_cause(&mut self) {
        if self.supervisor.is_active() {
            self.cause = None;
        }
    }

    pub(super) fn order_stop(
        &mut self,
        child: ChildId,
        how: impl FnOnce(&mut Reactor<ProcessId>) -> io::Result<()>,
    ) {
        if let Some(entry) = self.children.get_mut(&child) {
            entry.note_order(StopOrder::Given);
            self.signal(child, how);
        }
    }

    pub(super) fn signal(
        &mut self,
        child: ChildId,
        how: impl FnOnce(&mut Reactor<ProcessId>) -> io::Result<()>,
    ) {
        let Some(entry) = self.children.get(&child) else { return };
        if let Err(error) = how(&mut self.reactor) {
            entry.report_unsignalled(&self.plan.logger, &error);
        }
    }

    /// Asks a child to stop; if no other child accepts from one of its listeners, now or later, after it has
    /// accepted what is queued there. One that is not ready may not read messages yet, and serves nothing.
    pub(super) fn terminate(&mut self, child: ChildId) {
        let Some(entry) = self.children.get_mut(&child) else { return };
        entry.note_order(StopOrder::AfterQueue);
        let ready = entry.is_ready();
        let queues = if self.sockets.depend_on_holders() {
            let held = entry.listeners.sockets();
            self.sockets.last_held_by(held, self.supervisor.fleet_size(), &self.holders)
        } else {
            Vec::new()
        };
        if queues.is_empty() {
            self.send(child, &ToChild::Stop);
            self.order_stop(child, |reactor| if ready { Ok(()) } else { reactor.end_early(child.into()) });
        } else {
            // New connections go elsewhere from now on.
            self.reconcile();
            self.send(child, &ToChild::StopAfterQueue(queues));
        }
        self.supervisor.handle(Instant::now(), Event::StopOrdered(child));
    }

    /// Returns whether the message was sent.
    pub(super) fn send(&mut self, child: ChildId, message: &ToChild) -> bool {
        let Some(entry) = self.children.get(&child) else { return false };
        match self.reactor.send(child.into(), &message.to_line()) {
            Ok(()) => return true,
            // It has closed its end, which is the next event: it has exited, or that is reported.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => entry.report_unsent(&self.plan.logger, message, &error),
        }
        false
    }
}

/// Starts a process by the command or, if there is one, by the user's producer. Returns its pid.
fn run(
    reactor: &mut Reactor<ProcessId>,
    key: ProcessId,
    command: Command,
    producer: Option<&CommandProducer>,
    panicked: &RefCell<Option<Panic>>,
    handover: &Handover<'_>,
) -> io::Result<u32> {
    let producer = producer.map(|producer| |command| produce(producer, panicked, command));
    let producer = producer.as_ref().map(|producer| producer as &Producer<'_>);
    reactor.spawn(key, command, producer, handover)
}

/// Calls the user's producer, and turns a panic into an error.
fn produce(
    producer: &CommandProducer,
    panicked: &RefCell<Option<Panic>>,
    command: Command,
) -> io::Result<Child> {
    panic::catch_unwind(AssertUnwindSafe(|| producer(command))).unwrap_or_else(|payload| {
        *panicked.borrow_mut() = Some(payload);
        Err(io::Error::other("it panicked"))
    })
}
