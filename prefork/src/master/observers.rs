//! The observers of the fleet's state, updated after each turn of the loop: service manager, health endpoint,
//! control socket, and the program's own handle. Those of a large fleet are updated at intervals of some milliseconds,
//! and at once when its [`FleetState`] is another one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::board::Board;
use super::control::{Control, ControlSocket, HaltedControl, Submitted};
use super::health::HealthServer;
use super::metrics::History;
use super::systemd::ServiceManager;
use super::templates::TemplateStatus;
use super::{FleetHandle, messages};
use crate::hooks::NotReopened;
use crate::listen::{SocketSet, WatchedListeners};
use crate::logging::{Follower, Logger};
use crate::supervisor::{FleetState, FleetStatus, Remark, Supervisor};
use crate::sys::Reactor;

/// The state of a fleet with more children than these is not told in each turn, because collecting it takes time for each
/// child.
const FEW_CHILDREN: usize = 64;
/// Such a state is told again after this time for each child. Collecting it takes less than 100 ns for each: a hundredth.
const PAUSE_PER_CHILD: Duration = Duration::from_micros(10);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Observers {
    service: Option<ServiceManager>,
    /// What the endpoints answer from.
    board: Option<Arc<Board>>,
    health: Option<HealthServer>,
    control: Option<Control>,
    handle: Option<FleetHandle>,
    /// The state that the endpoints and the handle tell.
    posted: Option<FleetState>,
    /// When all observers were told the state last; `None` if they are to be told at the end of this turn.
    told_at: Option<Instant>,
    /// The listeners that the endpoints know of.
    watched: Vec<WatchedListeners>,
    history: History,
}

impl Observers {
    pub(crate) fn new(service: Option<ServiceManager>, handle: Option<FleetHandle>) -> Self {
        Self {
            service,
            board: None,
            health: None,
            control: None,
            handle,
            posted: None,
            told_at: None,
            watched: Vec::new(),
            history: History::new(),
        }
    }

    /// Goes on with what the last program has noted.
    pub(super) fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// What metrics need beside the state of the fleet.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Starts the health endpoint on this listener.
    pub(crate) fn start_health<K: Ord + Copy + Send + 'static>(
        &mut self,
        listener: Socket,
        reactor: &mut Reactor<K>,
        supervisor: &Supervisor,
        sockets: &SocketSet,
        logger: &Logger,
    ) -> io::Result<()> {
        let addr = listener.local_addr()?.as_socket();
        let addr = addr.ok_or_else(|| io::Error::other("not a TCP address"))?;
        let board = self.board(reactor, supervisor, sockets)?;
        self.health = Some(HealthServer::start(listener, board)?);
        messages::announce_health(logger, addr);
        Ok(())
    }

    /// Starts the server of the control socket.
    pub(crate) fn start_control<K: Ord + Copy + Send + 'static>(
        &mut self,
        socket: ControlSocket,
        reactor: &mut Reactor<K>,
        supervisor: &Supervisor,
        sockets: &SocketSet,
        logger: &Logger,
    ) -> io::Result<()> {
        let board = self.board(reactor, supervisor, sockets)?;
        self.control = Some(Control::start(socket, board, logger)?);
        Ok(())
    }

    pub(super) fn set_control(&mut self, control: Control) {
        self.control = Some(control);
    }

    /// What the endpoints answer from.
    pub(super) fn board<K: Ord + Copy + Send + 'static>(
        &mut self,
        reactor: &mut Reactor<K>,
        supervisor: &Supervisor,
        sockets: &SocketSet,
    ) -> io::Result<Arc<Board>> {
        if let Some(board) = &self.board {
            return Ok(Arc::clone(board));
        }
        let fleet = supervisor.status(Instant::now());
        self.watched = sockets.watched();
        let (listeners, history) = (self.watched.clone(), self.history.clone());
        let board = Arc::new(Board::new(reactor.waker()?, fleet, listeners, history));
        Ok(Arc::clone(self.board.insert(board)))
    }

    /// The next operation that a client of the control socket has asked for.
    pub(crate) fn take_operation(&mut self) -> Option<Submitted> {
        self.control.as_mut()?.take()
    }

    pub(crate) fn begin_operation(
        &mut self,
        submitted: Submitted,
        record: Arc<Follower>,
        before: &FleetStatus,
        after: &FleetStatus,
    ) {
        self.control
            .iter_mut()
            .for_each(|control| control.begin(submitted, Arc::clone(&record), before, after));
    }

    pub(crate) fn refuse_operation(&mut self, submitted: Submitted, reason: String) {
        self.control.iter_mut().for_each(|control| control.refuse(submitted, reason.clone()));
    }

    /// Log files were opened again, or were not.
    pub(crate) fn answer_reopen(
        &self,
        submitted: Submitted,
        since: Instant,
        generation: u32,
        reopened: Result<String, NotReopened>,
    ) {
        if let Some(control) = &self.control {
            control.answer_reopen(submitted, since, generation, reopened);
        }
    }

    /// Notes what the supervisor says.
    pub(crate) fn note_remark(&mut self, remark: &Remark) {
        self.control.iter_mut().for_each(|control| control.note(remark));
    }

    /// The control socket that an upgraded program keeps.
    pub(super) fn control_socket(&self) -> Option<&ControlSocket> {
        self.control.as_ref()?.socket()
    }

    /// Whether a client of the control socket has asked for something that was not taken yet.
    pub(super) fn has_operation(&self) -> bool {
        self.control.as_ref().is_some_and(Control::has_submitted)
    }

    /// Stops the server of the control socket before an exec.
    pub(super) fn halt_control(&self) -> Option<HaltedControl> {
        self.control.as_ref().map(Control::halt)
    }

    /// The exec has failed: the control socket serves on.
    pub(super) fn go_on_with_control(&mut self, halted: Option<HaltedControl>, logger: &Logger) {
        let (Some(control), Some(halted), Some(board)) = (&mut self.control, halted, &self.board) else {
            return;
        };
        if let Err(error) = control.go_on(halted, board) {
            self.control = None;
            messages::report_control_lost(logger, &error);
        }
    }

    /// The fleet has ended: closes the endpoints, and answers the clients that wait for that.
    pub(crate) fn finish(&mut self, supervisor: &Supervisor, problem: Option<&dyn fmt::Display>) {
        self.health.take().into_iter().for_each(HealthServer::close);
        if let Some(control) = self.control.take() {
            control.finish(&supervisor.status(Instant::now()), problem);
        }
    }

    /// Notes that a child of the slot has ended, which had used so much CPU time.
    pub(super) fn child_ended(&self, slot: usize, cpu: Duration) {
        self.history.child_ended(slot, cpu);
    }

    /// The listener that an upgraded program keeps.
    pub(super) fn health_listener(&self) -> Option<&Socket> {
        self.health.as_ref().map(HealthServer::listener)
    }

    /// Updates the observers at the end of a turn. `deadline` is the next one of the fleet. Returns the latest time of
    /// the next update.
    pub(crate) fn update(
        &mut self,
        supervisor: &Supervisor,
        sockets: &SocketSet,
        templates: Vec<TemplateStatus>,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        self.history.note_changes(supervisor.totals());
        if self.service.is_none() && self.board.is_none() && self.handle.is_none() {
            return None;
        }
        let now = Instant::now();
        if let Some(later) = self.is_told_later(now, supervisor) {
            self.end_turn();
            return Some(later);
        }
        self.told_at = Some(now);
        let fleet = supervisor.status(now);
        let next = self.service.as_mut().and_then(|service| service.update(now, &fleet, deadline));
        self.posted = Some(fleet.state);
        if let Some(handle) = &self.handle {
            handle.post(fleet.clone());
        }
        if let Some(board) = &self.board {
            if !sockets.are_watched(&self.watched) {
                self.watched = sockets.watched();
                board.watch(self.watched.clone());
            }
            board.post_all(fleet.clone(), templates);
        }
        self.end_turn();
        // A client that has its answer finds in `/status` what it was told.
        self.control.iter_mut().for_each(|control| control.end_turn(&fleet));
        next
    }

    /// When the state of the fleet is to be told, if that is not now. A new [`FleetState`] is told at once.
    fn is_told_later(&self, now: Instant, supervisor: &Supervisor) -> Option<Instant> {
        let children = supervisor.number_of_children();
        let is_told_now = children <= FEW_CHILDREN || self.posted != Some(supervisor.state());
        let pause = PAUSE_PER_CHILD * u32::try_from(children).unwrap_or(u32::MAX);
        let at = self.told_at.filter(|_| !is_told_now)? + pause;
        (at > now).then_some(at)
    }

    fn end_turn(&self) {
        if self.board.as_ref().is_some_and(|board| board.end_turn()) {
            self.health.iter().for_each(HealthServer::wake);
            self.control.iter().for_each(Control::wake);
        }
    }

    /// Posts a new state of the fleet during a turn, before the log and hooks tell of it. The service manager
    /// waits for the end of the turn: a hook may end the fleet that has just started.
    pub(crate) fn post_change(&mut self, supervisor: &Supervisor) {
        let is_observed = self.board.is_some() || self.handle.is_some();
        if !is_observed || self.posted == Some(supervisor.state()) {
            return;
        }
        self.history.note_changes(supervisor.totals());
        let fleet = supervisor.status(Instant::now());
        self.posted = Some(fleet.state);
        // The service manager and the control socket are told at the end of the turn, also of a large fleet.
        self.told_at = None;
        if let Some(handle) = &self.handle {
            handle.post(fleet.clone());
        }
        if let Some(board) = &self.board {
            board.post(fleet);
        }
    }

    /// See [`ServiceManager::reload_begins`].
    pub(crate) fn reload_begins(&mut self) {
        if let Some(service) = &mut self.service {
            service.reload_begins();
        }
    }

    /// See [`ServiceManager::reload_failed`].
    pub(crate) fn reload_failed(&mut self, how: &'static str) {
        if let Some(service) = &mut self.service {
            service.reload_failed(how);
        }
    }

    /// Reports the error that ended the fleet.
    pub(crate) fn failed(&mut self, error: &dyn fmt::Display) {
        if let Some(service) = &mut self.service {
            service.failed(error);
        }
    }
}

/// How long a master's loop may wait from now on: until the first of these; `None` is for ever.
pub(crate) fn time_to_first<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Duration> {
    let first = deadlines.into_iter().flatten().min()?;
    Some(first.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Event, Request, Settings, settings};

    fn supervisor(workers: usize) -> Supervisor {
        Supervisor::new(Settings { stop_delay: Duration::from_secs(9), ..settings(workers) })
    }

    #[test]
    fn large_fleet_is_told_after_a_pause_and_a_small_one_at_once() {
        let now = Instant::now();
        let told_later = |workers: usize, at: Instant| {
            let supervisor = supervisor(workers);
            let mut observers = Observers::new(None, None);
            (observers.posted, observers.told_at) = (Some(supervisor.state()), Some(now));
            observers.is_told_later(at, &supervisor)
        };
        assert_eq!(told_later(FEW_CHILDREN, now), None);
        let pause = Duration::from_millis(10);
        assert_eq!(told_later(1000, now + pause / 2), Some(now + pause));
        assert_eq!(told_later(1000, now + pause), None);
    }

    #[test]
    fn another_state_of_a_large_fleet_is_told_at_once() {
        let now = Instant::now();
        let mut supervisor = supervisor(1000);
        let mut observers = Observers::new(None, None);
        (observers.posted, observers.told_at) = (Some(supervisor.state()), Some(now));
        supervisor.handle(now, Event::Request(Request::Stop));
        assert_eq!(observers.is_told_later(now, &supervisor), None);
    }

    #[test]
    fn all_observers_are_told_at_once_what_some_were_told_during_the_turn() {
        let now = Instant::now();
        let mut supervisor = supervisor(1000);
        let mut observers = Observers::new(None, Some(FleetHandle::new()));
        (observers.posted, observers.told_at) = (Some(supervisor.state()), Some(now));
        observers.post_change(&supervisor);
        assert!(observers.is_told_later(now, &supervisor).is_some(), "nothing has changed");
        supervisor.handle(now, Event::Request(Request::Stop));
        observers.post_change(&supervisor);
        assert_eq!(observers.is_told_later(now, &supervisor), None);
    }
}
