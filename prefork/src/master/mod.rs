//! The master's loop: waits for events, passes them to the supervisor and performs its actions. The
//! decisions are in `supervisor`, the system calls in `sys`, the log messages in `messages.rs`.
//!
//! Two ways through it, as examples:
//!
//! ```text
//! SIGTERM   sys/unix/reactor/ ─▶ requests.rs ─▶ supervisor/stop.rs ─▶ Action::Finish(Verdict::Stopped)
//!           ─▶ Master::conclude: Ok ─▶ builder/mod.rs, run_to_end: exit status 0
//! an exit   sys/unix/reactor/ ─▶ events.rs, on_exited ─▶ supervisor/lifecycle.rs, on_exited
//!           ─▶ Action::Spawn ─▶ children.rs
//! ```
//!
//! - `mod.rs`: the loop, and the result of a fleet
//! - `plan.rs`: the checked options
//! - `cause.rs`: what made a fleet stop, if not a request
//! - `events.rs`: what the processes do
//! - `requests.rs`: requests of operators
//! - `canary.rs`: the program is asked about new children
//! - `config.rs`: the configuration file, and the options of each generation
//! - `children.rs`: starting and signalling children
//! - `provision.rs`: what they are started with
//! - `process_id.rs`: children and templates
//! - `process_log.rs`: what they log
//! - `templates/`: processes that fork children
//! - `leader.rs`: telling children about the leadership
//! - `reconcile.rs`: what follows from the state of the fleet
//! - `turn.rs`: for how long children are started before events are looked at
//! - `upgrade/`: another program in this process
//! - `handle.rs`: [`FleetHandle`], for the program itself
//! - `observers.rs`, `systemd.rs`, `health.rs`: who is told the state of the fleet
//! - `board.rs`, `status.rs`, `page.rs`: what the endpoints tell
//! - `control/`: the control socket
//! - `http/`: the server of both endpoints
//! - `metrics/`: what Prometheus is told
//! - `messages.rs`: the log

mod board;
mod canary;
mod cause;
mod children;
mod config;
mod control;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handle;
mod health;
mod http;
mod leader;
mod messages;
mod metrics;
mod observers;
mod page;
mod plan;
mod process_id;
mod process_log;
mod provision;
mod reconcile;
mod requests;
mod status;
mod systemd;
mod templates;
mod turn;
mod upgrade;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic;
use std::path::Path;
use std::time::Instant;

use canary::CanaryWatch;
pub(crate) use cause::Cause;
use children::{ChildEntry, StopOrder};
use config::GenerationOptions;
#[cfg(feature = "config")]
pub(crate) use config::Reread;
pub(crate) use config::{Change, Configuration};
use socket2::Socket;
use templates::TemplateSet;
use turn::Turn;
use upgrade::NextProgram;

use crate::error::{Error, Failure, chain};
use crate::hooks;
use crate::listen::{self, Holders, ResolvedEndpoint, SocketSet};
use crate::logging;
use crate::protocol::ToChild;
use crate::shared::FleetValues;
use crate::supervisor::{Action, ChildId, Event, Hook, Order, Supervisor, Verdict};
use crate::sys::{self, PidFile, Program, Reactor};
use crate::tls::TlsStore;

pub(crate) use control::{ControlSocket, Operation};
pub(crate) use handle::EndNotice;
pub use handle::FleetHandle;
pub(crate) use messages::any_fleet;
pub(crate) use observers::{Observers, time_to_first};
pub(crate) use plan::{LoadedBy, Plan};
pub(crate) use process_id::ProcessId;
pub(crate) use systemd::ServiceManager;
pub(crate) use upgrade::{Predecessor, needs_of};

/// Runs a fleet until it ends. `predecessor` is the program before this one in this process.
pub(crate) fn run(plan: Plan, predecessor: Option<Predecessor>) -> Result<(), Error> {
    let _end_notice = EndNotice(plan.handle.clone());
    let mut master = match predecessor {
        Some(predecessor) => Master::resume(plan, predecessor)?,
        None => Master::new(plan)?,
    };
    if let Some(handle) = &master.plan.handle {
        handle.connect(&mut master.reactor).map_err(Error::os("connect the fleet's handle"))?;
    }
    let verdict = master.supervise().map_err(Error::os("wait for children"))?;
    master.conclude(verdict)
}

/// Refuses a second fleet with the same file, before it opens a socket.
pub(crate) fn create_pid_file(path: &Path) -> Result<PidFile, Error> {
    PidFile::create(path).map_err(|source| Error::PidFile { path: path.to_owned(), source })
}

struct Master {
    plan: Plan,
    /// The program of each generation.
    programs: BTreeMap<u32, Program>,
    /// The certificates and keys of each generation.
    store: TlsStore,
    /// What the children of each generation are started with.
    options: BTreeMap<u32, GenerationOptions>,
    supervisor: Supervisor,
    reactor: Reactor<ProcessId>,
    sockets: SocketSet,
    /// What the children do with them.
    holders: Holders,
    /// What was opened for the next program, while an upgrade is under way.
    next: Option<NextProgram>,
    pid_file: Option<PidFile>,
    observers: Observers,
    values: FleetValues,
    children: BTreeMap<ChildId, ChildEntry>,
    templates: TemplateSet,
    last_failure: Option<Failure>,
    /// Why the trial child of the upgrade under way has failed.
    trial_failure: Option<String>,
    canary: CanaryWatch,
    /// Why the last attempt to start a child for a slot failed.
    start_problems: BTreeMap<usize, String>,
    /// What made the fleet stop, if that was user code or the system.
    cause: Option<Cause>,
}

impl Master {
    fn new(mut plan: Plan) -> Result<Self, Error> {
        let workers = plan.settings.workers;
        let pid_file = plan.pid_file.as_deref().map(create_pid_file).transpose()?;
        let store = TlsStore::open(plan.tls.clone())?;
        let activated = std::mem::take(&mut plan.activated);
        let sockets = SocketSet::open(&plan.endpoints, activated, plan.sharing, workers, plan.sockets)?;
        let health = plan.health.as_deref().map(ResolvedEndpoint::beside).transpose()?;
        let health = health.map(|health| listen::listen_beside(&health, &[])).transpose()?;
        let control = plan.control.as_deref().map(ControlSocket::open).transpose()?;
        let program = Program::current().map_err(Error::os("find this program's own file"))?;
        let reactor = Reactor::new().map_err(Error::os("send and receive signals"))?;
        let mut master = Self {
            observers: Observers::new(ServiceManager::new(&plan.logger), plan.handle.clone()),
            values: FleetValues::create(&plan.logger),
            supervisor: Supervisor::new(plan.settings),
            templates: TemplateSet::new(plan.settings.start_timeout),
            options: BTreeMap::from([(0, GenerationOptions::new(&plan))]),
            plan,
            programs: BTreeMap::from([(0, program)]),
            store,
            reactor,
            sockets,
            holders: Holders::default(),
            next: None,
            pid_file,
            children: BTreeMap::new(),
            last_failure: None,
            trial_failure: None,
            canary: CanaryWatch::default(),
            start_problems: BTreeMap::new(),
            cause: None,
        };
        master.announce_start();
        if let Some(listener) = health {
            master.start_health(listener).map_err(Error::os("start the health endpoint"))?;
        }
        if let Some(socket) = control {
            master.start_control(socket).map_err(Error::os("start the control socket"))?;
        }
        master.warn_of_certificate(0);
        Ok(master)
    }

    fn start_health(&mut self, listener: Socket) -> io::Result<()> {
        let Self { observers, reactor, supervisor, sockets, plan, .. } = self;
        observers.start_health(listener, reactor, supervisor, sockets, &plan.logger)
    }

    fn start_control(&mut self, socket: ControlSocket) -> io::Result<()> {
        let Self { observers, reactor, supervisor, sockets, plan, .. } = self;
        observers.start_control(socket, reactor, supervisor, sockets, &plan.logger)
    }

    /// Handles events until the fleet has ended.
    fn supervise(&mut self) -> io::Result<Verdict> {
        loop {
            if let Some(verdict) = self.perform_actions()? {
                let templates = self.templates.status();
                self.observers.update(&self.supervisor, &self.sockets, templates, None);
                return Ok(verdict);
            }
            self.reconcile();
            let (due_at, limit) = self.next_deadlines();
            let templates = self.templates.status();
            let update_at = self.observers.update(&self.supervisor, &self.sockets, templates, limit);
            let looked_at = Instant::now();
            let next_start = self.supervisor.waits_with_starts().then_some(looked_at);
            let timeout = time_to_first([due_at, update_at, next_start]);
            for event in self.reactor.wait(timeout)? {
                self.on_event(event);
            }
            self.take_requests()?;
            self.on_deadlines(looked_at);
        }
    }

    /// Performs the actions of one turn: all of them, or all before the next start when it is time to look at events.
    /// Returns the verdict when the fleet has ended.
    fn perform_actions(&mut self) -> io::Result<Option<Verdict>> {
        let mut turn = Turn::begin(Instant::now());
        while let Some(action) = self.supervisor.poll_action() {
            if let Action::Spawn { .. } = action {
                turn.note_start();
            }
            if let Some(verdict) = self.perform(action) {
                return Ok(Some(verdict));
            }
            // A stop must not wait for starts and hooks that it cancels.
            self.take_requests()?;
            if self.supervisor.waits_with_starts() && turn.is_over(Instant::now()) {
                break;
            }
        }
        Ok(None)
    }

    /// Handles the deadlines that had passed when the reactor began its last wait, because the events of that time have
    /// been handled. Those that have passed since are left for the next turn: this process may have been stopped or busy
    /// meanwhile, and what waits to be read may be a child that is ready.
    fn on_deadlines(&mut self, looked_at: Instant) {
        self.check_templates(looked_at);
        if self.supervisor.is_due(looked_at) {
            self.supervisor.handle(looked_at, Event::DeadlinePassed);
        }
    }

    /// When children or templates have to be looked at, unless an event comes first; and until when at least a start, a
    /// reload or a stop may last, as the service manager is told.
    fn next_deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let of_children = self.supervisor.next_deadline();
        let with_children = |of_templates| [of_children, of_templates].into_iter().flatten().min();
        (with_children(self.templates.next_deadline()), with_children(self.templates.next_limit()))
    }

    fn perform(&mut self, action: Action) -> Option<Verdict> {
        self.observers.post_change(&self.supervisor);
        match action {
            Action::Spawn { child, slot, generation } if self.is_forked(child) => {
                self.order_child(Order { child, slot, generation });
            }
            Action::Spawn { child, slot, generation } => self.spawn(child, slot, generation),
            Action::Withdraw(child) => self.withdraw_child(child),
            Action::Terminate(child) | Action::StopAfterQueue(child) => self.terminate(child),
            Action::Kill(child) => self.order_stop(child, |reactor| reactor.kill(child.into())),
            Action::KillFailed(child) => self.signal(child, |reactor| reactor.kill(child.into())),
            Action::Lead(child) => self.lead(child),
            Action::Resign(child) => self.order_resignation(child),
            Action::AnnounceStop(child) => {
                self.send(child, &ToChild::AnnounceStop);
            }
            Action::CloseSlot => {
                self.reconcile();
                self.close_vacated_sockets();
            }
            Action::RefuseConnections => {
                self.sockets.refuse_connections();
                self.supervisor.handle(Instant::now(), Event::ConnectionsRefused);
            }
            Action::CheckQueues => self.check_queues(),
            Action::CloseListeners => self.sockets.close(),
            Action::WatchCanary => self.watch_canary(),
            Action::AskCanary => self.ask_canary(),
            Action::Exec => self.exec(),
            Action::Hook(hook) => self.run_hook(&hook),
            Action::Log(remark) => {
                self.observers.note_remark(&remark);
                if remark.is_logged_after_an_update() {
                    self.reconcile();
                }
                self.log(&remark);
            }
            Action::Finish(verdict) => return Some(verdict),
        }
        None
    }

    fn run_hook(&mut self, hook: &Hook) {
        // A hook may rely on new connections being steered to the children that it is given.
        self.reconcile();
        let _guard = sys::TerminalGuard::begin();
        let hooks = &self.plan.hooks;
        let (name, outcome) = match hook {
            Hook::ChildSpawn(pid) => {
                ("on_child_spawn", hooks.on_child_spawn.as_ref().map(|hook| hooks::run(|| hook(*pid))))
            }
            Hook::MasterReady(pids) => {
                self.announce_ready(pids);
                ("on_master_ready", hooks.on_master_ready.as_ref().map(|hook| hooks::run(|| hook(pids))))
            }
            Hook::ChildRecover { old, new } => {
                self.report_replaced(*old, *new);
                (
                    "on_child_recover",
                    hooks.on_child_recover.as_ref().map(|hook| hooks::run(|| hook(*old, *new))),
                )
            }
        };
        let Some(Err(failure)) = outcome else { return };
        any_fleet::report_hook_failed(&self.plan.logger, name, &failure);
        self.record_cause(Cause::of_hook(name, failure));
        self.supervisor.handle(Instant::now(), Event::HookFailed);
    }

    /// Turns the verdict into the caller's result. No child is left.
    fn conclude(self, verdict: Verdict) -> Result<(), Error> {
        let Self { plan, reactor, sockets, supervisor, pid_file, cause, last_failure, mut observers, .. } =
            self;
        // A master that is started when the control socket has answered finds everything free.
        drop((reactor, sockets, pid_file));
        let outcome = match (cause, verdict, last_failure) {
            (Some(Cause::Panic(payload)), ..) => {
                observers.finish(&supervisor, Some(&"a hook panicked"));
                logging::flush();
                panic::resume_unwind(payload)
            }
            (Some(Cause::Error(error)), Verdict::HookFailed | Verdict::SpawnFailed, _) => Err(error),
            (_, Verdict::OverRecovery { failures }, Some(last)) => {
                Err(Error::OverRecovery { failures, threshold: plan.settings.recover.threshold, last })
            }
            (None, Verdict::SpawnFailed, Some(Failure::NotStarted { source, .. })) => {
                Err(Error::Spawn { source })
            }
            (_, Verdict::Stopped, _) => {
                any_fleet::report_stopped(&plan.logger);
                Ok(())
            }
            (None, Verdict::HookFailed | Verdict::SpawnFailed, _)
            | (_, Verdict::OverRecovery { .. }, None) => Err(Error::Os {
                operation: "find the reason of the fleet's end",
                source: io::Error::other("a bug in prefork"),
            }),
        };
        let problem = outcome.as_ref().err().map(|error| chain(error).to_string());
        problem.iter().for_each(|problem| observers.failed(problem));
        observers.finish(&supervisor, problem.as_ref().map(|problem| problem as &dyn fmt::Display));
        logging::flush();
        outcome
    }
}
