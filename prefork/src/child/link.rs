//! The link thread: waits for messages of the master, for its death, and for signals; looks after the
//! watchdog; and drives the stop of the child.
//!
//! Its order is: act first, report second. A child that cannot be stopped any more, because this thread
//! is gone, is worse than one that ends: an error or a panic in here ends the process.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::ServeState;
use super::drain::Drain;
use super::shutdown::StopEvent;
use super::start_error::process_name;
use super::watchdog::{Health, LookTimer};
use crate::hooks::{self, HookRuns, Hooks};
use crate::logging::{self, Logger};
use crate::protocol::{ToChild, ToMaster};
use crate::sys::{self, AcceptGate, LinkEvent, MasterLink};

/// When to look for io_uring after the start of the thread: a server has made its rings by then.
const INSPECT_AFTER: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(super) struct LinkThread {
    state: Arc<ServeState>,
    hooks: Hooks,
    reopens: HookRuns,
    logger: Logger,
    drain: Drain,
    /// When to look for io_uring, once.
    inspect_at: Option<Instant>,
    /// When the watchdog looks.
    watchdog_timer: LookTimer,
    /// When this child ends, if it is an orphan.
    end_at: Option<Instant>,
}

impl LinkThread {
    pub(super) fn new(
        state: Arc<ServeState>,
        hooks: Hooks,
        logger: Logger,
        gate: AcceptGate,
        addrs: Vec<String>,
    ) -> Self {
        let drain = Drain::new(Arc::clone(&state), logger.clone(), gate, addrs);
        let now = Instant::now();
        let inspect_at = sys::HAS_IO_URING.then(|| now + INSPECT_AFTER);
        let watchdog_timer = state.context.watchdog().timer(now);
        let reopens = HookRuns::default();
        Self { state, hooks, reopens, logger, drain, inspect_at, watchdog_timer, end_at: None }
    }

    pub(super) fn run(mut self, mut link: MasterLink) {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.serve_link(&mut link)));
        // Without the link it could outlive its master. The master replaces it.
        let name = self.state.name();
        let event = self.logger.event("cannot_watch");
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                event.error(format_args!("{name} lost the link to its master, and ends: {error}"));
            }
            // The panic's own message has been printed.
            Err(_) => event.error(format_args!("{name} lost the link to its master, and ends")),
        }
        logging::flush();
        sys::exit_now(1);
    }

    /// Returns when the serve function has ended in the process of its master.
    fn serve_link(&mut self, link: &mut MasterLink) -> io::Result<()> {
        loop {
            let timeout = self.next_turn();
            match link.wait(timeout)? {
                LinkEvent::None => self.time_passed(),
                // Other processes may have received the signal as well, and connections may be queued that
                // only this child can accept: it is a request to the master.
                LinkEvent::Signalled => self.drain.handle(StopEvent::Signalled),
                LinkEvent::Orphaned if !self.state.host.has_master_to_lose() => {
                    self.state.context.leader().close();
                    return Ok(());
                }
                LinkEvent::Orphaned => self.orphaned(),
                LinkEvent::Message(line) => self.follow(&line),
            }
        }
    }

    /// How long to wait for an event: for ever, in a child that serves without limits.
    fn next_turn(&self) -> Option<Duration> {
        let now = Instant::now();
        let at = |at: Instant| at.saturating_duration_since(now);
        if !self.drain.is_serving() {
            return self.drain.next_look().into_iter().chain(self.end_at).min().map(at);
        }
        self.inspect_at.into_iter().chain(self.watchdog_timer.at()).min().map(at)
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if self.end_at.is_some_and(|at| at <= now) {
            sys::exit_now(1);
        }
        if !self.drain.is_serving() {
            if self.drain.next_look().is_some_and(|at| at <= now) {
                self.drain.look();
            }
            return;
        }
        if self.inspect_at.take_if(|at| *at <= now).is_some() {
            self.warn_of_io_uring();
        }
        if self.watchdog_timer.is_due(now) {
            self.check_watchdog();
        }
    }

    fn follow(&mut self, line: &str) {
        match ToChild::from_line(line) {
            Some(ToChild::StopNoted) => self.drain.handle(StopEvent::Noted),
            Some(ToChild::AnnounceStop) => self.state.context.announce_stop(),
            Some(ToChild::ReopenLogs) => self.reopen_logs(),
            Some(ToChild::Lead) => self.state.context.leader().lead(),
            Some(ToChild::Resign) => self.state.context.leader().resign(),
            Some(ToChild::Stop) => self.drain.handle(StopEvent::Ordered),
            Some(ToChild::StopAfterQueue(addrs)) => self.drain.stop_after_queues(&addrs),
            None => self
                .logger
                .event("unknown_message")
                .debug(format_args!("the master sent an unknown message: {line:?}")),
        }
    }

    /// The gate is closed before the threads of the limit and of the log begin: as long as such a thread has not had a
    /// core, it counts as one that may be in `accept`, and the looks would wait for it. A hook comes before the stop.
    fn orphaned(&mut self) {
        let state = Arc::clone(&self.state);
        state.orphaned.store(true, Ordering::SeqCst);
        // A new fleet may have a leader at once.
        state.context.leader().close();
        let hook = self.hooks.on_master_death.clone();
        if hook.is_none() {
            self.drain.handle(StopEvent::Orphaned);
        }
        self.limit_orphan();
        let (name, master) = (process_name(), state.context.master_pid());
        self.logger.event("orphaned").warn(format_args!("{name} lost its master {master}"));
        if let Some(hook) = hook {
            let _ = hooks::run_and_log("on_master_death", &*hook, &self.logger);
            self.drain.handle(StopEvent::Orphaned);
        }
    }

    /// In a thread of its own: a hook that takes its time delays no stop. In one only: requests that come while it
    /// takes its time, or while this process is stopped, make no further threads.
    fn reopen_logs(&self) {
        let Some(hook) = self.hooks.on_log_reopen.clone() else { return };
        if !self.reopens.request() {
            return;
        }
        let (logger, reopens) = (self.logger.clone(), self.reopens.clone());
        let run = move || {
            reopens.make(|| {
                let _ = hooks::run_and_log("on_log_reopen", &*hook, &logger);
            });
        };
        if let Err(error) = thread::Builder::new().name("prefork-reopen".to_owned()).spawn(run) {
            self.reopens.forget();
            let event = self.logger.event("hook_failed");
            event.error(format_args!("hook on_log_reopen could not be run: {error}"));
        }
    }

    /// Ends an orphan after its grace, even if its hook, its server or an exit handler hangs. Where a
    /// master is alive, the master does that.
    ///
    /// If the system refuses another thread, this one ends the orphan: a hook or an exit handler then has no
    /// limit.
    fn limit_orphan(&mut self) {
        let grace = self.state.context.grace();
        let limit = move || {
            thread::sleep(grace);
            sys::exit_now(1);
        };
        let limited = thread::Builder::new().name("prefork-limit".to_owned()).spawn(limit);
        if limited.is_err() {
            self.end_at = Instant::now().checked_add(grace);
        }
    }

    fn warn_of_io_uring(&self) {
        if self.drain.server_uses_io_uring() {
            self.logger.event("io_uring").warn(format_args!(
                "{} uses io_uring: a server that accepts with it must cancel its accepts when `Shutdown` \
                 resolves",
                process_name()
            ));
        }
    }

    fn check_watchdog(&self) {
        let context = &self.state.context;
        if !context.is_ready() {
            // Until it is ready, the master limits its time.
            return;
        }
        match context.watchdog().look() {
            Health::Healthy => {}
            Health::TooLarge => {
                // An error: the master is dead, which is the link's next event.
                let _ = context.send(ToMaster::RecycleOfSize);
            }
            Health::SizeUnknown(reason) => {
                let event = self.logger.event("size_unknown");
                event.warn(format_args!(
                    "{} cannot read its size, and `max_rss` has no effect on it: {reason}",
                    process_name()
                ));
            }
            Health::Hangs => {
                let name = process_name();
                self.logger.event("child_hangs").error(format_args!("{name} hangs; its threads:"));
                for thread in sys::threads() {
                    self.logger.event("child_hangs").error(format_args!("{name}: {thread}"));
                }
                // The exit alone would not tell it from a crash.
                let _ = context.send(ToMaster::Hangs);
                logging::flush();
                std::process::abort()
            }
        }
    }
}
