//! The master's loop, as in `master`, for one child that is this process.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::serving::{Ended, Serving};
use crate::child::{Adopted, Host};
use crate::error::{Error, chain};
use crate::hooks::{self, Hooks, NotReopened};
use crate::listen::{self, Holders, Holding, ResolvedEndpoint, Sharing, SocketSet};
use crate::logging::{self, Follower, Logger};
use crate::master::{
    Cause, ControlSocket, FleetHandle, Observers, Operation, Plan, ServiceManager, any_fleet,
    create_pid_file, time_to_first,
};
use crate::protocol::{Handshake, ToChild, ToMaster};
use crate::supervisor::{Action, ChildId, Event, Hook, Remark, Request, Settings, Supervisor};
use crate::sys::{self, PidFile, ProcessEvent, Reactor, Signal};
use crate::tls::TlsStore;

/// The only child of the supervisor, which counts from here.
const CHILD: ChildId = ChildId(0);

pub(super) struct OneProcess {
    pub(super) logger: Logger,
    pub(super) grace: Duration,
    hooks: Hooks,
    handle: Option<FleetHandle>,
    supervisor: Supervisor,
    pub(super) sockets: SocketSet,
    /// The listeners of the serve function.
    held: Vec<Weak<Socket>>,
    reactor: Reactor<ChildId>,
    store: TlsStore,
    health: Option<Socket>,
    control: Option<ControlSocket>,
    pid_file: Option<PidFile>,
    observers: Observers,
    serving: Arc<Serving>,
    /// Whether a request for a replacement was logged.
    pub(super) recycling_reported: bool,
    /// Whether the stop is one without grace.
    at_once: bool,
    cause: Option<Cause>,
}

impl OneProcess {
    /// Opens everything that needs privileges, while the process has one thread. Returns the child's part too.
    pub(super) fn prepare(mut plan: Plan) -> Result<(Self, Adopted), Error> {
        let pid_file = plan.pid_file.as_deref().map(create_pid_file).transpose()?;
        let mut store = TlsStore::open(plan.tls.clone())?;
        let activated = std::mem::take(&mut plan.activated);
        let mut sockets = SocketSet::open(&plan.endpoints, activated, Sharing::Shared, 1, plan.sockets)?;
        let health = plan.health.as_deref().map(ResolvedEndpoint::beside).transpose()?;
        let health = health.map(|health| listen::listen_beside(&health, &[])).transpose()?;
        let control = plan.control.as_deref().map(ControlSocket::open).transpose()?;
        let mut reactor = Reactor::new().map_err(Error::os("send and receive signals"))?;
        let linked = |source| Error::Handshake { source };
        let sockets_of_child = sockets.for_slot(0).map_err(linked)?;
        let held = sockets_of_child.iter().map(Arc::downgrade).collect();
        let listeners = sockets_of_child.iter().map(|socket| socket.try_clone());
        let waker = reactor.waker().map_err(Error::os("wake the master's thread"))?;
        let serving = Arc::new(Serving::new(waker));
        let drained = {
            let serving = Arc::clone(&serving);
            move || serving.end(Ended::Drained)
        };
        let adopted = Adopted {
            handshake: handshake(plan.settings.grace),
            listeners: listeners.collect::<io::Result<_>>().map_err(linked)?,
            channel: reactor.attach(CHILD).map_err(linked)?,
            secrets: store.secrets(0),
            host: Host::MasterProcess(Box::new(drained)),
            is_forked: false,
        };
        let master = Self {
            supervisor: Supervisor::new(settings(plan.settings)),
            observers: Observers::new(ServiceManager::without_children(&plan.logger), plan.handle.clone()),
            logger: plan.logger,
            grace: plan.settings.grace,
            hooks: plan.hooks,
            handle: plan.handle,
            serving,
            sockets,
            held,
            reactor,
            store,
            health,
            control,
            pid_file,
            recycling_reported: false,
            at_once: false,
            cause: None,
        };
        Ok((master, adopted))
    }

    pub(super) fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.serving)
    }

    /// Begins to log, to answer probes, and to take requests.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.announce_start();
        if let Some(warning) = self.store.validity_warning(0) {
            self.warn_of_certificate(&warning);
        }
        if let Some(listener) = self.health.take() {
            let Self { observers, reactor, supervisor, sockets, logger, .. } = self;
            let started = observers.start_health(listener, reactor, supervisor, sockets, logger);
            started.map_err(Error::os("start the health endpoint"))?;
        }
        if let Some(socket) = self.control.take() {
            let Self { observers, reactor, supervisor, sockets, logger, .. } = self;
            let started = observers.start_control(socket, reactor, supervisor, sockets, logger);
            started.map_err(Error::os("start the control socket"))?;
        }
        if let Some(handle) = &self.handle {
            handle.connect(&mut self.reactor).map_err(Error::os("connect the fleet's handle"))?;
        }
        Ok(())
    }

    /// Runs the master's loop until the serve function has ended. After an error or a panic in here the process
    /// could not be stopped any more: it ends.
    pub(super) fn run(mut self) -> Result<(), Cause> {
        let logger = self.logger.clone();
        match panic::catch_unwind(AssertUnwindSafe(|| self.supervise())) {
            Ok(Ok(ended)) => return self.conclude(ended),
            Ok(Err(error)) => super::messages::report_lost(&logger, &error),
            // The panic's own message has been printed.
            Err(_) => {}
        }
        logging::flush();
        sys::exit_now(1);
    }

    fn supervise(&mut self) -> io::Result<Ended> {
        loop {
            while let Some(action) = self.supervisor.poll_action() {
                self.perform(action);
                self.take_requests()?;
            }
            let due_at = self.supervisor.next_deadline();
            let update_at = self.observers.update(&self.supervisor, &self.sockets, Vec::new(), due_at);
            if let Some(ended) = self.serving.ended() {
                return Ok(ended);
            }
            let looked_at = Instant::now();
            let timeout = time_to_first([due_at, update_at]);
            for event in self.reactor.wait(timeout)? {
                self.on_event(event);
            }
            self.take_requests()?;
            // A deadline that has passed since comes after the events of that time.
            if self.supervisor.is_due(looked_at) {
                self.supervisor.handle(looked_at, Event::DeadlinePassed);
            }
        }
    }

    fn on_event(&mut self, event: ProcessEvent<ChildId>) {
        match event {
            ProcessEvent::Signal(signal) => self.on_signal(signal),
            ProcessEvent::Message(_, line) => match ToMaster::from_line(&line) {
                Some(ToMaster::Ready) => self.supervisor.handle(Instant::now(), Event::Ready(CHILD)),
                Some(ToMaster::Recycle | ToMaster::RecycleOfSize) => self.report_no_replacement(),
                Some(ToMaster::Candidate) => {
                    self.supervisor.handle(Instant::now(), Event::Candidate(CHILD));
                }
                Some(ToMaster::Resigned) => {
                    self.supervisor.handle(Instant::now(), Event::Resigned(CHILD));
                }
                Some(ToMaster::Received | ToMaster::StopRequested | ToMaster::Hangs) | None => {}
            },
            // The link thread ends the process if it fails.
            ProcessEvent::HungUp(_) | ProcessEvent::BadMessage(..) | ProcessEvent::Exited(..) => {}
        }
    }

    fn take_requests(&mut self) -> io::Result<()> {
        for signal in self.reactor.take_requests()? {
            self.on_signal(signal);
        }
        for request in self.handle.as_ref().map_or_else(Vec::new, FleetHandle::take_requests) {
            self.on_request(request);
        }
        self.take_operations();
        Ok(())
    }

    /// Carries out what clients of the control socket have asked for. There are no children to change.
    fn take_operations(&mut self) {
        while let Some(submitted) = self.observers.take_operation() {
            let request = match submitted.operation {
                Operation::Reopen => {
                    let since = Instant::now();
                    self.observers.answer_reopen(submitted, since, 0, self.reopen_logs());
                    continue;
                }
                Operation::Stop { now: false } => Request::Stop,
                Operation::Stop { now: true } => Request::Quit,
                _ => {
                    let reason = "there are no children (workers = 0)".to_owned();
                    self.observers.refuse_operation(submitted, reason);
                    continue;
                }
            };
            let (before, record) = (self.supervisor.status(Instant::now()), Follower::record());
            self.on_request(request);
            let after = self.supervisor.status(Instant::now());
            self.observers.begin_operation(submitted, record, &before, &after);
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        self.on_request(match signal {
            Signal::Stop => Request::Stop,
            Signal::Quit => Request::Quit,
            Signal::Grow => Request::Grow,
            Signal::Shrink => Request::Shrink,
            Signal::Reload => Request::Reload,
            Signal::Upgrade => Request::Upgrade,
            Signal::ReopenLogs => return drop(self.reopen_logs()),
            Signal::OfTerminal(name) => return any_fleet::report_terminal(&self.logger, name),
        });
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Stop | Request::Quit | Request::Promote | Request::Rollback => {
                self.supervisor.handle(Instant::now(), Event::Request(request));
            }
            Request::Reload | Request::ReloadWith(_) => {
                self.refuse_replacement(request, "reload", "reload refused")
            }
            Request::Upgrade => self.refuse_replacement(request, "upgrade", "upgrade refused"),
            Request::Grow | Request::Shrink | Request::Resize(_) => self.report_not_resized(),
        }
    }

    /// The service manager waits for an answer to each request.
    fn refuse_replacement(&mut self, request: Request, purpose: &str, how: &'static str) {
        self.supervisor.handle(Instant::now(), Event::Refused(request));
        self.observers.reload_begins();
        self.observers.reload_failed(how);
        self.report_refused(purpose);
    }

    fn reopen_logs(&self) -> Result<String, NotReopened> {
        let Some(hook) = &self.hooks.on_log_reopen else {
            any_fleet::report_no_log_hook(&self.logger);
            return Err(NotReopened::NoHook);
        };
        let _guard = sys::TerminalGuard::begin();
        hooks::run_and_log("on_log_reopen", &**hook, &self.logger).map_err(NotReopened::HookFailed)?;
        Ok(self.report_logs_reopened())
    }

    fn perform(&mut self, action: Action) {
        self.observers.post_change(&self.supervisor);
        match action {
            Action::Spawn { child, .. } => {
                let pid = std::process::id();
                self.supervisor.handle(Instant::now(), Event::Spawned { child, pid });
            }
            Action::Terminate(child) | Action::StopAfterQueue(child) => {
                self.send(&ToChild::Stop);
                self.supervisor.handle(Instant::now(), Event::StopOrdered(child));
            }
            Action::Lead(_) => self.lead(),
            Action::Resign(_) => self.send(&ToChild::Resign),
            Action::AnnounceStop(_) => self.send(&ToChild::AnnounceStop),
            Action::Kill(_) | Action::KillFailed(_) => self.end_at_once(),
            Action::RefuseConnections => {
                self.sockets.refuse_connections();
                self.supervisor.handle(Instant::now(), Event::ConnectionsRefused);
            }
            Action::CheckQueues => {
                let holders = Holders::default();
                let _hold = holders.add(self.held.clone(), Holding::Live);
                if !self.sockets.have_last_queue(&holders) {
                    self.supervisor.handle(Instant::now(), Event::QueuesEmpty);
                }
            }
            Action::CloseListeners => self.sockets.close(),
            Action::Hook(Hook::MasterReady(pids)) => self.on_ready(&pids),
            Action::Log(remark) => {
                self.at_once |= remark == Remark::StoppingAtOnce;
                self.log(&remark);
            }
            // No child is started or replaced.
            Action::Withdraw(_)
            | Action::Hook(Hook::ChildSpawn(_) | Hook::ChildRecover { .. })
            | Action::CloseSlot
            | Action::WatchCanary
            | Action::AskCanary
            | Action::Exec
            | Action::Finish(_) => {}
        }
    }

    fn send(&mut self, message: &ToChild) {
        if let Err(error) = self.reactor.send(CHILD, &message.to_line()) {
            self.report_unsent(message, &error);
        }
    }

    fn lead(&mut self) {
        self.send(&ToChild::Lead);
        self.report_leader();
    }

    fn on_ready(&mut self, pids: &[u32]) {
        const NAME: &str = "on_master_ready";
        self.announce_ready();
        let Some(hook) = &self.hooks.on_master_ready else { return };
        let _guard = sys::TerminalGuard::begin();
        if let Err(failure) = hooks::run(|| hook(pids)) {
            any_fleet::report_hook_failed(&self.logger, NAME, &failure);
            self.cause.get_or_insert(Cause::of_hook(NAME, failure));
            self.supervisor.handle(Instant::now(), Event::HookFailed);
        }
    }

    /// Ends the process where a child would be killed: after its grace, with failure, or on request.
    fn end_at_once(&mut self) {
        self.close();
        self.observers.finish(&self.supervisor, None);
        logging::flush();
        sys::exit_now(i32::from(!self.at_once));
    }

    /// Closes what has to be closed before the end of the process: files are removed.
    fn close(&mut self) {
        self.sockets.close();
        self.pid_file = None;
        if let Some(Cause::Error(error)) = &self.cause {
            self.observers.failed(&chain(error));
        }
        self.observers.update(&self.supervisor, &self.sockets, Vec::new(), None);
    }

    fn conclude(mut self, ended: Ended) -> Result<(), Cause> {
        let was_asked = !self.supervisor.is_active();
        self.close();
        match ended {
            Ended::Panicked | Ended::NotCalled => {}
            Ended::Returned if !was_asked => self.report_returned(),
            Ended::Returned | Ended::Drained if self.cause.is_none() => {
                any_fleet::report_stopped(&self.logger);
            }
            Ended::Returned | Ended::Drained => {}
        }
        let problem = match &self.cause {
            Some(Cause::Error(error)) => Some(chain(error).to_string()),
            Some(Cause::Panic(_)) => Some("a hook panicked".to_owned()),
            None => None,
        };
        self.observers.finish(&self.supervisor, problem.as_ref().map(|problem| problem as &dyn fmt::Display));
        let outcome = self.cause.take().map_or(Ok(()), Err);
        if ended == Ended::Drained {
            end_process(&outcome);
        }
        logging::flush();
        outcome
    }
}

/// Ends a process whose serve function does not return.
fn end_process(outcome: &Result<(), Cause>) -> ! {
    /// That of a program that panicked.
    const PANICKED: i32 = 101;
    let status = match outcome {
        Ok(()) => 0,
        Err(Cause::Error(error)) => {
            logging::report_end(format_args!("{}", chain(error)));
            1
        }
        Err(Cause::Panic(_)) => PANICKED,
    };
    logging::flush();
    std::process::exit(status)
}

/// One child, which is not replaced. A debugger may hold it before it is ready.
fn settings(settings: Settings) -> Settings {
    Settings { workers: 1, most_workers: 1, max_lifetime: None, start_timeout: Duration::MAX, ..settings }
}

fn handshake(grace: Duration) -> Handshake {
    Handshake {
        slot: 0,
        fleet: 1,
        generation: 0,
        master: std::process::id(),
        grace,
        trial: false,
        upgrade: false,
        check: None,
        template: false,
        secrets: false,
        title: String::new(),
        privileges: crate::privileges::Privileges::default(),
        // Values are shared with no other process.
        lane: None,
    }
}
