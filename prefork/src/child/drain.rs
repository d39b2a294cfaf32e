//! The link thread: waits for messages of the master, and drains the child when it has to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::ServeState;
use super::watchdog::Health;
use crate::error::chain;
use crate::hooks::{self, HookFailure, Hooks};
use crate::logging::{self, Logger};
use crate::protocol::{ToChild, ToMaster};
use crate::sys::{self, AcceptGate, LinkEvent, MasterLink};

/// Connections are counted this often at first, and ever less often while a long one lasts.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST_LOOK: Duration = Duration::from_millis(50);
/// Threads that were about to enter `accept` when the gate was closed are in it after this many looks.
const INTERRUPTIONS: u32 = 10;
/// How often threads that sit in `accept` behind the closed gate are woken to look at their stop flag.
const ACCEPT_WAKES: u32 = 5;
/// For this many looks, a thread that is not at rest may be one that has just accepted a connection.
const RESTLESS_LOOKS: u32 = 40;
/// A queue that was empty for this many looks in a row stays empty: handshakes that had begun are over.
const EMPTY_LOOKS: u32 = 12;

/// See the [module](self).
pub(super) struct LinkThread {
    state: Arc<ServeState>,
    hooks: Hooks,
    logger: Logger,
    gate: AcceptGate,
    progress: DrainProgress,
}

/// How far the stop has come.
#[derive(Debug)]
struct DrainProgress {
    stage: DrainStage,
    interruptions: u32,
    wakes: u32,
    /// How many looks have found no connection, but threads that are not at rest.
    restless_looks: u32,
    /// Whether threads that sit in `accept` can be made to leave it.
    can_interrupt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainStage {
    /// No stop is under way.
    Serving,
    /// Accepting what is still queued on a socket that gets no new connections.
    Emptying { empty_looks: u32 },
    /// About to close the gate; `reported` if an attempt has failed and was logged.
    Closing { reported: bool },
    /// The gate is closed.
    Draining,
}

impl Default for DrainProgress {
    fn default() -> Self {
        Self {
            stage: DrainStage::Serving,
            interruptions: 0,
            wakes: 0,
            restless_looks: 0,
            can_interrupt: true,
        }
    }
}

impl LinkThread {
    pub(super) fn new(state: Arc<ServeState>, hooks: Hooks, logger: Logger, gate: AcceptGate) -> Self {
        Self { state, hooks, logger, gate, progress: DrainProgress::default() }
    }

    pub(super) fn run(mut self, mut watch: MasterLink) {
        if let Err(error) = self.watch(&mut watch) {
            let slot = self.state.context.slot();
            let event = self.logger.event("cannot_watch");
            event.error(format_args!("child {slot} can no longer watch its master: {error}"));
            // Without the link it could outlive its master. The master replaces it.
            logging::flush();
            sys::exit_now(1);
        }
    }

    /// Sleeps until the master sends a message, then drains. Ends the process, or lets the serve function
    /// do so.
    fn watch(&mut self, watch: &mut MasterLink) -> io::Result<()> {
        let mut pause = FIRST_LOOK;
        loop {
            let at_rest = self.progress.stage == DrainStage::Serving;
            if at_rest {
                pause = FIRST_LOOK;
            }
            let timeout = if at_rest { self.state.context.watchdog().interval() } else { Some(pause) };
            match watch.wait(timeout)? {
                LinkEvent::None if at_rest => self.check_watchdog()?,
                LinkEvent::None => pause = (pause * 3 / 2).min(SLOWEST_LOOK),
                LinkEvent::Stop => self.begin_to_stop(),
                LinkEvent::Orphaned => self.orphaned(),
                LinkEvent::Message(line) => self.follow(&line),
            }
            self.advance();
        }
    }

    fn follow(&mut self, line: &str) {
        match ToChild::from_line(line) {
            Some(ToChild::AnnounceStop) => self.state.context.announce_stop(),
            Some(ToChild::StopAfterQueue) if self.progress.stage == DrainStage::Serving => {
                self.progress.stage = DrainStage::Emptying { empty_looks: 0 };
            }
            Some(ToChild::StopAfterQueue) => {}
            None => self
                .logger
                .event("unknown_message")
                .debug(format_args!("the master sent an unknown message: {line:?}")),
        }
    }

    fn begin_to_stop(&mut self) {
        if matches!(self.progress.stage, DrainStage::Serving | DrainStage::Emptying { .. }) {
            self.progress.stage = DrainStage::Closing { reported: false };
        }
    }

    fn orphaned(&mut self) {
        let state = &self.state;
        state.orphaned.store(true, Ordering::SeqCst);
        let (slot, master) = (state.context.slot(), state.context.master_pid());
        let (pid, event) = (std::process::id(), self.logger.event("orphaned"));
        event.warn(format_args!("child {slot} (pid {pid}) lost its master {master}"));
        self.limit_orphan();
        if let Some(hook) = &self.hooks.on_master_death {
            match hooks::run(|| hook()) {
                Ok(()) => {}
                Err(HookFailure::Error(error)) => {
                    let event = self.logger.event("hook_failed");
                    event.error(format_args!("hook on_master_death failed: {}", chain(&*error)));
                }
                Err(HookFailure::Panic(_)) => {
                    self.logger.event("hook_failed").error("hook on_master_death panicked");
                }
            }
        }
        self.begin_to_stop();
    }

    /// Ends an orphan after its grace, even if its hook, its server or an exit handler hangs. Where a
    /// master is alive, the master does that.
    fn limit_orphan(&self) {
        let grace = self.state.context.grace();
        let limit = move || {
            thread::sleep(grace);
            sys::exit_now(1);
        };
        if let Err(error) = thread::Builder::new().name("prefork-limit".to_owned()).spawn(limit) {
            let (slot, event) = (self.state.context.slot(), self.logger.event("cannot_drain"));
            event.error(format_args!(
                "child {slot} cannot start a thread to limit its drain, and ends: {error}"
            ));
            logging::flush();
            sys::exit_now(1);
        }
    }

    /// Goes from stage to stage as far as possible.
    fn advance(&mut self) {
        if let DrainStage::Emptying { empty_looks } = self.progress.stage {
            // Where the system does not tell the queue's length, the queue counts as empty.
            let empty = self.gate.queue_length().map_or(true, |queued| queued == 0);
            let empty_looks = if empty { empty_looks + 1 } else { 0 };
            let spent = empty_looks >= EMPTY_LOOKS;
            self.progress.stage = if spent {
                DrainStage::Closing { reported: false }
            } else {
                DrainStage::Emptying { empty_looks }
            };
        }
        if let DrainStage::Closing { reported } = self.progress.stage {
            self.close_gate(reported);
        }
        if self.progress.stage == DrainStage::Draining {
            self.empty_accepts();
            if self.no_connection_is_left() && self.all_threads_rest() {
                // A gate that stays open admits connections until the server has returned.
                if !self.gate.stays_open() || self.state.has_returned() {
                    self.state.drained.set();
                }
                self.exit_unless_server_returns();
            }
        }
    }

    fn close_gate(&mut self, reported: bool) {
        match self.gate.close() {
            Ok(()) => self.progress.stage = DrainStage::Draining,
            Err(error) => {
                if !reported {
                    let slot = self.state.context.slot();
                    let event = self.logger.event("cannot_stop_accepting");
                    event.warn(format_args!("child {slot} cannot stop accepting yet: {error}"));
                }
                self.progress.stage = DrainStage::Closing { reported: true };
                // A server that learns of the stop may close what is in the way.
                self.state.context.stop().set();
            }
        }
    }

    /// Moves threads that sit in `accept` on the old socket behind the closed gate, and then signals
    /// [`Shutdown`](crate::Shutdown).
    ///
    /// The order matters: a loop may look at its stop flag right after `accept`, and drop the connection
    /// that it has just accepted. A thread that waits behind the closed gate has none to drop; a
    /// connection to the decoy then makes it look.
    fn empty_accepts(&mut self) {
        let DrainProgress { interruptions, wakes, can_interrupt, .. } = &mut self.progress;
        let stop = self.state.context.stop();
        // A wake-up behind a closed gate stays queued until a thread takes it. At an open gate a client's
        // connection can take its place.
        let can_get_lost = self.gate.stays_open() && !self.state.has_returned();
        if stop.is_set() && !can_get_lost && (*interruptions >= INTERRUPTIONS || *wakes >= ACCEPT_WAKES) {
            return;
        }
        *interruptions += 1;
        let waiting = self.gate.interrupt_accepts();
        *can_interrupt = waiting.is_ok();
        let waiting = waiting.unwrap_or(0);
        let cooperates = self.state.cooperates();
        if stop.is_set() && cooperates && waiting > 0 {
            *wakes += 1;
            self.gate.wake_acceptors(waiting);
        }
        // The first look may have found threads on the old socket.
        let behind_gate = waiting > 0 && *interruptions > 1;
        let loops = self.state.blocking && cooperates && *can_interrupt;
        if !loops || behind_gate || *interruptions >= INTERRUPTIONS {
            stop.set();
        }
    }

    fn no_connection_is_left(&self) -> bool {
        self.gate.connections(self.state.has_returned()) == 0
    }

    /// Whether every accepted connection has a descriptor by now. A running thread may have been
    /// preempted in the middle of `accept`; one that never rests has other work.
    fn all_threads_rest(&mut self) -> bool {
        if !self.gate.accept_in_progress() {
            // A thread that came to rest after the count may have accepted in between: count again.
            return self.no_connection_is_left();
        }
        self.progress.restless_looks += 1;
        self.progress.restless_looks > RESTLESS_LOOKS
    }

    /// Ends the process where the server does not: without a [`Shutdown`](crate::Shutdown) it waits behind
    /// the closed gate for ever.
    fn exit_unless_server_returns(&self) {
        let cooperates = self.state.cooperates() && self.progress.can_interrupt;
        // Before that many interruptions a thread may hold a connection that was not counted yet.
        let settled = self.progress.interruptions > 2;
        if settled && !cooperates && !self.state.has_returned() {
            let orphaned = self.state.orphaned.load(Ordering::SeqCst);
            logging::flush();
            std::process::exit(i32::from(orphaned));
        }
    }

    fn check_watchdog(&self) -> io::Result<()> {
        let context = &self.state.context;
        if !context.is_announced() {
            // Until it is ready, the master limits its time.
            return Ok(());
        }
        match context.watchdog().look() {
            Health::Healthy => Ok(()),
            Health::TooLarge => context.send(ToMaster::Recycle),
            Health::Hangs => {
                let (slot, pid) = (context.slot(), std::process::id());
                let event = self.logger.event("child_hangs");
                event.error(format_args!("child {slot} (pid {pid}) hangs; its threads:"));
                for thread in sys::threads() {
                    let event = self.logger.event("child_hangs");
                    event.error(format_args!("child {slot} (pid {pid}): {thread}"));
                }
                logging::flush();
                std::process::abort()
            }
        }
    }
}
