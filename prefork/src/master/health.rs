//! The health endpoint: what the HTTP server answers to Kubernetes, a load balancer or another supervisor. It is
//! read-only: see [`Board`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use socket2::Socket;

use super::board::{AwaitedTurn, Board};
use super::http::{self, Answer, HttpRequest, HttpServer, Reply, Responder};
use super::page::page;

/// How long the end of the master waits for the end of the server's thread, which closes the listener.
const END_LIMIT: Duration = Duration::from_millis(100);

/// The health listener and its server. Dropping it closes both.
#[derive(Debug)]
pub(super) struct HealthServer {
    listener: Socket,
    server: HttpServer<TcpListener, HealthResponder>,
}

#[derive(Debug)]
struct HealthResponder(Arc<Board>);

impl HealthServer {
    pub(super) fn start(listener: Socket, board: Arc<Board>) -> io::Result<Self> {
        let responder = Arc::new(HealthResponder(board));
        let server = HttpServer::start("prefork-health", http::tcp_listener(&listener)?, responder)?;
        Ok(Self { listener, server })
    }

    pub(super) fn listener(&self) -> &Socket {
        &self.listener
    }

    /// Makes the server ask for the answers that wait.
    pub(super) fn wake(&self) {
        self.server.wake();
    }

    /// Closes the listener before it returns.
    pub(super) fn close(self) {
        drop(self.server.halt(END_LIMIT));
    }
}

impl Responder for HealthResponder {
    type Pending = AwaitedTurn;

    fn answer(&self, now: Instant, request: &HttpRequest<'_>) -> Reply<AwaitedTurn> {
        let Self(board) = self;
        Reply::Now(match (request.method, request.path) {
            ("GET" | "HEAD", "/livez") => {
                let pending = board.await_turn(now);
                return Reply::Later { until: pending.until, pending };
            }
            ("GET" | "HEAD", "/metrics") => board.metrics(now),
            ("GET" | "HEAD", "/readyz") => board.readiness(),
            ("GET" | "HEAD", "/status") => board.status(now, None),
            ("GET" | "HEAD", "/") => page(),
            ("GET" | "HEAD", _) => {
                Answer::text(404, "not found: try /, /livez, /readyz, /status or /metrics\n")
            }
            _ => Answer::only("GET, HEAD", "method not allowed: use GET or HEAD\n"),
        })
    }

    fn resume(&self, now: Instant, pending: &mut AwaitedTurn) -> Option<Answer> {
        self.0.liveness(now, pending)
    }

    fn note_connections(&self, count: usize) {
        self.0.note_health_connections(count);
    }
}
