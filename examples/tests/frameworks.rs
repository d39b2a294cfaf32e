//! The examples with a framework, and what a server has to live through: reloads under load, and a stop
//! with a request in flight. No client may notice.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, what cannot be done is a failure, and a panic is how tests fail"
)]

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use prefork_tests::fleet::{Fleet, Server};
use prefork_tests::load::{self, Client, Connection, Mix};
use prefork_tests::signal::Signal;
use prefork_tests::{proc, wait};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Three reloads while `clients` keep asking. Every request is answered, and each of `kinds` was made.
fn assert_reloads_unnoticed(fleet: &Fleet, clients: Vec<Client>, kinds: &[&str]) {
    let first = fleet.first_children();
    let tally = load::of(clients, || {
        for time in 1..=3 {
            fleet.signal(Signal::SIGHUP);
            wait::until("a reload", || fleet.console.lines_with("reloaded:").len() >= time);
        }
        // The last of the old children has been told to stop; the load goes on until it has ended.
        wait::until("the end of the old children", || fleet.children().len() == 2);
    });
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert!(tally.answers.keys().eq(kinds), "{tally:?}");
    fleet.wait_for_children(2, &first);
}

/// A stop while a slow request and a connection without any are open: the one is answered, the other
/// holds nothing up, and no child has to be killed.
fn assert_stops_in_good_order<T>(fleet: Fleet, connect: impl FnOnce(SocketAddr) -> T, slow: Client) {
    let before = sockets(&fleet);
    let idle = connect(fleet.addr());
    let slow = thread::spawn(slow);
    wait::until("two more connections", || sockets(&fleet).difference(&before).count() == 2);
    fleet.stop();
    slow.join().unwrap().unwrap();
    drop(idle);
}

/// The sockets that the children hold: each connection that they have accepted is one.
fn sockets(fleet: &Fleet) -> BTreeSet<String> {
    let descriptors = fleet.children().into_iter().flat_map(proc::descriptors);
    descriptors.map(|(_, target)| target).filter(|target| target.starts_with("socket:")).collect()
}

/// The whole life of an example that speaks HTTP.
fn assert_http_clients_notice_nothing(name: &str) {
    let fleet = Server::example(name).start();
    let addr = fleet.addr();
    let answer = Connection::to(addr).get("/").unwrap();
    let pid = answer.strip_prefix("hello from process ").and_then(|rest| rest.split(' ').next());
    let pid = pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    assert!(fleet.children().contains(&pid), "{pid} is no child of {}", fleet.master());
    let mix = Mix { fresh: 2, kept: 4, slow: 1 };
    assert_reloads_unnoticed(&fleet, load::clients(addr, mix), &["/", "/slow"]);
    let slow = Box::new(move || Connection::to(addr).get("/slow"));
    assert_stops_in_good_order(fleet, |addr| TcpStream::connect(addr).unwrap(), slow);
}

#[test]
fn axum() {
    assert_http_clients_notice_nothing("axum");
}

#[test]
fn hyper() {
    assert_http_clients_notice_nothing("hyper");
}

#[test]
fn actix() {
    assert_http_clients_notice_nothing("actix");
}

#[test]
fn warp() {
    assert_http_clients_notice_nothing("warp");
}

#[test]
fn tiny_http() {
    assert_http_clients_notice_nothing("tiny_http");
}

/// A client of `line_server`, which keeps its connection until it is told not to, if it `keeps` any.
fn line_client(addr: SocketAddr, line: &'static str, keeps: bool) -> Client {
    let mut kept: Option<BufReader<TcpStream>> = None;
    Box::new(move || {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(addr)?),
        };
        stream.get_mut().set_read_timeout(Some(wait::LIMIT))?;
        stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_line(&mut answer)?;
        let (word, rest) = answer.split_once(' ').unwrap_or_default();
        if !["ok", "bye"].contains(&word) || !rest.starts_with(line) || !rest.ends_with('\n') {
            return Err(io::Error::other(format!("{line} is answered by {answer:?}")));
        }
        kept = (keeps && word == "ok").then_some(stream);
        Ok(line.to_owned())
    })
}

#[test]
fn line_server() {
    let fleet = Server::example("line_server").start();
    let addr = fleet.addr();
    let fresh = (0..2).map(|_| line_client(addr, "hello", false));
    let kept = (0..4).map(|_| line_client(addr, "hello", true));
    let clients = fresh.chain(kept).chain([line_client(addr, "slow", true)]);
    assert_reloads_unnoticed(&fleet, clients.collect(), &["hello", "slow"]);
    let slow = line_client(addr, "slow", false);
    assert_stops_in_good_order(fleet, |addr| TcpStream::connect(addr).unwrap(), slow);
}

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{addr}")).unwrap()
}

/// Asks `tonic` for the health of a service, over a channel that is kept or each time a new one.
fn grpc_client(runtime: &Arc<Runtime>, addr: SocketAddr, service: &'static str, keeps: bool) -> Client {
    let runtime = Arc::clone(runtime);
    let endpoint = endpoint(addr);
    let mut kept: Option<Channel> = None;
    Box::new(move || {
        runtime.block_on(async {
            let channel = kept.take().unwrap_or_else(|| endpoint.connect_lazy());
            let mut client = HealthClient::new(channel.clone());
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut answer = client.check(request.clone()).await;
            if keeps && answer.as_ref().is_err_and(was_never_made) {
                answer = client.check(request).await;
            }
            kept = keeps.then_some(channel);
            match answer.map(|answer| answer.into_inner().status()) {
                Ok(ServingStatus::Serving) => Ok(format!("check {service}")),
                other => Err(io::Error::other(format!("keeps a channel: {keeps}; {other:?}"))),
            }
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
    let fresh = (0..2).map(|_| client("", false));
    let kept = (0..4).map(|_| client("", true));
    let clients = fresh.chain(kept).chain([client("slow", true)]);
    assert_reloads_unnoticed(&fleet, clients.collect(), &["check ", "check slow"]);
    let idle = |addr| runtime.block_on(endpoint(addr).connect()).unwrap();
    assert_stops_in_good_order(fleet, idle, client("slow", false));
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
