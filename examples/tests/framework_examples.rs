//! The examples with a framework: reloads under load, and a stop with a request in flight. No request fails.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

#[cfg(unix)]
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, ClientMix, Connection, LoadClient, with_retry};
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use self::pb::counter_client::CounterClient;
use self::pb::{AddRequest, CountRequest, CountResponse};

#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated code")]
mod pb {
    tonic::include_proto!("counter.v1");
}

/// Under wine processes start slowly, so the load is smaller.
const MIX: ClientMix = if cfg!(windows) {
    ClientMix { fresh: 1, kept: 1, slow: 1 }
} else {
    ClientMix { fresh: 2, kept: 4, slow: 1 }
};

/// Reloads three times while `clients` send requests. Every request is answered, and the tally has each of
/// `kinds`.
fn assert_reloads_lose_no_request(fleet: &RunningFleet, clients: Vec<LoadClient>, kinds: &[&str]) {
    let first = fleet.first_children();
    let tally = load::run(clients, || {
        for time in 1..=3 {
            fleet.operate(Signal::SIGHUP, time, "reloaded:");
        }
        // The last old child is stopping; the load continues until it has ended.
        wait::until("end of the old children", || fleet.children().len() == 2);
    });
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert!(tally.answers.keys().eq(kinds), "{tally:?}");
    fleet.wait_for_children(2, &first);
}

/// Stops while a slow request and a connection without a request are open. The request is answered, the
/// connection does not delay the stop, and no child is killed. A child has accepted both once the request of
/// `later` is answered, because the queue is accepted in order.
fn assert_stops_gracefully<T>(
    fleet: RunningFleet,
    mut later: LoadClient,
    slow: impl FnOnce() -> io::Result<T>,
) {
    later().unwrap();
    fleet.stop();
    slow().unwrap();
}

/// Checks reload and stop of an HTTP example, with clients that `more` wraps.
fn check_http_example(name: &str, mix: ClientMix, more: fn(LoadClient) -> LoadClient) {
    let fleet = Server::example(name).start();
    let addr = fleet.addr();
    let answer = Connection::to(addr).get("/").unwrap();
    let pid = answer.strip_prefix("hello from process ").and_then(|rest| rest.split(' ').next());
    let pid = pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    assert!(fleet.children().contains(&pid), "{pid} is not a child of {}", fleet.master());
    let kinds: &[&str] = if mix.slow == 0 { &["/"] } else { &["/", "/slow"] };
    let clients = load::clients(addr, mix).into_iter().map(more).collect();
    assert_reloads_lose_no_request(&fleet, clients, kinds);
    let _idle = TcpStream::connect(addr).unwrap();
    let slow = client::send(addr, "/slow").unwrap();
    let later = Box::new(move || Connection::to(addr).get("/"));
    assert_stops_gracefully(fleet, later, || slow.finish());
}

#[test]
fn axum_reload_and_stop_lose_no_request() {
    check_http_example("axum", MIX, with_retry);
}

#[test]
fn axum_fair_share_reload_and_stop_lose_no_request() {
    check_http_example("axum_fair_share", MIX, with_retry);
}

/// The pid that an example of axum tells, the connections of this child, and those of all.
#[cfg(unix)]
fn numbers(connection: &mut Connection) -> [u32; 3] {
    let answer = connection.get("/").unwrap();
    let numbers: Vec<u32> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{answer}"))
}

/// Opens 64 connections one after the other; returns them, and how many each child has.
#[cfg(unix)]
fn ramp(fleet: &RunningFleet) -> (Vec<Connection>, BTreeMap<u32, usize>) {
    let mut counts = BTreeMap::new();
    let open = |_| {
        let mut connection = Connection::to(fleet.addr());
        *counts.entry(numbers(&mut connection)[0]).or_default() += 1;
        connection
    };
    ((0..64).map(open).collect(), counts)
}

/// Whether one of several ramps gives each of four children a quarter, where a race gives one of them 20 or more. A busy
/// machine spoils some. The connections of the last one stay open, and are returned.
#[cfg(unix)]
fn try_ramps(fleet: &RunningFleet) -> (Vec<Connection>, bool) {
    let mut open = Vec::new();
    for _ in 0..4 {
        open.clear();
        wait::until("the end of the connections", || numbers(&mut Connection::to(fleet.addr()))[2] == 1);
        let counts;
        (open, counts) = ramp(fleet);
        if counts.len() == 4 && counts.values().all(|count| (15..=17).contains(count)) {
            return (open, true);
        }
    }
    (open, false)
}

// There is one socket for all children.
#[cfg(unix)]
#[test]
fn axum_fair_share_spreads_connections_that_last_over_children_in_generation_after_generation() {
    let fleet = Server::example("axum_fair_share").env("PREFORK_WORKERS", "4").start();
    let mut even = 0;
    // Children that have waited for others in vain wait less often. Those after a reload begin anew.
    for time in 1..=12 {
        let children = fleet.wait_for_children(4, &[]);
        let (mut open, is_even) = try_ramps(&fleet);
        assert_eq!(numbers(&mut open[0])[2], 64);
        even += usize::from(is_even);
        fleet.operate(Signal::SIGHUP, time, "reloaded:");
        // Connections without a request are closed.
        fleet.wait_for_children(4, &children);
        if even == 2 {
            break;
        }
    }
    assert_eq!(even, 2, "{:#?}", fleet.console.lines());
    let _idle = ramp(&fleet);
    let slow = client::send(fleet.addr(), "/slow").unwrap();
    // The queue is accepted in order.
    numbers(&mut Connection::to(fleet.addr()));
    // Ctrl-C.
    fleet.signal(Signal::SIGINT);
    fleet.expect_stopped();
    slow.finish().unwrap();
}

#[test]
fn hyper_reload_and_stop_lose_no_request() {
    check_http_example("hyper", MIX, with_retry);
}

#[test]
fn actix_reload_and_stop_lose_no_request() {
    // It does not take `Shutdown`, so on Windows a stopping child waits for a moment without connections.
    let mix = if cfg!(windows) { ClientMix { fresh: 1, kept: 0, slow: 0 } } else { MIX };
    check_http_example("actix", mix, with_retry);
}

#[test]
fn warp_reload_and_stop_lose_no_request() {
    check_http_example("warp", MIX, with_retry);
}

#[test]
fn poem_reload_and_stop_lose_no_request() {
    check_http_example("poem", MIX, with_retry);
}

#[test]
fn tiny_http_reload_and_stop_lose_no_request() {
    check_http_example("tiny_http", MIX, with_retry);
}

/// Sends a line to `line_server`; does not wait for the answer.
fn send_line(mut stream: &TcpStream, line: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Waits for the answer to a line; returns whether the connection stays open.
fn receive_answer(stream: &TcpStream, line: &str) -> io::Result<bool> {
    let mut answer = String::new();
    if BufReader::new(stream).read_line(&mut answer)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (word, rest) = answer.split_once(' ').unwrap_or_default();
    if !["ok", "bye"].contains(&word) || !rest.starts_with(line) || !rest.ends_with('\n') {
        return Err(io::Error::other(format!("{line} is answered by {answer:?}")));
    }
    Ok(word == "ok")
}

/// A client of `line_server`. If `keeps`, it keeps its connection until the answer `bye`.
fn line_client(addr: SocketAddr, line: &'static str, keeps: bool) -> LoadClient {
    let mut kept: Option<TcpStream> = None;
    with_retry(Box::new(move || {
        let stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(addr)?,
        };
        send_line(&stream, line)?;
        let stays_open = receive_answer(&stream, line)?;
        kept = (keeps && stays_open).then_some(stream);
        Ok(line.to_owned())
    }))
}

#[test]
fn line_server_reload_and_stop_lose_no_request() {
    let fleet = Server::example("line_server").start();
    let addr = fleet.addr();
    let fresh = (0..MIX.fresh).map(|_| line_client(addr, "hello", false));
    let kept = (0..MIX.kept).map(|_| line_client(addr, "hello", true));
    let slow = (0..MIX.slow).map(|_| line_client(addr, "slow", true));
    assert_reloads_lose_no_request(&fleet, fresh.chain(kept).chain(slow).collect(), &["hello", "slow"]);
    let _idle = TcpStream::connect(addr).unwrap();
    let slow = TcpStream::connect(addr).unwrap();
    send_line(&slow, "slow").unwrap();
    assert_stops_gracefully(fleet, line_client(addr, "hello", false), || receive_answer(&slow, "slow"));
}

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{addr}")).unwrap()
}

/// Sends a health check of a service to `tonic`.
async fn check(channel: Channel, service: &str) -> Result<String, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    match HealthClient::new(channel).check(request).await?.into_inner().status() {
        ServingStatus::Serving => Ok(format!("check {service}")),
        other => Err(Status::unknown(format!("{other:?}"))),
    }
}

/// A client that makes calls, over a kept channel or over a new one each time.
fn grpc_client<F>(
    runtime: &Arc<Runtime>,
    addr: SocketAddr,
    keeps: bool,
    call: impl Fn(Channel) -> F + Send + 'static,
) -> LoadClient
where
    F: Future<Output = Result<String, Status>>,
{
    let runtime = Arc::clone(runtime);
    let endpoint = endpoint(addr);
    let mut kept: Option<Channel> = None;
    Box::new(move || {
        runtime.block_on(async {
            let channel = kept.take().unwrap_or_else(|| endpoint.connect_lazy());
            let mut answer = call(channel.clone()).await;
            // On Windows a stopping child accepts connections until it closes them.
            if (keeps || cfg!(windows)) && answer.as_ref().is_err_and(was_not_processed) {
                answer = call(channel.clone()).await;
            }
            kept = keeps.then_some(channel);
            answer.map_err(|status| io::Error::other(format!("keeps a channel: {keeps}; {status:?}")))
        })
    })
}

/// Whether GOAWAY ended a call that the server has not processed. Clients repeat such a call; tonic's client
/// leaves that to the application.
fn was_not_processed(status: &Status) -> bool {
    let reason = format!("{status:?}");
    reason.contains(r#"hyper::Error(Canceled, "connection closed")"#)
        || reason.contains(r#"GoAway(b"", NO_ERROR, Remote)"#)
}

/// Checks reload and stop of a gRPC example with a call that takes a while if it is told to.
fn check_grpc_example<F>(name: &str, kinds: &[&str], call: fn(Channel, bool) -> F)
where
    F: Future<Output = Result<String, Status>> + Send + 'static,
{
    let fleet = Server::example(name).start();
    let addr = fleet.addr();
    let runtime = Arc::new(Runtime::new().unwrap());
    let client = |slow, keeps| grpc_client(&runtime, addr, keeps, move |channel| call(channel, slow));
    let fresh = (0..MIX.fresh).map(|_| client(false, false));
    let kept = (0..MIX.kept).map(|_| client(false, true));
    let slow = (0..MIX.slow).map(|_| client(true, true));
    assert_reloads_lose_no_request(&fleet, fresh.chain(kept).chain(slow).collect(), kinds);
    let connect = || runtime.block_on(endpoint(addr).connect()).unwrap();
    let (_idle, slow) = (connect(), runtime.spawn(call(connect(), true)));
    assert_stops_gracefully(fleet, client(false, false), || {
        runtime.block_on(slow).unwrap().map_err(io::Error::other)
    });
}

#[test]
fn tonic_reload_and_stop_lose_no_request() {
    check_grpc_example("tonic", &["check ", "check slow"], |channel, slow| {
        check(channel, if slow { "slow" } else { "" })
    });
}

#[test]
fn stop_ends_tonic_stream_without_error() {
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

/// Has `grpc` add up two numbers.
async fn add(channel: Channel, slow: bool) -> Result<String, Status> {
    let request = AddRequest { numbers: vec![40, 2], delay_ms: if slow { 1500 } else { 0 } };
    let sum = CounterClient::new(channel).add(request).await?.into_inner().sum;
    Ok(format!("{sum}{}", if slow { " slowly" } else { "" }))
}

#[test]
fn grpc_reload_and_stop_lose_no_request() {
    check_grpc_example("grpc", &["42", "42 slowly"], add);
}

/// Starts a stream of `grpc` on a connection of its own, and receives the first number.
async fn count(addr: SocketAddr, after: u64, limit: u64) -> (Streaming<CountResponse>, CountResponse) {
    let mut client = CounterClient::new(endpoint(addr).connect().await.unwrap());
    let request = CountRequest { after, limit, interval_ms: 20 };
    let mut stream = client.count(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    (stream, first)
}

/// The numbers that are left, until the stream ends without an error.
async fn finish(mut stream: Streaming<CountResponse>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        numbers.push(answer.number);
    }
    numbers
}

#[test]
fn reload_ends_grpc_subscription_without_error_and_finishes_stream_with_limit() {
    const LIMIT: u64 = 150;
    let fleet = Server::example("grpc").env("PREFORK_SHUTDOWN_GRACE", "20s").start();
    let runtime = Runtime::new().unwrap();
    let (subscription, first) = runtime.block_on(count(fleet.addr(), 0, 0));
    let (limited, one) = runtime.block_on(count(fleet.addr(), 0, LIMIT));
    assert_eq!((first.number, one.number), (1, 1));
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let received = runtime.block_on(finish(subscription));
    assert!(received.iter().copied().eq(2..received.len() as u64 + 2), "{received:?}");
    assert!(runtime.block_on(finish(limited)).into_iter().eq(2..=LIMIT));
    // The subscription goes on where it ended, in another process.
    let (_subscription, next) = runtime.block_on(count(fleet.addr(), received.len() as u64 + 1, 0));
    assert_eq!(next.number, received.len() as u64 + 2);
    assert_ne!(next.pid, first.pid);
    fleet.stop();
}
