//! The production example: TLS, database, WebSockets, event streams, flags and log, through a reload and a stop.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, LoadClient, with_retry};
use prefork_tests::signal::Signal;
use prefork_tests::tls::{TestCertificate, TlsClient};
use prefork_tests::wait;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// What a server and its clients need: a certificate, and a directory for the database.
struct Setup {
    certificate: TestCertificate,
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        Self { certificate: TestCertificate::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn server(&self) -> Server {
        let mut server = Server::example("axum_production").env("PREFORK_SHUTDOWN_GRACE", "20s");
        server.command.arg("--database").arg(self.directory.path().join("notes.db"));
        server.command.arg("--cert").arg(self.certificate.cert());
        server.command.arg("--key").arg(self.certificate.key());
        server
    }

    fn client(&self, fleet: &RunningFleet) -> Client {
        Client { tls: TlsClient::new(&[&self.certificate], None), addr: fleet.addr() }
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

#[derive(Clone)]
struct Client {
    tls: TlsClient,
    addr: SocketAddr,
}

impl Client {
    fn connect(&self) -> io::Result<Tls> {
        let stream = TcpStream::connect_timeout(&self.addr, wait::LIMIT)?;
        stream.set_read_timeout(Some(wait::LIMIT))?;
        self.tls.over(stream)
    }

    fn https(&self) -> Https {
        Https { client: self.clone(), stream: None }
    }

    /// A WebSocket, and the pid in the server's first message.
    fn websocket(&self) -> (WebSocket<Tls>, u32) {
        let (mut socket, _) = tungstenite::client("wss://localhost/ws", self.connect().unwrap()).unwrap();
        let greeting = socket.read().unwrap().into_text().unwrap();
        let pid = greeting.strip_prefix("process ").and_then(|pid| pid.parse().ok());
        (socket, pid.unwrap_or_else(|| panic!("{greeting}")))
    }

    /// The notes that one event stream brings, until the server ends it or `is_enough`. Panics unless the stream ends
    /// with its final chunk and with the end of TLS.
    fn events(&self, after: i64, mut is_enough: impl FnMut(i64) -> bool) -> Vec<i64> {
        let mut stream = BufReader::new(self.connect().unwrap());
        write!(stream.get_mut(), "GET /events HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {after}\r\n\r\n")
            .unwrap();
        let head = read_head(&mut stream).unwrap();
        assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
        let mut ids = Vec::new();
        while let Some(chunk) = read_chunk(&mut stream) {
            ids.extend(chunk.lines().filter_map(|line| line.strip_prefix("id: ")?.parse::<i64>().ok()));
            // Looked at after each chunk: those without an event keep the connection alive.
            if is_enough(*ids.last().unwrap_or(&after)) {
                return ids;
            }
        }
        // `StreamOwned` reports a connection that ends without close_notify as an error.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        ids
    }
}

fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut head = Vec::new();
    loop {
        match read_line(stream)?.as_str() {
            "" => return Ok(head),
            line => head.push(line.to_ascii_lowercase()),
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// A chunk of a body, or `None` if it is the final one.
fn read_chunk(stream: &mut impl BufRead) -> Option<String> {
    let length = usize::from_str_radix(&read_line(stream).unwrap(), 16).unwrap();
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).unwrap();
    (length > 0).then(|| String::from_utf8(chunk).unwrap())
}

/// A kept HTTPS connection. It is used again until an answer has `Connection: close`.
struct Https {
    client: Client,
    stream: Option<BufReader<Tls>>,
}

impl Https {
    fn get(&mut self, path: &str) -> io::Result<Value> {
        let answer = self.request(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"), 200)?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Stores a note; returns it as the server has stored it.
    fn post(&mut self, text: &str) -> io::Result<Value> {
        let body = format!("{{\"text\": \"{text}\"}}");
        let length = body.len();
        let head = "POST /notes HTTP/1.1\r\nHost: test\r\nContent-Type: application/json";
        let answer = self.request(&format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"), 201)?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Returns the body of the answer.
    fn request(&mut self, request: &str, status: u16) -> io::Result<Vec<u8>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(self.client.connect()?),
        };
        stream.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut stream)?;
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| io::Error::other(format!("no length: {head:?}")))?];
        stream.read_exact(&mut body)?;
        if !head[0].starts_with(&format!("http/1.1 {status}")) {
            return Err(io::Error::other(format!("{head:?} {}", String::from_utf8_lossy(&body))));
        }
        if !head.iter().any(|line| line == "connection: close") {
            self.stream = Some(stream);
        }
        Ok(body)
    }
}

/// The ids of all notes.
fn stored(client: &Client) -> Vec<i64> {
    let mut connection = client.https();
    let mut ids = Vec::new();
    loop {
        let page = connection.get(&format!("/notes?after={}", ids.last().unwrap_or(&0))).unwrap();
        match page.as_array().unwrap().as_slice() {
            [] => return ids,
            page => ids.extend(page.iter().map(|note| note["id"].as_i64().unwrap())),
        }
    }
}

/// The id and the slot of each note that was created.
type Created = Arc<Mutex<BTreeMap<i64, i64>>>;

/// The number of notes that `/metrics` tells.
fn counted(client: &Client) -> usize {
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    let metrics = String::from_utf8(client.https().request(request, 200).unwrap()).unwrap();
    let samples = metrics.lines().filter(|line| line.starts_with("notes_created_total{slot="));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

/// A client that stores notes, and adds them to `created`.
fn writer(client: &Client, keeps: bool, created: &Created) -> LoadClient {
    let (client, created) = (client.clone(), Arc::clone(created));
    let mut connection = client.https();
    with_retry(Box::new(move || {
        if !keeps {
            connection = client.https();
        }
        let note = connection.post("a note")?;
        created.lock().unwrap().insert(note["id"].as_i64().unwrap(), note["slot"].as_i64().unwrap());
        Ok("created".to_owned())
    }))
}

/// Reads a WebSocket until the server closes it; returns the code.
fn close_code(mut socket: WebSocket<Tls>) -> Option<CloseCode> {
    let code = loop {
        match socket.read().unwrap() {
            Message::Close(frame) => break frame.map(|frame| frame.code),
            message => assert!(!message.is_text() && !message.is_binary(), "{message:?}"),
        }
    };
    // This sends the answer, after which the server closes the connection. It is not reset. TLS has no end of its
    // own: axum's `WebSocket` ends that of WebSockets only.
    match socket.read() {
        Err(tungstenite::Error::ConnectionClosed) => {}
        Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => panic!("{other:?}"),
    }
    code
}

/// Waits for the end of a WebSocket and opens another, until one is at a process that is not among `old`.
fn reconnect(client: &Client, mut socket: WebSocket<Tls>, old: &[u32]) -> WebSocket<Tls> {
    loop {
        assert_eq!(close_code(socket), Some(CloseCode::Away));
        let pid;
        (socket, pid) = client.websocket();
        if !old.contains(&pid) {
            return socket;
        }
    }
}

fn echo(socket: &mut WebSocket<Tls>, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

/// The last note of a test, once it is known. Its drop ends those who wait for it.
#[derive(Clone, Default)]
struct LastNote(Arc<Mutex<Option<i64>>>);

impl LastNote {
    fn set(&self, id: i64) {
        *self.0.lock().unwrap() = Some(id);
    }

    fn is_reached_by(&self, id: i64) -> bool {
        self.0.lock().unwrap().is_some_and(|last| id >= last)
    }
}

struct EndOfTest(LastNote);

impl Drop for EndOfTest {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

/// Follows the event stream over as many connections as it takes, until the last note has arrived.
fn follow(client: &Client, last: &LastNote) -> (Vec<i64>, usize) {
    let (mut ids, mut connections) = (Vec::new(), 0);
    while !last.is_reached_by(*ids.last().unwrap_or(&0)) {
        connections += 1;
        ids.extend(client.events(*ids.last().unwrap_or(&0), |id| last.is_reached_by(id)));
    }
    (ids, connections)
}

#[test]
fn reload_loses_no_request_no_row_and_no_event_and_says_goodbye_to_websockets() {
    let setup = Setup::new();
    let fleet = setup.server().start();
    let first = fleet.first_children();
    let client = setup.client(&fleet);
    let (created, last) = (Created::default(), LastNote::default());
    let slots = || created.lock().unwrap().values().copied().collect::<BTreeSet<_>>().len();
    let (mut socket, pid) = client.websocket();
    assert!(first.contains(&pid), "{pid}: {first:?}");
    echo(&mut socket, "hello");
    thread::scope(|scope| {
        let _end = EndOfTest(last.clone());
        let events = scope.spawn(|| follow(&client, &last));
        let reconnected = scope.spawn(|| reconnect(&client, socket, &first));
        let mut clients: Vec<_> = [false, true, true].map(|keeps| writer(&client, keeps, &created)).into();
        let mut reader = client.https();
        clients.push(with_retry(Box::new(move || reader.get("/notes").map(|_| "list".to_owned()))));
        let tally = load::run(clients, || {
            fleet.operate(Signal::SIGHUP, 1, "reloaded:");
            fleet.wait_for_children(2, &first);
            wait::until("notes of both slots", || slots() == 2);
        });
        tally.assert_all_answered();
        assert!(tally.answers.keys().eq(["created", "list"]), "{tally:?}");

        echo(&mut reconnected.join().unwrap(), "hello again");

        writer(&client, false, &created)().unwrap();
        let created: Vec<_> = created.lock().unwrap().keys().copied().collect();
        last.set(created[created.len() - 1]);
        assert_eq!(stored(&client), created);
        assert_eq!(counted(&client), created.len());
        let (seen, connections) = events.join().unwrap();
        assert_eq!(seen, created, "over {connections} connections");
        assert!(connections > 1);
    });
    fleet.stop();
}

#[test]
fn stop_ends_websocket_and_event_stream_and_answers_the_request_in_progress() {
    let setup = Setup::new();
    let fleet = setup.server().start();
    let client = setup.client(&fleet);
    let id = client.https().post("kept").unwrap()["id"].as_i64().unwrap();
    let (mut socket, _) = client.websocket();
    echo(&mut socket, "hello");
    let (began, begun) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let (client, fleet) = (&client, &fleet);
        let events = scope.spawn(move || {
            client.events(0, |reached| {
                if reached == id {
                    began.send(()).unwrap();
                }
                false
            })
        });
        begun.recv_timeout(wait::LIMIT).unwrap();
        fleet.signal(Signal::SIGTERM);
        assert_eq!(close_code(socket), Some(CloseCode::Away));
        assert_eq!(events.join().unwrap(), [id]);
    });
    let lines = fleet.expect_stopped();
    assert!(lines.iter().filter(|line| line.contains("migration")).count() == 2, "{lines:#?}");

    // The next fleet has the row, and no migration is left.
    let fleet = setup.server().start();
    assert_eq!(stored(&setup.client(&fleet)), [id]);
    assert!(fleet.console.lines_with("migration").is_empty());
    fleet.stop();
}

#[test]
fn websocket_can_be_opened_during_the_stop_delay() {
    let setup = Setup::new();
    let fleet = setup.server().env("PREFORK_STOP_DELAY", "2s").start();
    let client = setup.client(&fleet);
    fleet.operate(Signal::SIGTERM, 1, "stopping in 2s");
    let (mut socket, _) = client.websocket();
    echo(&mut socket, "hello");
    assert_eq!(close_code(socket), Some(CloseCode::Away));
    fleet.expect_stopped();
}

#[test]
fn flag_overrides_the_environment_variable() {
    let setup = Setup::new();
    let mut server = setup.server().env("PREFORK_WORKERS", "1").env("PREFORK_ADDR", "127.0.0.1:1");
    server.command.args(["--workers", "3", "--addr", "127.0.0.1:0"]);
    let fleet = server.start();
    assert_eq!(fleet.first_children().len(), 3);
    assert_ne!(fleet.addr().port(), 1);
    assert!(fleet.console.says("PREFORK_WORKERS has no effect"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn every_child_finds_the_schema_when_many_start_at_once_and_its_log_lines_name_its_slot() {
    const CHILDREN: usize = 8;
    let setup = Setup::new();
    let fleet = setup.server().env("PREFORK_WORKERS", &CHILDREN.to_string()).start();
    assert_eq!(fleet.first_children().len(), CHILDREN);
    assert_eq!(fleet.console.lines_with("migration").len(), 2);
    let client = setup.client(&fleet);
    let mut slots = BTreeSet::new();
    wait::until("notes of two slots", || {
        slots.insert(client.https().post("a note").unwrap()["slot"].as_u64().unwrap());
        slots.len() >= 2
    });
    for slot in slots {
        fleet.console.wait_for(&format!("child{{slot={slot} generation=0 pid="));
    }
    let lines = fleet.stop();
    // Each line is one of the master, or says which child it is of.
    for line in lines.iter().filter(|line| !line.contains("INFO prefork: ")) {
        assert!(line.contains("child{slot="), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn reload_without_a_database_keeps_the_old_children() {
    let setup = Setup::new();
    let fleet = setup.server().start();
    let client = setup.client(&fleet);
    client.https().post("kept").unwrap();
    let (file, moved) = (setup.directory.path().join("notes.db"), setup.directory.path().join("moved"));
    std::fs::rename(&file, &moved).unwrap();
    std::fs::create_dir(&file).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reload aborted:");
    assert!(fleet.console.says("unable to open database file"), "{:#?}", fleet.console.lines());
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&moved, &file).unwrap();
    assert_eq!(fleet.children().len(), 2);
    assert_eq!(stored(&client).len(), 1);
    fleet.stop();
}
