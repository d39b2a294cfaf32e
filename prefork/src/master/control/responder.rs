//! What the control socket answers. It runs in the server's thread.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use mio::Waker;

use super::Requester;
use super::desk::Desk;
use super::operation::{Operation, OperationResult, Outcome, operation_name, operation_paths};
use super::tracker::Progress;
use crate::logging::{Follower, Logger};
use crate::master::board::{AwaitedTurn, Board};
use crate::master::http::{Answer, HttpRequest, LINES, Part, Reply, Responder};
use crate::sys::Peer;

/// How long an operation may take: longer than any start timeout or grace that makes sense.
pub(super) const LONGEST_OPERATION: Duration = Duration::from_secs(24 * 3600);
/// The most clients that follow the log.
const FOLLOWERS_MAX: usize = 16;
/// The length of a part of the log, at about which it ends.
const PART_LENGTH: usize = 32 * 1024;
/// Between two log messages about refused clients.
const REFUSALS_APART: Duration = Duration::from_secs(10);

const BODY: &str = "a request has no body: parameters follow the path, as in `/reload?canary=1`";
const ONLY_GET: &str = "method not allowed: use GET\n";
const ONLY_POST: &str = "method not allowed: use POST\n";

/// See the [module](self).
#[derive(Debug)]
pub(in crate::master) struct ControlResponder {
    board: Arc<Board>,
    desk: Arc<Desk>,
    logger: Logger,
    /// Wakes the server's thread.
    waker: OnceLock<Arc<Waker>>,
    followers: Mutex<Vec<Weak<Follower>>>,
    refusal_reported_at: Mutex<Option<Instant>>,
}

/// What an answer waits for.
#[derive(Debug)]
pub(in crate::master) enum Pending {
    Turn(AwaitedTurn),
    /// The end of an operation.
    Outcome(u64),
    /// Likewise, with its progress until then.
    Progress {
        id: u64,
        told: Option<Progress>,
    },
    /// Events.
    Events(Arc<Follower>),
}

impl ControlResponder {
    pub(super) fn new(board: Arc<Board>, desk: Arc<Desk>, logger: Logger) -> Self {
        Self {
            board,
            desk,
            logger,
            waker: OnceLock::new(),
            followers: Mutex::default(),
            refusal_reported_at: Mutex::default(),
        }
    }

    /// Sets what wakes the server's thread.
    pub(super) fn set_waker(&self, waker: Arc<Waker>) {
        // It is set once.
        let _ = self.waker.set(waker);
    }

    fn read(&self, now: Instant, request: &HttpRequest<'_>) -> Option<Reply<Pending>> {
        Some(Reply::Now(match request.path {
            "/livez" => {
                let pending = self.board.await_turn(now);
                return Some(Reply::Later { until: pending.until, pending: Pending::Turn(pending) });
            }
            "/readyz" => self.board.readiness(),
            "/metrics" => self.board.metrics(now),
            "/status" => self.board.status(now, self.desk.change()),
            "/events" if request.method == "HEAD" => Answer::only("GET", ONLY_GET),
            "/events" => match self.follow() {
                Some(follower) => {
                    return Some(Reply::Stream { kind: LINES, pending: Pending::Events(follower) });
                }
                None => Answer::text(503, "too many clients follow the events\n"),
            },
            _ => return None,
        }))
    }

    /// Follows the log, unless too many do.
    pub(super) fn follow(&self) -> Option<Arc<Follower>> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| follower.strong_count() > 0);
        let waker = Arc::clone(self.waker.get()?);
        // It fails only if the server's thread has ended.
        let notify = move || drop(waker.wake());
        (followers.len() < FOLLOWERS_MAX).then(|| {
            let follower = Follower::reader(notify);
            followers.push(Arc::downgrade(&follower));
            follower
        })
    }

    fn operate(&self, now: Instant, operation: Operation, request: &HttpRequest<'_>) -> Reply<Pending> {
        let Some(peer) = request.peer else { return Reply::Now(forbidden()) };
        match self.desk.submit(now, operation, Requester::from(peer)) {
            Err(outcome) => Reply::Now(answer_of(&outcome)),
            Ok(id) => {
                self.board.wake_supervisor();
                if request.takes_lines {
                    return Reply::Stream { kind: LINES, pending: Pending::Progress { id, told: None } };
                }
                Reply::Later { pending: Pending::Outcome(id), until: now + LONGEST_OPERATION }
            }
        }
    }

    fn report_refused(&self, now: Instant, peer: Option<Peer>) {
        let mut reported_at = self.refusal_reported_at.lock().unwrap_or_else(PoisonError::into_inner);
        if reported_at.is_some_and(|at| now < at + REFUSALS_APART) {
            return;
        }
        *reported_at = Some(now);
        let who =
            peer.map_or_else(|| "an unknown process".to_owned(), |peer| Requester::from(peer).to_string());
        self.logger.event("control_refused").warn(format_args!(
            "{who} is refused at the control socket: only root and the master's own user may use it"
        ));
    }
}

impl Responder for ControlResponder {
    type Pending = Pending;

    fn admit(&self, now: Instant, peer: Option<Peer>) -> Result<(), Answer> {
        if peer.is_some_and(Peer::is_trusted) {
            return Ok(());
        }
        self.report_refused(now, peer);
        Err(forbidden())
    }

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<Pending> {
        let operation = Operation::from_request(request.path, request.query);
        match (request.method, operation) {
            // Parameters in it would be missed.
            ("POST", Some(_)) if request.has_body => {
                let (name, problem) = (operation_name(request.path), BODY.to_owned());
                Reply::Now(answer_of(&Outcome::refusal(name, OperationResult::Invalid, problem)))
            }
            ("POST", Some(Ok(operation))) => self.operate(now, operation, request),
            ("POST", Some(Err(problem))) => {
                let name = operation_name(request.path);
                Reply::Now(answer_of(&Outcome::refusal(name, OperationResult::Invalid, problem)))
            }
            (_, Some(_)) => Reply::Now(Answer::only("POST", ONLY_POST)),
            ("GET" | "HEAD", None) => self.read(now, request).unwrap_or_else(|| Reply::Now(unknown())),
            ("POST", None) => Reply::Now(unknown()),
            (_, None) => Reply::Now(Answer::only("GET, HEAD, POST", "method not allowed: use GET or POST\n")),
        }
    }

    fn resume(&self, now: Instant, pending: &mut Pending) -> Option<Answer> {
        match pending {
            Pending::Turn(awaited) => self.board.liveness(now, awaited),
            Pending::Outcome(id) => self.desk.outcome(*id).map(|outcome| answer_of(&outcome)),
            Pending::Progress { .. } | Pending::Events(_) => None,
        }
    }

    fn next_part(&self, pending: &mut Pending) -> Part {
        match pending {
            Pending::Progress { id, told } => match self.desk.outcome(*id) {
                Some(outcome) => Part::Last(outcome.to_json()),
                None => {
                    let under_way = self.desk.under_way().filter(|under_way| under_way.id == *id);
                    let Some(progress) = under_way.map(|under_way| under_way.progress) else {
                        return Part::None;
                    };
                    if progress.of == 0 || told.replace(progress) == Some(progress) {
                        return Part::None;
                    }
                    let Progress { replaced, of } = progress;
                    Part::More(format!("{{\"replaced\":{replaced},\"of\":{of}}}\n"))
                }
            },
            Pending::Events(follower) => self.next_events(follower),
            Pending::Turn(_) | Pending::Outcome(_) => Part::Last(String::new()),
        }
    }
}

impl ControlResponder {
    fn next_events(&self, follower: &Follower) -> Part {
        // What was said before the end is sent.
        let closed = self.desk.is_closed();
        let Some(events) = follower.take(PART_LENGTH) else { return Part::Last(String::new()) };
        let lines: String = events.iter().map(|event| event.to_json()).collect();
        match (lines.is_empty(), closed) {
            (true, true) => Part::Last(lines),
            (true, false) => Part::None,
            (false, _) => Part::More(lines),
        }
    }
}

fn answer_of(outcome: &Outcome) -> Answer {
    Answer::json(outcome.result.code(), outcome.to_json())
}

fn unknown() -> Answer {
    let operations = operation_paths();
    let text =
        format!("not found: try GET /status, /metrics, /livez, /readyz or /events, or POST {operations}\n");
    Answer::text(404, &text)
}

fn forbidden() -> Answer {
    Answer::text(403, "forbidden: only root and the master's own user control it\n")
}
