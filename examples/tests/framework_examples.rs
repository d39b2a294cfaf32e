//! The examples with a framework, and what a server has to live through: reloads under load, and a stop
//! with a request in flight. No client may notice.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, ClientMix, Connection, LoadClient};
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Under wine a process is slow to start, and each has its load.
const MIX: ClientMix = if cfg!(windows) {
    ClientMix { fresh: 1, kept: 1, slow: 1 }
} else {
    ClientMix { fresh: 2, kept: 4, slow: 1 }
};

/// Three reloads while `clients` keep asking. Every request is answered, and each of `kinds` was made.
fn assert_reloads_unnoticed(fleet: &RunningFleet, clients: Vec<LoadClient>, kinds: &[&str]) {
    let first = fleet.first_children();
    let tally = load::run(clients, || {
        for time in 1..=3 {
            fleet.operate(Signal::SIGHUP, time, "reloaded:");
        }
        // The last of the old children has been told to stop; the load goes on until it has ended.
        wait::until("the end of the old children", || fleet.children().len() == 2);
    });
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert!(tally.answers.keys().eq(kinds), "{tally:?}");
    fleet.wait_for_children(2, &first);
}

/// A stop while a slow request and a connection without any are open: the one is answered, the other
/// holds nothing up, and no child has to be killed. Both are open when somebody who came later has been
/// answered: what queues is accepted in turn.
fn assert_stops_in_good_order<T>(
    fleet: RunningFleet,
    mut later: LoadClient,
    slow: impl FnOnce() -> io::Result<T>,
) {
    later().unwrap();
    fleet.stop();
    slow().unwrap();
}

/// The whole life of an example that speaks HTTP.
fn assert_http_clients_notice_nothing(name: &str, mix: ClientMix) {
    assert_nothing_is_noticed(name, mix, |client| client);
}

/// The same, for clients to which more is done.
fn assert_nothing_is_noticed(name: &str, mix: ClientMix, more: fn(LoadClient) -> LoadClient) {
    let fleet = Server::example(name).start();
    let addr = fleet.addr();
    let answer = Connection::to(addr).get("/").unwrap();
    let pid = answer.strip_prefix("hello from process ").and_then(|rest| rest.split(' ').next());
    let pid = pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    assert!(fleet.children().contains(&pid), "{pid} is no child of {}", fleet.master());
    let kinds: &[&str] = if mix.slow == 0 { &["/"] } else { &["/", "/slow"] };
    let clients = load::clients(addr, mix).into_iter().map(more).collect();
    assert_reloads_unnoticed(&fleet, clients, kinds);
    let _idle = TcpStream::connect(addr).unwrap();
    let slow = client::send(addr, "/slow").unwrap();
    let later = Box::new(move || Connection::to(addr).get("/"));
    assert_stops_in_good_order(fleet, later, || slow.finish());
}

#[test]
fn axum() {
    assert_http_clients_notice_nothing("axum", MIX);
}

#[test]
fn hyper() {
    assert_http_clients_notice_nothing("hyper", MIX);
}

#[test]
fn actix() {
    // It does not take `Shutdown`: on Windows a child that is to go waits for a moment without any client.
    let mix = if cfg!(windows) { ClientMix { fresh: 1, kept: 0, slow: 0 } } else { MIX };
    assert_nothing_is_noticed("actix", mix, patient);
}

#[test]
fn warp() {
    assert_nothing_is_noticed("warp", MIX, patient);
}

/// On Windows actix and warp accept to their end, and may close a connection that has just come in: who has
/// heard nothing asks again.
fn patient(mut client: LoadClient) -> LoadClient {
    let was_closed = |error: &io::Error| cfg!(windows) && error.kind() == io::ErrorKind::ConnectionReset;
    Box::new(move || client().or_else(|error| if was_closed(&error) { client() } else { Err(error) }))
}

#[test]
fn tiny_http() {
    assert_http_clients_notice_nothing("tiny_http", MIX);
}

/// Says a line to `line_server`, and does not wait for the answer.
fn say(mut stream: &TcpStream, line: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Waits for the answer to a line; returns whether another line may be said.
fn hear(stream: &TcpStream, line: &str) -> io::Result<bool> {
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let (word, rest) = answer.split_once(' ').unwrap_or_default();
    if !["ok", "bye"].contains(&word) || !rest.starts_with(line) || !rest.ends_with('\n') {
        return Err(io::Error::other(format!("{line} is answered by {answer:?}")));
    }
    Ok(word == "ok")
}

/// A client of `line_server`, which keeps its connection until it is told not to, if it `keeps` any.
fn line_client(addr: SocketAddr, line: &'static str, keeps: bool) -> LoadClient {
    let mut kept: Option<TcpStream> = None;
    Box::new(move || {
        let stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(addr)?,
        };
        say(&stream, line)?;
        let goes_on = hear(&stream, line)?;
        kept = (keeps && goes_on).then_some(stream);
        Ok(line.to_owned())
    })
}

#[test]
fn line_server() {
    let fleet = Server::example("line_server").start();
    let addr = fleet.addr();
    let fresh = (0..MIX.fresh).map(|_| line_client(addr, "hello", false));
    let kept = (0..MIX.kept).map(|_| line_client(addr, "hello", true));
    let slow = (0..MIX.slow).map(|_| line_client(addr, "slow", true));
    assert_reloads_unnoticed(&fleet, fresh.chain(kept).chain(slow).collect(), &["hello", "slow"]);
    let _idle = TcpStream::connect(addr).unwrap();
    let slow = TcpStream::connect(addr).unwrap();
    say(&slow, "slow").unwrap();
    assert_stops_in_good_order(fleet, line_client(addr, "hello", false), || hear(&slow, "slow"));
}

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{addr}")).unwrap()
}

/// Asks `tonic` for the health of a service.
async fn check(channel: Channel, service: &str) -> Result<(), Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    match HealthClient::new(channel).check(request).await?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(Status::unknown(format!("{other:?}"))),
    }
}

/// A client that does so, over a channel that it keeps or each time over a new one.
fn grpc_client(runtime: &Arc<Runtime>, addr: SocketAddr, service: &'static str, keeps: bool) -> LoadClient {
    let runtime = Arc::clone(runtime);
    let endpoint = endpoint(addr);
    let mut kept: Option<Channel> = None;
    Box::new(move || {
        runtime.block_on(async {
            let channel = kept.take().unwrap_or_else(|| endpoint.connect_lazy());
            let mut answer = check(channel.clone(), service).await;
            // On Windows a child that is to go takes connections until it closes them.
            if (keeps || cfg!(windows)) && answer.as_ref().is_err_and(was_never_made) {
                answer = check(channel.clone(), service).await;
            }
            kept = keeps.then_some(channel);
            let failed = |status| io::Error::other(format!("keeps a channel: {keeps}; {status:?}"));
            answer.map(|()| format!("check {service}")).map_err(failed)
        })
    })
}

/// Whether the client gave a call up because GOAWAY came before it was sent, or the server said with
/// GOAWAY that it had not looked at it. Clients are to repeat such a call; tonic's leaves it to us.
fn was_never_made(status: &Status) -> bool {
    let reason = format!("{status:?}");
    reason.contains(r#"hyper::Error(Canceled, "connection closed")"#)
        || reason.contains(r#"GoAway(b"", NO_ERROR, Remote)"#)
}

#[test]
fn tonic() {
    let fleet = Server::example("tonic").start();
    let addr = fleet.addr();
    let runtime = Arc::new(Runtime::new().unwrap());
    let client = |service, keeps| grpc_client(&runtime, addr, service, keeps);
    let fresh = (0..MIX.fresh).map(|_| client("", false));
    let kept = (0..MIX.kept).map(|_| client("", true));
    let slow = (0..MIX.slow).map(|_| client("slow", true));
    assert_reloads_unnoticed(&fleet, fresh.chain(kept).chain(slow).collect(), &["check ", "check slow"]);
    let connect = || runtime.block_on(endpoint(addr).connect()).unwrap();
    let (_idle, slow) = (connect(), runtime.spawn(check(connect(), "slow")));
    assert_stops_in_good_order(fleet, client("", false), || {
        runtime.block_on(slow).unwrap().map_err(io::Error::other)
    });
}

#[test]
fn a_stream_of_tonic_ends_in_good_order() {
    let fleet = Server::example("tonic").start();
    let runtime = Runtime::new().unwrap();
    let mut stream = runtime.block_on(async {
        let mut client = HealthClient::new(endpoint(fleet.addr()).connect().await.unwrap());
        client.watch(Request::new(HealthCheckRequest::default())).await.unwrap().into_inner()
    });
    let first = runtime.block_on(stream.message()).unwrap();
    assert_eq!(first.map(|answer| answer.status()), Some(ServingStatus::Serving));
    fleet.stop();
    assert_eq!(runtime.block_on(stream.message()).unwrap(), None);
}
