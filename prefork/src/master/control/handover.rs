//! The control socket over an upgrade: the next program goes on with the listener, with the connections, and with the
//! operation that asked for the upgrade.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::desk::{Desk, UnderWay};
use super::operation::{Operation, OperationResult, Outcome, operation_name};
use super::responder::{ControlResponder, Pending};
use super::tracker::{Progress, Tracker};
use super::{Control, ControlSocket, Requester, Tracked, clients};
use crate::logging::{Follower, Logger};
use crate::master::board::Board;
use crate::master::http::{Clients, Connection, HttpServer, Unanswered};
use crate::protocol::{ClientWait, PassedClient, PassedControl, PassedOperation};
use crate::supervisor::FleetTotals;
use crate::sys::{self, ControlListener, ControlStream, SocketFile};

/// How long the exec waits for the end of the server's thread.
const HALT_LIMIT: Duration = Duration::from_secs(1);
/// The only operation that can be under way in a program that takes over.
const RESUMED: u64 = 1;

/// A control socket whose server has stopped for the exec.
#[derive(Debug)]
pub(crate) struct HaltedControl {
    /// `None` if its thread did not end in time.
    clients: Option<Clients<ControlListener, ControlResponder>>,
    /// The connections that are handed over.
    connections: Vec<(PassedClient, Socket)>,
    operation: Option<PassedOperation>,
}

impl HaltedControl {
    /// What is handed over, beside the listener and the files. The connections have their numbers from `first` on.
    pub(in crate::master) fn passed(
        &self,
        first: usize,
    ) -> (Vec<PassedClient>, Vec<&Socket>, Option<PassedOperation>) {
        let numbered = self.connections.iter().zip(first..);
        let clients = numbered.map(|((client, _), number)| PassedClient { number, ..client.clone() });
        let sockets = self.connections.iter().map(|(_, socket)| socket);
        (clients.collect(), sockets.collect(), self.operation.clone())
    }
}

impl ControlSocket {
    /// The path and the identity of the file.
    pub(in crate::master) fn passed_file(&self) -> (PathBuf, (u64, u64)) {
        (self.path.clone(), self.file.identity())
    }

    pub(in crate::master) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket that the previous program in this process has opened, or one that is opened now.
    pub(in crate::master) fn take_over(
        wanted: &std::path::Path,
        passed: &PassedControl,
        listeners: &[Arc<Socket>],
    ) -> Result<Self, crate::error::Error> {
        // Dropping a file removes it: that of a socket which is not used any more.
        let adopted = passed
            .files
            .iter()
            .filter_map(|(path, identity)| Some((path, SocketFile::adopt(path, *identity).ok()?)));
        let adopted: Vec<_> = adopted.collect();
        let listener = passed.listener.filter(|_| passed.path == wanted);
        let socket = listener.and_then(|number| listeners.get(number)?.try_clone().ok());
        let file = adopted.into_iter().find(|(path, _)| **path == *wanted).map(|(_, file)| file);
        match socket.zip(file) {
            Some((socket, file)) => Ok(Self { path: wanted.to_owned(), socket, file }),
            None => Self::open(wanted),
        }
    }
}

impl Control {
    /// Stops the server, so that no request is taken any more, and no answer is partly sent.
    pub(in crate::master) fn halt(&self) -> HaltedControl {
        let clients = self.server.halt(HALT_LIMIT);
        let tracked = self.tracked.as_ref();
        let under_way = self.desk.under_way().map(|under_way| under_way.id);
        let connections = clients.iter().flat_map(Clients::connections);
        let connections = connections.filter_map(|connection| passed(connection, under_way)).collect();
        let operation = tracked.and_then(|Tracked { operation, .. }| {
            let UnderWay { requester, since, .. } = self.desk.under_way()?;
            let Requester { uid, pid } = requester;
            Some(PassedOperation { name: operation.name().to_owned(), uid, pid, age: since.elapsed() })
        });
        HaltedControl { clients, connections, operation }
    }

    /// Whether a client has asked for something that was not taken yet.
    pub(in crate::master) fn has_submitted(&self) -> bool {
        self.desk.has_submitted()
    }

    /// The exec has failed: serves on.
    ///
    /// # Errors
    ///
    /// The system has no thread.
    pub(in crate::master) fn go_on(&mut self, halted: HaltedControl, board: &Arc<Board>) -> io::Result<()> {
        let clients = match (halted.clients, &self.socket) {
            (Some(clients), _) => clients,
            (None, Some(socket)) => clients(socket, Arc::clone(board), &self.desk, &self.logger)?.0,
            (None, None) => return Ok(()),
        };
        self.server = HttpServer::resume(clients)?;
        Ok(())
    }

    /// Goes on in the program that takes over. `totals` is what the last one had counted.
    pub(in crate::master) fn resume(
        socket: ControlSocket,
        passed: &PassedControl,
        sockets: &[Arc<Socket>],
        (totals, slots): (FleetTotals, usize),
        board: Arc<Board>,
        logger: &Logger,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let (desk, tracked) = resumed(now, passed.operation.as_ref(), totals, slots);
        let desk = Arc::new(desk);
        let (mut clients, responder) = clients(&socket, Arc::clone(&board), &desk, logger)?;
        for client in &passed.clients {
            let stream = sockets.get(client.number).and_then(|socket| socket.try_clone().ok());
            let stream = stream.and_then(|socket| sys::control_stream(socket).ok());
            let connection = stream.and_then(|stream| connection(now, client, stream, &board, &responder));
            connection.map(|connection| clients.add(connection));
        }
        let server = HttpServer::resume(clients)?;
        let control = Self::new(socket, desk, server, logger);
        Ok(Self { tracked, ..control })
    }
}

/// What the next program needs of a connection; `None` if it cannot go on with it. It knows one operation, which is under
/// way now: a client that waits for another one, which has just ended, must not get the answer of that.
fn passed(
    connection: &Connection<ControlStream, Pending>,
    under_way: Option<u64>,
) -> Option<(PassedClient, Socket)> {
    let (waits, input, flag) = match connection.unanswered()? {
        Unanswered::Reading(input) => (ClientWait::Request, input.to_vec(), false),
        Unanswered::Waiting { pending: Pending::Outcome(id), keeps_alive } if Some(*id) == under_way => {
            (ClientWait::Outcome, Vec::new(), keeps_alive)
        }
        Unanswered::Waiting { pending: Pending::Turn(_), keeps_alive } => {
            (ClientWait::Turn, Vec::new(), keeps_alive)
        }
        Unanswered::Streaming { pending: Pending::Progress { id, .. }, chunked }
            if Some(*id) == under_way =>
        {
            (ClientWait::Progress, Vec::new(), chunked)
        }
        Unanswered::Streaming { pending: Pending::Events(_), chunked } => {
            (ClientWait::Events, Vec::new(), chunked)
        }
        _ => return None,
    };
    let socket = sys::duplicate_control(connection.stream()).ok()?;
    Some((PassedClient { number: 0, waits, flag, input }, socket))
}

fn connection(
    now: Instant,
    client: &PassedClient,
    stream: ControlStream,
    board: &Board,
    responder: &ControlResponder,
) -> Option<Connection<ControlStream, Pending>> {
    let connection = Connection::new(stream, now);
    Some(match client.waits {
        ClientWait::Request => connection.with_input(client.input.clone()),
        ClientWait::Outcome => connection.with_waiting(now, Pending::Outcome(RESUMED), client.flag),
        ClientWait::Turn => connection.with_waiting(now, Pending::Turn(board.await_turn(now)), client.flag),
        ClientWait::Progress => {
            connection.with_stream(now, Pending::Progress { id: RESUMED, told: None }, client.flag)
        }
        ClientWait::Events => connection.with_stream(now, Pending::Events(responder.follow()?), client.flag),
    })
}

/// The operation that was under way: an upgrade goes on, and takes the place of any other.
fn resumed(
    now: Instant,
    operation: Option<&PassedOperation>,
    totals: FleetTotals,
    slots: usize,
) -> (Desk, Option<Tracked>) {
    let Some(PassedOperation { name, uid, pid, age }) = operation else { return (Desk::default(), None) };
    let since = now.checked_sub(*age).unwrap_or(now);
    let operation = Operation::Upgrade;
    let requester = Requester { uid: *uid, pid: *pid };
    let progress = Progress { replaced: 0, of: slots };
    let (generation, is_revocable) = (0, false);
    let under_way = UnderWay { id: RESUMED, operation, requester, since, generation, progress, is_revocable };
    let desk = Desk::with(under_way);
    if name != operation.name() {
        let message = "an upgrade has taken its place".to_owned();
        let outcome =
            Outcome::refusal(operation_name(&format!("/{name}")), OperationResult::Superseded, message);
        desk.conclude(RESUMED, Outcome { elapsed: *age, ..outcome });
        return (desk, None);
    }
    let (tracker, record) = (Tracker::resume_upgrade(totals, slots), Follower::record());
    (desk, Some(Tracked { id: RESUMED, operation, since, tracker, record }))
}
