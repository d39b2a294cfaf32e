//! The health listener, as a kubelet or a load balancer sees it.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a helper of tests, a panic is a failure"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
#[cfg(unix)]
use std::{thread, time::Duration};

use prefork_tests::fleet::{RunningFleet, Server};
#[cfg(unix)]
use prefork_tests::proc;
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal, send};
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

fn with_health(executable: &str) -> Server {
    Server::new(executable).env("PREFORK_HEALTH", "127.0.0.1:0")
}

/// Where it answers.
fn health_addr(fleet: &RunningFleet) -> SocketAddr {
    let line = fleet.console.wait_for("health is told on ");
    let (_, rest) = line.split_once("health is told on ").unwrap();
    rest.split_once(": ").unwrap().0.parse().unwrap()
}

/// Sends `request` as it is; returns the whole answer.
fn exchange(addr: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The status and the body for `GET path`.
fn ask(addr: SocketAddr, path: &str) -> (u16, String) {
    let answer = exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn wait_for(addr: SocketAddr, path: &str, status: u16) {
    wait::until(&format!("{path} to be {status}"), || ask(addr, path).0 == status);
}

#[test]
fn a_fleet_that_serves_is_live_and_ready() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    assert_eq!(ask(addr, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(ask(addr, "/readyz?verbose"), (200, "ok\n".to_owned()));
    let pids = fleet.first_children();
    let expected = format!(
        "{{\"state\":\"serving\",\"master\":{},\"generation\":0,\"slots\":2,\"ready\":2,\"failures\":0,\"children\":[\
         {{\"slot\":0,\"pid\":{},\"generation\":0,\"state\":\"ready\"}},\
         {{\"slot\":1,\"pid\":{},\"generation\":0,\"state\":\"ready\"}}]}}\n",
        fleet.master(),
        pids[0],
        pids[1]
    );
    assert_eq!(ask(addr, "/status"), (200, expected.clone()));
    assert_eq!(ask(addr, "/"), (200, expected));
    fleet.stop();
    wait::until("nobody to ask", || client::is_refused(addr));
}

#[test]
fn requests_that_are_none_are_answered_in_kind() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    let head = exchange(addr, "HEAD /livez HTTP/1.1\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head:?}");
    assert!(head.contains("Content-Length: 3\r\n"), "{head:?}");
    assert_eq!(ask(addr, "/metrics").0, 404);
    assert_eq!(ask(addr, "/livez/").0, 404);
    let post = exchange(addr, "POST /livez HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("Allow: GET, HEAD\r\n"), "{post:?}");
    let rubbish = exchange(addr, "\0\u{ff}\r\n\r\n").unwrap();
    assert!(rubbish.starts_with("HTTP/1.1 405 "), "{rubbish:?}");
    // As much as is read: what is not read would reset the connection.
    let long = exchange(addr, &format!("GET /{} HTTP/1.1\r\n", "x".repeat(1024 - 16))).unwrap();
    assert!(long.starts_with("HTTP/1.1 431 "), "{long:?}");
    assert_eq!(ask(addr, "/livez").0, 200);
    fleet.stop();
}

#[test]
fn a_fleet_is_ready_when_its_children_are() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let fleet = with_health(KEEP_ALIVE_SERVER).set("ready", "manual").set("gate", gate.display()).launch();
    let addr = health_addr(&fleet);
    assert_eq!(ask(addr, "/readyz"), (503, "starting: 0 of 2 ready\n".to_owned()));
    assert_eq!(ask(addr, "/livez").0, 200);
    fs::write(&gate, "").unwrap();
    wait_for(addr, "/readyz", 200);
    fleet.stop();
}

#[test]
fn a_fleet_with_no_child_left_for_now_is_not_ready() {
    let server = with_health(SERVER).set("workers", 1).set("recover_interval", "5s");
    let fleet = server.start();
    let addr = health_addr(&fleet);
    wait_for(addr, "/readyz", 200);
    send(fleet.first_children()[0], Signal::SIGKILL);
    wait_for(addr, "/readyz", 503);
    assert_eq!(ask(addr, "/livez").0, 200);
    wait_for(addr, "/readyz", 200);
    let status = ask(addr, "/status").1;
    assert!(status.contains("\"failures\":1,"), "{status}; {:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn from_the_stop_on_a_fleet_is_not_ready_although_it_serves() {
    let fleet = with_health(SERVER).env("PREFORK_STOP_DELAY", "60s").start();
    let addr = health_addr(&fleet);
    fleet.signal(Signal::SIGTERM);
    wait_for(addr, "/readyz", 503);
    client::serving_pid(fleet.addr());
    assert_eq!(ask(addr, "/readyz"), (503, "stop-delay: 2 of 2 ready\n".to_owned()));
    assert_eq!(ask(addr, "/livez").0, 200);
    assert!(ask(addr, "/").1.starts_with("{\"state\":\"stop-delay\","));
    fleet.signal(Signal::SIGQUIT);
    assert!(fleet.expect_end().status.success());
}

/// A fleet that answers a request once the file `gate` is there, where its health is told, and the request.
fn busy_until(gate: &Path) -> (RunningFleet, SocketAddr, client::PendingRequest) {
    let server = with_health(SERVER).set("gate", gate.display()).set("shutdown_grace", "60s");
    let fleet = server.start();
    let addr = health_addr(&fleet);
    let request = client::begin(fleet.addr(), "/gate");
    (fleet, addr, request)
}

#[test]
fn a_fleet_that_drains_is_live_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let (fleet, addr, request) = busy_until(&gate);
    fleet.signal(Signal::SIGTERM);
    wait_for(addr, "/readyz", 503);
    // On Windows a blocking server has to wait for its siblings' connections too.
    let draining = if cfg!(windows) { 2 } else { 1 };
    wait::until("who drains", || ask(addr, "/status").1.matches("\"pid\"").count() == draining);
    let status = ask(addr, "/status").1;
    assert!(status.contains("\"state\":\"stopping\",\"master\""), "{status}");
    assert!(status.contains(&format!("\"pid\":{},\"generation\":0,\"state\":\"stopping\"", request.pid())));
    assert_eq!(ask(addr, "/livez").0, 200);
    fs::write(&gate, "").unwrap();
    request.finish().unwrap();
    fleet.expect_stopped();
}

#[test]
fn health_is_told_through_reloads_and_upgrades_on_the_same_socket() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    #[cfg(unix)]
    let inodes = proc::listening_inodes(addr.port());
    let renewals = [RELOAD_AND_UPGRADE, RELOAD_AND_UPGRADE].concat();
    let tally = client::under_load(addr, "/readyz", 2, || {
        for (time, signal) in renewals.iter().enumerate() {
            fleet.operate(*signal, time + 1, "reloaded:");
        }
    });
    assert!(tally.answered() > 0);
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), ["ok"], "{tally:?}");
    // An exec takes with it what was being answered; nobody is refused.
    assert!(!tally.failures.keys().any(|reason| reason.contains("refused")), "{tally:?}");
    #[cfg(unix)]
    assert_eq!(proc::listening_inodes(addr.port()), inodes);
    assert!(ask(addr, "/status").1.contains(&format!("\"generation\":{},", renewals.len())));
    fleet.stop();
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn children_do_not_hold_the_health_listener() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    fleet.replace(&fleet.first_children()[..1]);
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded:");
    let inodes = proc::listening_inodes(addr.port());
    assert_eq!(proc::held_inodes(fleet.master(), &inodes).len(), 1);
    for child in fleet.children() {
        assert!(proc::held_inodes(child, &inodes).is_empty(), "child {child}");
    }
    fleet.stop();
}

#[test]
fn nobody_tells_of_a_dead_masters_health_although_children_drain() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let (fleet, addr, request) = busy_until(&gate);
    send(fleet.master(), Signal::SIGKILL);
    wait::until("nobody to ask", || client::is_refused(addr));
    fs::write(&gate, "").unwrap();
    request.finish().unwrap();
    wait::until("the end of the orphans", || fleet.processes().is_empty());
}

#[test]
fn a_supervisor_that_does_not_come_around_is_not_live() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let server = with_health(HOOKS_SERVER).set("waits", "on_child_recover").set("gate", gate.display());
    let fleet = server.start();
    let addr = health_addr(&fleet);
    assert_eq!(ask(addr, "/livez").0, 200);
    send(fleet.first_children()[0], Signal::SIGKILL);
    fleet.console.wait_for("in place of pid");
    assert_eq!(ask(addr, "/livez"), (503, "the supervisor does not get on\n".to_owned()));
    // Whoever serves goes on serving.
    assert_eq!(ask(addr, "/readyz").0, 200);
    fs::write(&gate, "").unwrap();
    wait_for(addr, "/livez", 200);
    fleet.stop();
}

#[test]
fn clients_that_say_nothing_hold_up_nobody_for_long() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    let silent: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The fleet does not notice.
    client::serving_pid(fleet.addr());
    wait_for(addr, "/livez", 200);
    drop(silent);
    fleet.stop();
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn a_master_at_rest_stays_at_rest_until_it_is_asked() {
    let fleet = with_health(SERVER).start();
    let addr = health_addr(&fleet);
    ask(addr, "/livez");
    wait::until("a second at rest", || {
        let before = proc::context_switches(fleet.master());
        thread::sleep(Duration::from_secs(1));
        proc::context_switches(fleet.master()) == before
    });
    fleet.stop();
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = |addr: &str| Server::new(SERVER).env("PREFORK_HEALTH", addr).run();
    refused(&addr).assert_refused(&format!("cannot bind {addr}"));
    refused("rubbish").assert_refused("cannot listen on `rubbish`");
    refused("127.0.0.1:70000").assert_refused("out of range");
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn signals_stay_the_supervisors_alone() {
    let fleet = with_health(SERVER).start();
    health_addr(&fleet);
    let others = || proc::threads(fleet.master()).into_iter().filter(|thread| *thread != fleet.master());
    wait::until("the threads", || others().count() == 4);
    for thread in others() {
        let blocked = proc::status_field(thread, "SigBlk").unwrap();
        let blocked = u64::from_str_radix(&blocked, 16).unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGCHLD] {
            assert_ne!(blocked & 1 << (signal as i32 - 1), 0, "{signal} in thread {thread}");
        }
    }
    fleet.stop();
}
