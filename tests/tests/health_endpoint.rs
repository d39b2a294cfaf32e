//! The health endpoint, as a kubelet or a load balancer uses it.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
#[cfg(unix)]
use prefork_tests::proc;
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal, send};
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

/// More clients than the server has places, where connections cost little.
const IDLE_CLIENTS: usize = if cfg!(windows) { 100 } else { 400 };
const SLOW_CLIENTS: usize = if cfg!(windows) { 10 } else { 50 };

fn with_health(executable: &str) -> Server {
    Server::new(executable).env("PREFORK_HEALTH", "127.0.0.1:0")
}

/// Sends `GET path`; returns status and body.
fn ask(addr: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answer = client::exchange(addr, &request).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn wait_for(addr: SocketAddr, path: &str, status: u16) {
    wait::until(&format!("{path} to be {status}"), || ask(addr, path).0 == status);
}

#[test]
fn serving_fleet_is_live_and_ready() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    assert_eq!(ask(addr, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(ask(addr, "/readyz?verbose"), (200, "ok\n".to_owned()));
    let pids = fleet.first_children();
    let (status, body) = ask(addr, "/status");
    assert_eq!(status, 200);
    for part in [
        format!("{{\"state\":\"serving\",\"master\":{},\"version\":\"", fleet.master()),
        "\"generation\":0,\"slots\":2,\"ready\":2,\"failures\":0,\"started_at\":".to_owned(),
        ",\"operation\":null,\"listeners\":[{\"addr\":\"127.0.0.1:".to_owned(),
        format!("\"children\":[{{\"slot\":0,\"pid\":{},\"generation\":0,\"state\":\"ready\",", pids[0]),
        format!("{{\"slot\":1,\"pid\":{},\"generation\":0,\"state\":\"ready\",", pids[1]),
    ] {
        assert!(body.contains(&part), "{part}: {body}");
    }
    let (status, page) = ask(addr, "/");
    assert!(status == 200 && page.starts_with("<!doctype html>"), "{page}");
    fleet.stop();
    wait::until("closed health listener", || client::is_refused(addr));
}

#[test]
fn invalid_requests_get_error_status() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let head = client::exchange(addr, "HEAD /livez HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head:?}");
    assert!(head.contains("Content-Length: 3\r\n"), "{head:?}");
    assert_eq!(ask(addr, "/metric").0, 404);
    assert_eq!(ask(addr, "/livez/").0, 404);
    let post = client::exchange(addr, "POST /livez HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody").unwrap();
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("Allow: GET, HEAD\r\n"), "{post:?}");
    let rubbish = client::exchange(addr, "\0\u{ff}\r\n\r\n").unwrap();
    assert!(rubbish.starts_with("HTTP/1.1 400 "), "{rubbish:?}");
    // A client that speaks TLS sends no empty line.
    let hello = client::exchange(addr, "\u{16}\u{3}\u{1}").unwrap();
    assert!(hello.starts_with("HTTP/1.1 400 "), "{hello:?}");
    let cookies = |size| format!("GET /livez HTTP/1.0\r\nCookie: {}\r\n\r\n", "x".repeat(size));
    assert!(client::exchange(addr, &cookies(8000)).unwrap().starts_with("HTTP/1.1 200 "));
    let long = client::exchange(addr, &cookies(9000)).unwrap();
    assert!(long.starts_with("HTTP/1.1 431 "), "{long:?}");
    assert_eq!(ask(addr, "/livez").0, 200);
    fleet.stop();
}

#[test]
fn fleet_is_ready_once_children_are_ready() {
    let gate = ResponseGate::new();
    let fleet = with_health(KEEP_ALIVE_SERVER).set("ready", "manual").gate(&gate).launch();
    let addr = fleet.health_addr();
    assert_eq!(ask(addr, "/readyz"), (503, "starting: 0 of 2 ready\n".to_owned()));
    assert_eq!(ask(addr, "/livez").0, 200);
    gate.open();
    wait_for(addr, "/readyz", 200);
    fleet.stop();
}

#[test]
fn fleet_is_ready_when_the_log_and_the_hook_say_so() {
    let gate = ResponseGate::new();
    for workers in [2, 0] {
        let server = with_health(HOOKS_SERVER).set("waits", "on_master_ready").set("workers", workers);
        let fleet = server.gate(&gate).launch();
        fleet.console.wait_for("; stop with ");
        // The hook runs until the gate opens, and the master's loop does not turn meanwhile.
        let addr = fleet.health_addr();
        assert_eq!(ask(addr, "/readyz"), (200, "ok\n".to_owned()));
        assert!(ask(addr, "/status").1.starts_with("{\"state\":\"serving\","));
        gate.open();
        wait_for(addr, "/livez", 200);
        fleet.stop();
        gate.close();
    }
}

#[test]
fn fleet_without_live_child_is_not_ready() {
    let server = with_health(SERVER).set("workers", 1).set("recover_interval", "1h");
    let fleet = server.start();
    let addr = fleet.health_addr();
    wait_for(addr, "/readyz", 200);
    send(fleet.first_children()[0], Signal::SIGKILL);
    wait_for(addr, "/readyz", 503);
    assert_eq!(ask(addr, "/livez").0, 200);
    // A reload fills the slot before the interval is over.
    fleet.signal(Signal::SIGHUP);
    wait_for(addr, "/readyz", 200);
    let status = ask(addr, "/status").1;
    assert!(status.contains("\"failures\":1,"), "{status}; {:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn stop_delay_makes_serving_fleet_not_ready() {
    let fleet = with_health(SERVER).env("PREFORK_STOP_DELAY", "60s").start();
    let addr = fleet.health_addr();
    fleet.signal(Signal::SIGTERM);
    // Before, it may answer that the fleet starts.
    wait::until("announced stop", || ask(addr, "/readyz").1.starts_with("stop-delay"));
    client::serving_pid(fleet.addr());
    assert_eq!(ask(addr, "/readyz"), (503, "stop-delay: 2 of 2 ready\n".to_owned()));
    assert_eq!(ask(addr, "/livez").0, 200);
    assert!(ask(addr, "/status").1.starts_with("{\"state\":\"stop-delay\","));
    fleet.signal(Signal::SIGQUIT);
    assert!(fleet.expect_end().status.success());
}

/// A fleet with a request in flight until `gate` opens, its health address, and the request.
fn busy_until(gate: &ResponseGate) -> (RunningFleet, SocketAddr, client::PendingRequest) {
    let fleet = with_health(SERVER).gate(gate).start();
    let addr = fleet.health_addr();
    let request = client::begin(fleet.addr(), "/gate");
    (fleet, addr, request)
}

#[test]
fn draining_fleet_is_live_and_not_ready() {
    let gate = ResponseGate::new();
    let (fleet, addr, request) = busy_until(&gate);
    fleet.signal(Signal::SIGTERM);
    wait_for(addr, "/readyz", 503);
    // On Windows a blocking server waits for the connections of its siblings too.
    let draining = if cfg!(windows) { 2 } else { 1 };
    wait::until("draining children in the status", || {
        ask(addr, "/status").1.matches("\"pid\"").count() == draining
    });
    let status = ask(addr, "/status").1;
    assert!(status.contains("\"state\":\"stopping\",\"master\""), "{status}");
    assert!(status.contains(&format!("\"pid\":{},\"generation\":0,\"state\":\"stopping\"", request.pid())));
    assert_eq!(ask(addr, "/livez").0, 200);
    gate.open();
    request.finish().unwrap();
    fleet.expect_stopped();
}

#[test]
fn reload_and_upgrade_keep_health_socket() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
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
    // An exec interrupts the answer in progress; no connection is refused.
    assert!(!tally.failures.keys().any(|reason| reason.contains("refused")), "{tally:?}");
    #[cfg(unix)]
    assert_eq!(proc::listening_inodes(addr.port()), inodes);
    assert!(ask(addr, "/status").1.contains(&format!("\"generation\":{},", renewals.len())));
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn children_do_not_inherit_health_listener() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
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
fn killed_master_with_draining_children_closes_health_listener() {
    let gate = ResponseGate::new();
    let (fleet, addr, request) = busy_until(&gate);
    send(fleet.master(), Signal::SIGKILL);
    wait::until("closed health listener", || client::is_refused(addr));
    gate.open();
    request.finish().unwrap();
    wait::until("end of the orphans", || fleet.processes().is_empty());
}

#[test]
fn blocked_supervisor_is_not_live() {
    let gate = ResponseGate::new();
    let fleet = with_health(HOOKS_SERVER).set("waits", "on_child_recover").gate(&gate).start();
    let addr = fleet.health_addr();
    assert_eq!(ask(addr, "/livez").0, 200);
    send(fleet.first_children()[0], Signal::SIGKILL);
    fleet.console.wait_for("in place of pid");
    assert_eq!(ask(addr, "/livez"), (503, "supervisor loop is blocked\n".to_owned()));
    // The children go on serving.
    assert_eq!(ask(addr, "/readyz").0, 200);
    gate.open();
    wait_for(addr, "/livez", 200);
    fleet.stop();
}

#[test]
fn idle_and_slow_clients_delay_neither_probes_nor_supervision() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let connect = || TcpStream::connect_timeout(&addr, wait::LIMIT).unwrap();
    let idle: Vec<TcpStream> = (0..IDLE_CLIENTS).map(|_| connect()).collect();
    let mut slow: Vec<TcpStream> = (0..SLOW_CLIENTS).map(|_| connect()).collect();
    for client in &mut slow {
        client.write_all(b"GET /livez HT").unwrap();
    }
    // With fewer places than clients, a server without limits would answer none of these.
    for path in ["/livez", "/readyz", "/status"] {
        assert_eq!(ask(addr, path).0, 200);
    }
    #[cfg(unix)]
    assert!(proc::descriptors(fleet.master()).len() < 300, "every client has kept its place");
    fleet.replace(&fleet.first_children()[..1]);
    for client in &mut slow {
        // Some have lost their place.
        let _ = client.write_all(b"T");
    }
    assert_eq!(ask(addr, "/livez").0, 200);
    drop((idle, slow));
    fleet.stop();
}

/// The master needs descriptors for each child that it starts.
#[cfg(unix)]
#[test]
fn idle_clients_leave_descriptors_for_children() {
    let limited = ["sh", "-c", r#"ulimit -n 64; exec "$0""#];
    let fleet = Server::through(&limited, SERVER).env("PREFORK_HEALTH", "127.0.0.1:0").start();
    let addr = fleet.health_addr();
    let clients: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // It is answered after the others have been accepted.
    assert_eq!(ask(addr, "/livez").0, 200);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    assert_eq!(fleet.console.lines_with("could not be started"), Vec::<String>::new());
    drop(clients);
    fleet.stop();
}

/// The client that has the last descriptor is not closed for the next one, which is not there.
#[cfg(target_os = "linux")]
#[test]
fn client_that_gets_the_last_descriptor_is_answered() {
    let fleet = with_health(SERVER).start();
    let (addr, master) = (fleet.health_addr(), fleet.master());
    let numbers = || proc::descriptors(master).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(ask(addr, "/livez").0, 200);
    let mut used = Vec::new();
    wait::until("a master at rest", || std::mem::replace(&mut used, numbers()) == used);
    let free = (0..).find(|number| !used.contains(number)).unwrap();
    let limit = ["--pid", &master.to_string(), &format!("--nofile={}:", free + 1)].map(str::to_owned);
    assert!(std::process::Command::new("prlimit").args(limit).status().unwrap().success());
    for _ in 0..5 {
        assert_eq!(ask(addr, "/livez").0, 200);
        wait::until("end of the connection", || !numbers().contains(&free));
    }
    fleet.stop();
}

#[test]
fn kept_connection_gets_an_answer_for_each_request() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    let requests = "GET /livez HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nBREW / HTTP/1.1\r\n\r\n\
                    GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answers = client::exchange(addr, requests).unwrap();
    let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, ["200", "404", "405", "200"], "{answers:?}");
    assert_eq!(answers.matches("Connection: close").count(), 1, "{answers:?}");
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn idle_master_with_health_listener_does_not_wake() {
    let fleet = with_health(SERVER).start();
    let addr = fleet.health_addr();
    ask(addr, "/livez");
    proc::wait_until_idle(&[fleet.master()]);
    fleet.stop();
}

#[test]
fn unusable_health_address_is_refused_before_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = |addr: &str| Server::new(SERVER).env("PREFORK_HEALTH", addr).run();
    refused(&addr).assert_refused(&format!("cannot bind {addr}"));
    refused("rubbish").assert_refused("cannot listen on `rubbish`");
    refused("127.0.0.1:70000").assert_refused("out of range");
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn health_threads_block_signals_of_supervisor() {
    let fleet = with_health(SERVER).start();
    fleet.health_addr();
    let others = || proc::threads(fleet.master()).into_iter().filter(|thread| *thread != fleet.master());
    // The other one writes the log.
    wait::until("two further threads", || others().count() == 2);
    for thread in others() {
        let blocked = proc::status_field(thread, "SigBlk").unwrap();
        let blocked = u64::from_str_radix(&blocked, 16).unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGCHLD] {
            assert_ne!(blocked & 1 << (signal as i32 - 1), 0, "{signal} in thread {thread}");
        }
    }
    fleet.stop();
}
