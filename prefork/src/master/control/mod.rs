//! The control socket: HTTP over a Unix socket, by which root and the master's own user operate the fleet.
//!
//! A thread of its own answers the clients, as that of the health endpoint does. What a client asks for goes to the
//! master's loop over the [`Desk`], becomes a request as a signal makes it, and is answered when the [`Tracker`] finds
//! that it has ended. An upgrade hands the connections over to the next program, which answers.
//!
//! ```text
//! client ─▶ responder.rs ─▶ desk.rs ─▶ perform.rs ─▶ supervisor
//!        ◀─               ◀─        ◀─ tracker.rs ◀─
//! ```
//!
//! - `mod.rs`: the socket, the server, and the operation that is under way
//! - `operation.rs`: what can be asked for, and the answer
//! - `parameters.rs`: the parameters of a request
//! - `responder.rs`: what the server answers
//! - `desk.rs`: what the server's thread and the master's loop exchange
//! - `tracker.rs`: PURE: how an operation ends
//! - `perform.rs`: an operation as requests to the supervisor
//! - `handover.rs`: what an upgrade hands over

mod desk;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod handover;
mod operation;
mod parameters;
mod perform;
mod responder;
mod tracker;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use socket2::Socket;

use desk::Desk;
pub(crate) use desk::Submitted;
pub(crate) use handover::HaltedControl;
pub(crate) use operation::Operation;
use operation::{OperationResult, Outcome};
use responder::ControlResponder;
use tracker::{Ending, Tracker};

use super::board::Board;
use super::http::{Clients, HttpServer};
use crate::error::Error;
use crate::hooks::NotReopened;
use crate::logging::{Follower, LoggedEvent, Logger, Origin};
use crate::supervisor::{FleetStatus, Remark};
use crate::sys::{self, ControlListener, Peer, SocketFile, SocketFileOptions};

/// Only the master's own user, and root.
const MODE: u32 = 0o600;
const BACKLOG: i32 = 128;
/// How long the end of the master waits for clients that have not received their answer.
const END_LIMIT: Duration = Duration::from_secs(1);
/// The log messages in an answer.
const LOG_LINES: usize = 20;

const THREAD: &str = "prefork-control";

/// Who has asked for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) uid: u32,
    pub(crate) pid: Option<u32>,
}

impl From<Peer> for Requester {
    fn from(Peer { uid, pid }: Peer) -> Self {
        Self { uid, pid }
    }
}

/// `uid 0 (pid 4711)`.
impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

/// A control socket that listens. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    socket: Socket,
    file: SocketFile,
}

impl ControlSocket {
    /// Opens the socket. Its file never has a wider mode than 0600.
    ///
    /// # Errors
    ///
    /// [`Error::Control`], also if another process listens there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::try_open(path).map_err(|source| Error::Control { path: path.to_owned(), source })
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        let options = SocketFileOptions { mode: Some(MODE), ..SocketFileOptions::default() };
        let (socket, mut file) = SocketFile::bind(path, options)?;
        socket.listen(BACKLOG)?;
        file.listens();
        Ok(Self { path: path.to_owned(), socket, file })
    }

    /// Whether it is the socket of this path, and can be reached there.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path && self.file.is_in_place()
    }
}

/// The control socket and its server.
#[derive(Debug)]
pub(crate) struct Control {
    /// `None` once the master ends.
    socket: Option<ControlSocket>,
    desk: Arc<Desk>,
    server: HttpServer<ControlListener, ControlResponder>,
    logger: Logger,
    tracked: Option<Tracked>,
}

/// The operation that is under way.
#[derive(Debug)]
struct Tracked {
    id: u64,
    operation: Operation,
    since: Instant,
    tracker: Tracker,
    /// What was logged since its start.
    record: Arc<Follower>,
}

impl Control {
    pub(super) fn start(socket: ControlSocket, board: Arc<Board>, logger: &Logger) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let (clients, _) = clients(&socket, board, &desk, logger)?;
        let server = HttpServer::resume(clients)?;
        Ok(Self::new(socket, desk, server, logger))
    }

    fn new(
        socket: ControlSocket,
        desk: Arc<Desk>,
        server: HttpServer<ControlListener, ControlResponder>,
        logger: &Logger,
    ) -> Self {
        let control = Self { socket: Some(socket), desk, server, logger: logger.clone(), tracked: None };
        if let Some(ControlSocket { path, .. }) = &control.socket {
            logger.event("control").info(format_args!("control socket on {}", path.display()));
        }
        control
    }

    /// The socket that an upgraded program keeps.
    pub(super) fn socket(&self) -> Option<&ControlSocket> {
        self.socket.as_ref()
    }

    /// Makes the server ask for the answers that wait.
    pub(super) fn wake(&self) {
        self.server.wake();
    }

    /// The next operation that a client has asked for. It is logged.
    pub(super) fn take(&mut self) -> Option<Submitted> {
        let submitted = self.desk.take_submitted()?;
        let Submitted { operation, requester, .. } = submitted;
        let event = self.logger.event("control_request");
        event.info(format_args!("{requester} requests {} by the control socket", operation.describe()));
        Some(submitted)
    }

    /// The operation has begun: `before` is the fleet before it was requested, `after` right after that.
    pub(super) fn begin(
        &mut self,
        submitted: Submitted,
        record: Arc<Follower>,
        before: &FleetStatus,
        after: &FleetStatus,
    ) {
        let Submitted { id, operation, .. } = submitted;
        if let Some(earlier) = self.tracked.take_if(|earlier| earlier.id != id) {
            let ending = match operation {
                Operation::Rollback => Ending::new(OperationResult::Superseded, "a rollback was requested"),
                _ => Ending::new(OperationResult::Cancelled, "a stop was requested"),
            };
            self.conclude(earlier, after.generation, ending);
        }
        // A stop at once that makes an earlier one quicker goes on with what is known of that.
        if self.tracked.is_none() {
            let tracker = Tracker::begin(operation, before, after);
            let since = self.desk.under_way().map_or_else(Instant::now, |under_way| under_way.since);
            if self.desk.note_progress(id, after, tracker.progress()) {
                self.wake();
            }
            self.tracked = Some(Tracked { id, operation, since, tracker, record });
        }
    }

    /// The operation does not begin.
    pub(super) fn refuse(&mut self, submitted: Submitted, reason: String) {
        let Submitted { id, operation, .. } = submitted;
        self.desk.conclude(id, Outcome::refusal(operation.name(), OperationResult::Refused, reason));
        self.wake();
    }

    /// Log files were opened again, or were not. That is over at once, whatever else is under way.
    pub(super) fn answer_reopen(
        &self,
        submitted: Submitted,
        since: Instant,
        generation: u32,
        reopened: Result<String, NotReopened>,
    ) {
        let (result, generation, message) = match reopened {
            Ok(message) => (OperationResult::Done, generation, message),
            Err(NotReopened::HookFailed(problem)) => (OperationResult::Aborted, generation, problem),
            Err(NotReopened::NoHook) => {
                (OperationResult::Refused, 0, "the program has no hook on_log_reopen".to_owned())
            }
        };
        let refusal = Outcome::refusal(submitted.operation.name(), result, message);
        self.desk.conclude(submitted.id, Outcome { generation, elapsed: since.elapsed(), ..refusal });
        self.wake();
    }

    /// Notes what the supervisor says.
    pub(super) fn note(&mut self, remark: &Remark) {
        self.tracked.iter_mut().for_each(|tracked| tracked.tracker.note(remark));
    }

    /// Looks how far the operation is that is under way.
    pub(super) fn end_turn(&mut self, fleet: &FleetStatus) {
        let Some(tracked) = &mut self.tracked else { return };
        if let Some(ending) = tracked.tracker.turn(fleet) {
            if let Some(tracked) = self.tracked.take() {
                self.conclude(tracked, fleet.generation, ending);
            }
        } else if self.desk.note_progress(tracked.id, fleet, tracked.tracker.progress()) {
            self.wake();
        }
    }

    fn conclude(&self, tracked: Tracked, generation: u32, ending: Ending) {
        let Tracked { id, operation, since, tracker, record } = tracked;
        let Ending { result, message, slot } = ending;
        let progress = tracker.progress();
        let events = events_about(&record, slot);
        let message = match last_of_master(&events) {
            // The reason is in the log, and nowhere else.
            Some(reason) if result == OperationResult::Aborted && slot.is_none() => reason,
            _ => message,
        };
        let log = texts(&events);
        let outcome = Outcome {
            operation: operation.name(),
            result,
            message,
            generation,
            replaced: progress.replaced,
            of: progress.of,
            elapsed: since.elapsed(),
            log,
        };
        self.desk.conclude(id, outcome);
        self.wake();
    }

    /// The fleet has ended: removes the file, and answers every client. Its listeners are closed by now. Waits for the
    /// answers no longer than [`END_LIMIT`].
    pub(super) fn finish(mut self, fleet: &FleetStatus, problem: Option<&dyn fmt::Display>) {
        // A master that is started upon the answer finds the path free.
        self.socket = None;
        if let Some(mut tracked) = self.tracked.take() {
            let _ = tracked.tracker.turn(fleet);
            let is_stop = matches!(tracked.operation, Operation::Stop { .. });
            let ending = match problem {
                None if is_stop => Ending::new(OperationResult::Done, "stopped"),
                Some(problem) if is_stop => {
                    Ending::new(OperationResult::Done, format!("stopped; the fleet has failed: {problem}"))
                }
                None => Ending::new(OperationResult::Cancelled, "the fleet has ended"),
                Some(problem) => {
                    Ending::new(OperationResult::Cancelled, format!("the fleet has ended: {problem}"))
                }
            };
            self.conclude(tracked, fleet.generation, ending);
        }
        self.desk.close();
        self.server.finish(END_LIMIT);
    }
}

/// The server's clients, of which there are none yet.
fn clients(
    socket: &ControlSocket,
    board: Arc<Board>,
    desk: &Arc<Desk>,
    logger: &Logger,
) -> io::Result<(Clients<ControlListener, ControlResponder>, Arc<ControlResponder>)> {
    let responder = Arc::new(ControlResponder::new(board, Arc::clone(desk), logger.clone()));
    let listener = sys::control_listener(&socket.socket)?;
    let clients = Clients::new(THREAD, listener, Arc::clone(&responder))?;
    responder.set_waker(clients.waker());
    Ok((clients, responder))
}

/// The last messages that concern an operation: warnings, and what is about the slot whose child has failed. Where that
/// is known, the other children's own warnings do not concern it.
fn events_about(record: &Follower, slot: Option<usize>) -> Vec<Arc<LoggedEvent>> {
    let concerns = |event: &Arc<LoggedEvent>| {
        let is_about_slot = slot.is_some() && event.slot == slot;
        is_about_slot || (event.level <= Level::Warn && (slot.is_none() || !event.is_of_child()))
    };
    let mut events = record.take(usize::MAX).unwrap_or_default();
    events.retain(concerns);
    events.drain(..events.len().saturating_sub(LOG_LINES));
    events
}

/// What the master itself has said last.
fn last_of_master(events: &[Arc<LoggedEvent>]) -> Option<String> {
    events.iter().rfind(|event| event.origin == Origin::Master).map(|event| event.text.clone())
}

fn texts(events: &[Arc<LoggedEvent>]) -> Vec<String> {
    events.iter().map(|event| event.text.clone()).collect()
}
