//! A service as it runs in production: axum over TLS, a database, a log, a command line, and connections that last.
//!
//! ```console
//! $ cd examples/certs
//! $ cargo run --example axum_production -- --cert cert.pem --key key.pem --database /tmp/notes.db
//! $ curl --cacert cert.pem https://localhost:8080/notes --json '{"text": "hello"}'
//! $ curl --cacert cert.pem https://localhost:8080/notes
//! $ curl --cacert cert.pem --no-buffer https://localhost:8080/events
//! $ curl --cacert cert.pem https://localhost:8080/metrics
//! ```
//!
//! With HUP every child is replaced: requests go on, event streams and WebSockets end and are opened again by their
//! clients. Nothing that has to last is in a child's memory, so it does not matter which child a client reaches.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Json, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use clap::Parser;
use futures_util::{Stream, StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prefork::tokio_rustls::TlsAcceptor;
use prefork::{AsyncFromChild, ChildContext, ConnectionCloseLayer, Prefork, Shutdown};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{FromRow, Row, SqlitePool};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection is idle at the earliest this long after its handshake: its first request may be on the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long a client may take to answer the end of its WebSocket.
const CLOSE: Duration = Duration::from_secs(1);
/// How often an event stream looks for new notes.
const POLL: Duration = Duration::from_millis(200);

/// The command line. A flag overrides the environment variable of its option.
#[derive(Debug, Parser)]
struct Flags {
    /// Where to listen, as PREFORK_ADDR
    #[arg(long)]
    addr: Option<String>,
    /// Number of processes, as PREFORK_WORKERS
    #[arg(long)]
    workers: Option<usize>,
    /// Time that a process has to finish its work, as PREFORK_SHUTDOWN_GRACE
    #[arg(long)]
    shutdown_grace: Option<String>,
    /// Certificate chain (PEM), as PREFORK_CERT
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM), as PREFORK_KEY
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// File of the SQLite database
    #[arg(long, default_value = "notes.db")]
    database: PathBuf,
    /// Least level that is logged: error, warn, info, debug or trace
    #[arg(long, default_value = "info")]
    log: tracing::Level,
}

/// Children have the master's arguments, so they read the same flags.
static FLAGS: LazyLock<Flags> = LazyLock::new(Flags::parse);

fn main() -> ExitCode {
    // In the master and in every child. A child's lines begin with `child{slot=0 generation=0 pid=4711}`: all tasks
    // of its runtime are in the span of `ChildContext::span`.
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_max_level(FLAGS.log).init();
    let Err(error) = fleet(&FLAGS).run() else { return ExitCode::SUCCESS };
    let chain = iter::successors(Some(&error as &dyn Error), |error| (*error).source());
    tracing::error!("{}", chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
    ExitCode::FAILURE
}

/// A method of the builder overrides the environment, so it is called only for a flag that was given.
fn fleet(flags: &Flags) -> Prefork {
    // The protocol of `http1::Builder` below. WebSockets need it.
    let mut fleet = Prefork::new(serve).alpn(["http/1.1"]).nodelay(true);
    if let Some(addr) = &flags.addr {
        fleet = fleet.addr(addr);
    }
    if let Some(workers) = flags.workers {
        fleet = fleet.workers(workers);
    }
    if let Some(grace) = &flags.shutdown_grace {
        fleet = fleet.shutdown_grace(grace.as_str());
    }
    if let (Some(cert), Some(key)) = (&flags.cert, &flags.key) {
        fleet = fleet.cert_files(cert, key);
    }
    fleet
}

/// What the handlers share, in one child.
#[derive(Clone)]
struct App {
    database: Database,
    child: ChildContext,
    /// Connections and WebSockets.
    tasks: TaskTracker,
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/notes", get(list).post(create))
        .route("/events", get(events))
        .route("/ws", get(websocket))
        .route("/metrics", get(metrics))
        // Tells clients that keep their connection not to use it again once this child stops.
        .layer(ConnectionCloseLayer::new(&app.child))
        .with_state(app)
}

async fn serve(
    mut ln: TcpListener,
    acceptor: TlsAcceptor,
    database: Database,
    mut shutdown: Shutdown,
    child: ChildContext,
) -> io::Result<()> {
    let app = App { database: database.clone(), child, tasks: TaskTracker::new() };
    let service = TowerToHyperService::new(routes(app.clone()));
    loop {
        // axum's `accept` waits a moment after an error, such as a lack of descriptors, and tries again.
        let (stream, _) = tokio::select! {
            accepted = Listener::accept(&mut ln) => accepted,
            () = &mut shutdown => break,
        };
        app.tasks.spawn(serve_connection(stream, acceptor.clone(), service.clone(), shutdown.clone()));
    }
    app.tasks.close();
    app.tasks.wait().await;
    // The last process that closes the file merges SQLite's log into it.
    database.0.close().await;
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: TowerToHyperService<Router>,
    shutdown: Shutdown,
) {
    // A failed or late handshake closes the connection.
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let mut http = http1::Builder::new();
    let http = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(http.with_upgrades());
    let stop = async { tokio::join!(shutdown, sleep(FIRST_REQUEST)) };
    tokio::select! {
        // An error of the connection ends this task only.
        _ = connection.as_mut() => return,
        _ = stop => {}
    }
    // hyper closes the connection if it is idle, and otherwise after the request in progress.
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Connections to the database: a pool of this child's own. A connection cannot be used by two processes.
#[derive(Clone)]
struct Database(SqlitePool);

impl AsyncFromChild for Database {
    type Error = sqlx::Error;

    /// An error, also one of a migration, is a child that did not become ready: the log says why, and a reload ends
    /// with the old children in place.
    async fn from_child(_child: &ChildContext) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(&FLAGS.database)
            .create_if_missing(true)
            // Readers and the writer do not wait for each other, in whatever process they are. The file has to be on
            // a disk of this machine.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            // Of all processes one writes at a time; the others wait for it.
            .busy_timeout(Duration::from_secs(5));
        // For each child: the fleet has `workers` times as many, and during a reload twice that.
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        migrate(&pool).await?;
        Ok(Self(pool))
    }
}

/// The schema, step by step. The old program's children serve during a reload, and after one that failed: a step must
/// leave what they use.
const MIGRATIONS: [&str; 2] = [
    "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL)",
    "ALTER TABLE notes ADD COLUMN slot INTEGER NOT NULL DEFAULT 0",
];

/// Every child calls it, and the first one does the work: IMMEDIATE takes the lock that one process can have, which
/// sqlx's own migrator does not. The master is no place for it, because a reload starts new children only.
async fn migrate(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let done: u32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    for (number, step) in (1_u32..).zip(MIGRATIONS).filter(|(number, _)| *number > done) {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
        sqlx::raw_sql(&format!("PRAGMA user_version = {number}")).execute(&mut *transaction).await?;
        tracing::info!("migration {number} is done");
    }
    transaction.commit().await
}

#[derive(Debug, Serialize)]
struct Note {
    id: i64,
    text: String,
    /// The slot of the child that stored it.
    slot: i64,
}

impl FromRow<'_, SqliteRow> for Note {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self { id: row.try_get("id")?, text: row.try_get("text")?, slot: row.try_get("slot")? })
    }
}

#[derive(Debug, Deserialize)]
struct NewNote {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    /// The last note that the client has.
    #[serde(default)]
    after: i64,
}

/// One statement is a transaction, and takes the write lock at once. One that reads first would have to begin IMMEDIATE.
async fn create(State(app): State<App>, Json(new): Json<NewNote>) -> Result<impl IntoResponse, Failure> {
    let insert = "INSERT INTO notes (text, slot) VALUES (?, ?) RETURNING id, text, slot";
    let slot = i64::try_from(app.child.slot()).unwrap_or(i64::MAX);
    let note: Note = sqlx::query_as(insert).bind(new.text).bind(slot).fetch_one(&app.database.0).await?;
    tracing::info!(id = note.id, "note created");
    Ok((StatusCode::CREATED, Json(note)))
}

async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<Vec<Note>>, Failure> {
    Ok(Json(app.database.notes_after(page.after).await?))
}

impl Database {
    async fn notes_after(&self, id: i64) -> Result<Vec<Note>, sqlx::Error> {
        let select = "SELECT id, text, slot FROM notes WHERE id > ? ORDER BY id LIMIT 100";
        sqlx::query_as(select).bind(id).fetch_all(&self.0).await
    }
}

/// New notes as server-sent events, whichever child has stored them. At a stop the stream ends, and not the connection:
/// clients read the end, connect again, and say in `Last-Event-ID` where to go on.
async fn events(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let shutdown = app.child.shutdown();
    // Browsers would wait for some seconds before they connect again.
    let first = stream::once(async { Event::default().retry(Duration::from_millis(100)) });
    let events = first.chain(notes(app.database, last.unwrap_or(0))).map(Ok::<_, Infallible>);
    Sse::new(events.take_until(shutdown)).keep_alive(KeepAlive::default())
}

fn notes(database: Database, last: i64) -> impl Stream<Item = Event> {
    let pages = stream::unfold((database, last), |(database, mut last)| async move {
        let page = match database.notes_after(last).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!("cannot read notes: {error}");
                Vec::new()
            }
        };
        match page.last() {
            Some(note) => last = note.id,
            None => sleep(POLL).await,
        }
        Some((stream::iter(page), (database, last)))
    });
    pages.flatten().map(|note| Event::default().id(note.id.to_string()).data(note.text))
}

/// Sends each message back. The task goes on when its request is answered, so that the child has to wait for it.
async fn websocket(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    let token = app.tasks.token();
    upgrade.on_upgrade(async move |socket| {
        echo(socket, app.child).await;
        drop(token);
    })
}

async fn echo(mut socket: WebSocket, child: ChildContext) {
    let mut shutdown = child.shutdown();
    let greeting = format!("process {}", process::id());
    if socket.send(Message::text(greeting)).await.is_err() {
        return;
    }
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = &mut shutdown => break,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Answered already.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        }
    }
    // "Going away": clients connect again, and reach another child.
    let reason = Utf8Bytes::from_static("this process stops");
    if socket.send(Message::Close(Some(CloseFrame { code: close_code::AWAY, reason }))).await.is_ok() {
        // Until the client's answer. A close with bytes that were not read would be a reset.
        let _ = timeout(CLOSE, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    }
}

/// For Prometheus. What one child counts is a part of the truth, and a scrape reaches any of them; so the numbers are
/// those of the database, which are the same in every child and outlive all of them.
async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let select = "SELECT slot, count(*) FROM notes GROUP BY slot ORDER BY slot";
    let created: Vec<(i64, i64)> = sqlx::query_as(select).fetch_all(&app.database.0).await?;
    let mut text = String::from(
        "# HELP notes_created_total Notes created, by the slot of the child.\n# TYPE notes_created_total counter\n",
    );
    for (slot, count) in created {
        text += &format!("notes_created_total{{slot=\"{slot}\"}} {count}\n");
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

/// An error of the database. The client learns no details.
struct Failure(sqlx::Error);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!("database: {}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
