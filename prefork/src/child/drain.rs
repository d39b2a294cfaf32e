//! The thread beside the serve function: waits for orders, then drains.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::Ending;
use super::watchdog::Health;
use crate::error::chain;
use crate::hooks::{self, HookFailure, Hooks};
use crate::logging::Logger;
use crate::protocol::{ToChild, ToMaster};
use crate::sys::{self, AcceptGate, LinkEvent, MasterLink};

/// Connections are counted this often at first, and ever less often while a long one lasts.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST_LOOK: Duration = Duration::from_millis(50);
/// Threads that were on their way into `accept` when the gate was shut are in it after as many looks.
const INTERRUPTIONS: u32 = 10;
/// A server that is behind the shut gate gets as many chances to look at its stop flag.
const ACCEPT_WAKES: u32 = 5;
/// For this many looks a thread that does not come to rest may be one that has just accepted.
const RESTLESS_LOOKS: u32 = 40;
/// A queue that was empty this often in a row is spent: a handshake that had begun is over.
const EMPTY_LOOKS: u32 = 12;

/// See the [module](self).
pub(super) struct Watcher {
    pub(super) ending: Arc<Ending>,
    pub(super) hooks: Hooks,
    pub(super) logger: Logger,
    pub(super) gate: AcceptGate,
    pub(super) progress: Progress,
}

/// How far the end has come.
#[derive(Debug)]
pub(super) struct Progress {
    stage: DrainStage,
    interruptions: u32,
    wakes: u32,
    /// How many looks have found nothing left but threads that do not rest.
    restless_looks: u32,
    /// Whether threads that sit in `accept` can be made to leave it.
    can_interrupt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainStage {
    /// No end in sight.
    Serving,
    /// Serving what still waits on a socket that will get nothing new.
    Emptying { empty_looks: u32 },
    /// To stop, but the gate is not shut yet; whether its refusal was reported.
    Shutting { reported: bool },
    /// Behind a shut gate.
    Draining,
}

impl Default for Progress {
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

impl Watcher {
    pub(super) fn run(mut self, mut watch: MasterLink) {
        if let Err(error) = self.watch(&mut watch) {
            let slot = self.ending.context.slot();
            let event = self.logger.event("cannot_watch");
            event.error(format_args!("child {slot} can no longer watch its master: {error}"));
            // Without a watch it could outlive its master; the master replaces it.
            sys::exit_now(1);
        }
    }

    /// Sleeps until there is an order, then drains; ends the process, or lets the serve function do so.
    fn watch(&mut self, watch: &mut MasterLink) -> io::Result<()> {
        let mut pause = FIRST_LOOK;
        loop {
            let at_rest = self.progress.stage == DrainStage::Serving;
            if at_rest {
                pause = FIRST_LOOK;
            }
            let timeout = if at_rest { self.ending.context.watchdog().interval() } else { Some(pause) };
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
            Some(ToChild::AnnounceStop) => self.ending.context.announce_stop(),
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
            self.progress.stage = DrainStage::Shutting { reported: false };
        }
    }

    fn orphaned(&mut self) {
        let ending = &self.ending;
        ending.orphaned.store(true, Ordering::SeqCst);
        let (slot, master) = (ending.context.slot(), ending.context.master_pid());
        let (pid, event) = (std::process::id(), self.logger.event("orphaned"));
        event.warn(format_args!("child {slot} (pid {pid}) lost its master {master}"));
        self.limit_orphanhood();
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

    /// An orphan ends after its grace, whatever its hook, its server and its exit handlers do. A child
    /// with a master leaves that to the master.
    fn limit_orphanhood(&self) {
        let grace = self.ending.context.grace();
        let limit = move || {
            thread::sleep(grace);
            sys::exit_now(1);
        };
        if let Err(error) = thread::Builder::new().name("prefork-limit".to_owned()).spawn(limit) {
            let (slot, event) = (self.ending.context.slot(), self.logger.event("cannot_drain"));
            event.error(format_args!(
                "child {slot} cannot start a thread to limit its drain, and ends: {error}"
            ));
            sys::exit_now(1);
        }
    }

    /// Goes from stage to stage as far as possible.
    fn advance(&mut self) {
        if let DrainStage::Emptying { empty_looks } = self.progress.stage {
            // Where nobody can tell how many wait, none is waited for.
            let empty = self.gate.queue_length().map_or(true, |queued| queued == 0);
            let empty_looks = if empty { empty_looks + 1 } else { 0 };
            let spent = empty_looks >= EMPTY_LOOKS;
            self.progress.stage = if spent {
                DrainStage::Shutting { reported: false }
            } else {
                DrainStage::Emptying { empty_looks }
            };
        }
        if let DrainStage::Shutting { reported } = self.progress.stage {
            self.close_gate(reported);
        }
        if self.progress.stage == DrainStage::Draining {
            self.empty_accepts();
            if self.no_connection_is_left() && self.everybody_rests() {
                // Through a gate that stays open one more may come in until the server has left it.
                if !self.gate.stays_open() || self.ending.returned.load(Ordering::SeqCst) {
                    self.ending.drained.set();
                }
                self.exit_if_nobody_else_does();
            }
        }
    }

    fn close_gate(&mut self, reported: bool) {
        match self.gate.close() {
            Ok(()) => self.progress.stage = DrainStage::Draining,
            Err(error) => {
                if !reported {
                    let slot = self.ending.context.slot();
                    let event = self.logger.event("cannot_stop_accepting");
                    event.warn(format_args!("child {slot} cannot stop accepting yet: {error}"));
                }
                self.progress.stage = DrainStage::Shutting { reported: true };
                // A server that is told may close what is in the way.
                self.ending.context.stop().set();
            }
        }
    }

    /// Sends threads that sit in `accept` on the old socket behind the shut gate, and then tells the
    /// server of the stop.
    ///
    /// In this order, because a loop may look at its stop flag right after `accept`, and drop what it
    /// has just accepted if it is set. Once its thread waits behind the shut gate there is nothing to
    /// drop; a connection from nobody then lets it look.
    fn empty_accepts(&mut self) {
        let Progress { interruptions, wakes, can_interrupt, .. } = &mut self.progress;
        let stop = self.ending.context.stop();
        // Behind a shut gate a wake_acceptors waits for who is to hear it; where it stays open it can get lost.
        let in_vain = self.gate.stays_open() && !self.ending.returned.load(Ordering::SeqCst);
        if stop.is_set() && !in_vain && (*interruptions >= INTERRUPTIONS || *wakes >= ACCEPT_WAKES) {
            return;
        }
        *interruptions += 1;
        let waiting = self.gate.interrupt_accepts();
        *can_interrupt = waiting.is_ok();
        let waiting = waiting.unwrap_or(0);
        let cooperates = self.ending.context.cooperates();
        if stop.is_set() && cooperates && waiting > 0 {
            *wakes += 1;
            self.gate.wake_acceptors(waiting);
        }
        // The first look may have met threads on the old socket.
        let behind_gate = waiting > 0 && *interruptions > 1;
        let loops = self.ending.blocking && cooperates && *can_interrupt;
        if !loops || behind_gate || *interruptions >= INTERRUPTIONS {
            stop.set();
        }
    }

    fn no_connection_is_left(&self) -> bool {
        self.gate.connections(self.ending.returned.load(Ordering::SeqCst)) == 0
    }

    /// Whether nobody can hold a connection that has no descriptor yet. A thread that runs may have been
    /// stopped in the middle of `accept`, for as long as a busy machine likes; one that never rests has
    /// other work.
    fn everybody_rests(&mut self) -> bool {
        if !self.gate.accept_in_progress() {
            // Whoever came to rest since the connections were counted has opened his by now.
            return self.no_connection_is_left();
        }
        self.progress.restless_looks += 1;
        self.progress.restless_looks > RESTLESS_LOOKS
    }

    /// A server that never heard of [`Shutdown`](crate::Shutdown) sits behind a shut gate for ever.
    fn exit_if_nobody_else_does(&self) {
        let cooperates = self.ending.context.cooperates() && self.progress.can_interrupt;
        // Whoever has not been through the last interruption may hold a connection we do not see yet.
        let settled = self.progress.interruptions > 2;
        if settled && !cooperates && !self.ending.returned.load(Ordering::SeqCst) {
            let orphaned = self.ending.orphaned.load(Ordering::SeqCst);
            std::process::exit(i32::from(orphaned));
        }
    }

    fn check_watchdog(&self) -> io::Result<()> {
        let context = &self.ending.context;
        if !context.is_announced() {
            // How long it may take to become ready is the master's business.
            return Ok(());
        }
        match context.watchdog().look() {
            Health::Healthy => Ok(()),
            Health::TooLarge => context.say(ToMaster::Recycle),
            Health::Hangs => {
                let (slot, pid) = (context.slot(), std::process::id());
                let event = self.logger.event("child_hangs");
                event.error(format_args!("child {slot} (pid {pid}) hangs; its threads:"));
                for thread in sys::threads() {
                    let event = self.logger.event("child_hangs");
                    event.error(format_args!("child {slot} (pid {pid}): {thread}"));
                }
                std::process::abort()
            }
        }
    }
}
