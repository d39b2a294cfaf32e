//! Socket activation: listening sockets passed by `systemd-socket-activate` or by the test.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const MULTI_ADDRESS_SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A program that gets `sockets` in the way systemd passes them.
fn activated(executable: &str, sockets: Vec<OwnedFd>, names: &str) -> Server {
    let script = r#"export LISTEN_PID=$$; exec "$0""#;
    let count = sockets.len().to_string();
    let mut server = Server::in_shell(script, executable).env("LISTEN_FDS", &count);
    server = server.env("LISTEN_FDNAMES", names);
    // Copied to high numbers, so that none occupies a number that another one needs.
    let sockets: Vec<OwnedFd> = sockets
        .iter()
        .map(|socket| {
            // SAFETY: the arguments are numbers; the result is a new descriptor without another owner.
            unsafe {
                let copy = libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100);
                assert!(copy >= 100, "{}", io::Error::last_os_error());
                OwnedFd::from_raw_fd(copy)
            }
        })
        .collect();
    let pass = move || {
        for (number, socket) in (3..).zip(&sockets) {
            // SAFETY: the arguments are numbers; only an exec follows in this process.
            if unsafe { libc::dup2(socket.as_raw_fd(), number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions are called.
    unsafe { server.command.pre_exec(pass) };
    server
}

fn tcp() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener.into(), addr)
}

fn unix(path: &Path) -> OwnedFd {
    UnixListener::bind(path).unwrap().into()
}

fn role_at(path: &Path) -> String {
    client::get_over(UnixStream::connect(path).unwrap(), "/role").unwrap()
}

#[test]
fn passed_socket_replaces_configured_address() {
    for program in [SERVER, TOKIO_SERVER] {
        let (socket, addr) = tcp();
        let inodes = proc::listening_inodes(addr.port());
        let fleet = activated(program, vec![socket], "web").start();
        fleet.console.wait_for(&format!("listening on {addr} (from the service manager, shared)"));
        fleet.console.wait_for("the service manager's sockets take the place of 127.0.0.1:0");
        client::get(addr, "/");
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        fleet.stop();
    }
}

#[test]
fn process_without_children_serves_on_a_passed_socket_and_leaves_it_open() {
    for program in [SERVER, TOKIO_SERVER] {
        let (socket, addr) = tcp();
        let kept = socket.try_clone().unwrap();
        let mut process = activated(program, vec![socket], "web").set("workers", 0).launch();
        process.console.wait_for("ready; stop with ");
        assert_eq!(client::serving_pid(addr), process.master());
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(0));
        process.assert_no_process_left();
        TcpStream::connect(addr).expect("the next start accepts what is queued");
        drop(kept);
    }
}

#[test]
fn children_and_grandchildren_get_no_listen_variables() {
    let (socket, addr) = tcp();
    let fleet = activated(SERVER, vec![socket], "web").start();
    for variable in VARIABLES {
        assert_eq!(client::get(addr, &format!("/variable/{variable}")), "None");
    }
    // The nested fleet listens on an address of its own.
    assert!(client::get(addr, "/nested").starts_with("ready true"));
    fleet.stop();
}

#[test]
fn several_passed_sockets_keep_order_and_unix_file_stays_after_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (web, addr) = tcp();
    // Two sockets of one unit have the same name.
    let server = activated(MULTI_ADDRESS_SERVER, vec![web, unix(&path)], "app:app").unset("addr");
    let fleet = server.set("takes", "mixed").set("addrs", "127.0.0.1:0,unix:/nowhere/app.sock").start();
    fleet.console.wait_for(&format!("listening on {addr}, unix:{}", path.display()));
    assert_eq!(client::get(addr, "/role"), "true");
    assert_eq!(role_at(&path), "true");
    fleet.stop();
    assert!(path.exists(), "the file belongs to the service manager");
}

#[test]
fn systemd_names_in_addrs_select_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let ((web, addr), (spare, _)) = (tcp(), tcp());
    let server =
        activated(MULTI_ADDRESS_SERVER, vec![unix(&path), spare, web], "admin:spare:web").unset("addr");
    let fleet = server.set("addrs", "systemd:web,127.0.0.1:0,systemd:admin").start();
    fleet.console.wait_for("the service manager's socket `spare` has no effect: no address names it");
    let line = fleet.console.wait_for(&format!("listening on {addr}, 127.0.0.1:"));
    assert!(line.contains(&format!(", unix:{} (one shared socket for each)", path.display())), "{line}");
    for addr in fleet.addrs() {
        assert_eq!(client::get(addr, "/role"), "true");
    }
    assert_eq!(role_at(&path), "true");
    fleet.stop();
}

#[test]
fn listen_pid_of_other_process_ignores_sockets() {
    let fleet = Server::new(SERVER).env("LISTEN_PID", "1").env("LISTEN_FDS", "1").start();
    fleet.console.wait_for("(tcp4, one shared socket)");
    fleet.stop();
}

#[test]
fn unusable_passed_sockets_are_refused_before_start() {
    let directory = tempfile::tempdir().unwrap();
    let pair = || vec![tcp().0, tcp().0];
    let cases = [
        (activated(SERVER, pair(), "web:admin"), "expected 1 address, as many as the serve function takes"),
        (
            activated(SERVER, vec![unix(&directory.path().join("s"))], "web"),
            "addr cannot be `systemd:web`: expected `host:port`",
        ),
        (
            activated(SERVER, pair(), "web"),
            "cannot take the sockets of the service manager: invalid LISTEN_FDNAMES",
        ),
        (
            activated(SERVER, vec![UdpSocket::bind("127.0.0.1:0").unwrap().into()], "web"),
            "its socket `web` (descriptor 3) does not listen for connections",
        ),
        (activated(SERVER, vec![], "").env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", "a:b:c"), "cannot take"),
        (
            activated(SERVER, vec![tcp().0], "web").set("addr", "systemd:http"),
            "cannot listen on `systemd:http`",
        ),
        (Server::new(SERVER).set("addr", "systemd:http"), "no service manager passed a socket `http`"),
    ];
    for (server, reason) in cases {
        let outcome = server.run();
        let error = outcome.error();
        assert!(error.contains(reason), "expected {reason:?}, not {error:?}");
        assert_eq!(outcome.children, 0);
    }
}

#[test]
fn reuseport_with_passed_socket_logs_no_effect() {
    let (socket, addr) = tcp();
    let fleet = activated(SERVER, vec![socket], "web").set("reuseport", "yes").start();
    fleet.console.wait_for("reuseport has no effect on the service manager's sockets");
    client::get(addr, "/");
    fleet.replace(&fleet.first_children()[..1]);
    fleet.signal(Signal::SIGTTIN);
    fleet.wait_for_children(3, &[]);
    fleet.signal(Signal::SIGTTOU);
    fleet.console.wait_for("resized from 3 to 2 children");
    fleet.stop();
}

#[test]
fn reload_and_upgrade_keep_passed_sockets() {
    for names in [false, true] {
        let (socket, addr) = tcp();
        let inodes = proc::listening_inodes(addr.port());
        let server = activated(SERVER, vec![socket], "web");
        let fleet = if names { server.set("addr", "systemd:web") } else { server }.start();
        let tally = client::under_load(addr, "/role", 2, || {
            for (time, signal) in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGUSR2].into_iter().enumerate() {
                fleet.signal(signal);
                fleet.console.wait_for_nth(time + 1, "reloaded:");
            }
        });
        assert!(tally.failures.is_empty() && tally.answered() > 0, "{tally:?}");
        fleet.console.wait_for(&format!(", on {addr}; master pid"));
        assert_eq!(proc::listening_inodes(addr.port()), inodes);
        fleet.stop();
    }
}

#[test]
fn upgrade_and_stop_keep_passed_unix_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let fleet = activated(MULTI_ADDRESS_SERVER, vec![unix(&path)], "app")
        .set("takes", "unix")
        .set("addr", "systemd:app");
    let fleet = fleet.start();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded:");
    assert_eq!(role_at(&path), "true");
    fleet.stop();
    assert!(path.exists());
}

#[test]
fn stop_leaves_unaccepted_connections_in_passed_socket() {
    let gate = ResponseGate::new();
    let (socket, addr) = tcp();
    let ours = TcpListener::from(socket.try_clone().unwrap());
    let inodes = proc::listening_inodes(addr.port());
    let server = activated(SERVER, vec![socket], "web").set("workers", 1).set("one_by_one", "yes");
    let mut fleet = server.gate(&gate).start();
    let child = fleet.first_children()[0];
    let in_flight = client::begin(addr, "/gate");
    let queued = TcpStream::connect(addr).unwrap();
    fleet.signal(Signal::SIGTERM);
    wait::until("closed accept gate", || proc::held_inodes(child, &inodes).is_empty());
    gate.open();
    in_flight.finish().unwrap();
    assert!(fleet.wait().success());
    let late = TcpStream::connect_timeout(&addr, wait::LIMIT).unwrap();
    for client in [queued, late] {
        assert_eq!(ours.accept().unwrap().1, client.local_addr().unwrap());
    }
}

#[test]
fn systemd_socket_activate_starts_fleet_at_first_connection() {
    let probe = Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return prefork_tests::skip::skipped("systemd");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    // The tool does not report the port that it gets from port 0, so this one was free a moment ago.
    let addr = tcp().1;
    let mut wrapper = vec!["systemd-socket-activate", "-l"];
    let (web, admin) = (addr.to_string(), path.to_str().unwrap().to_owned());
    wrapper.extend([web.as_str(), "-l", &admin, "--fdname=web:admin"]);
    // The tool passes on only the variables that it is given.
    for name in ["TEST_FLEET", "TEST_STARTED", "TEST_ADDRS", "TEST_WORKERS"] {
        wrapper.extend(["-E", name]);
    }
    let server = Server::through(&wrapper, MULTI_ADDRESS_SERVER).unset("addr");
    let fleet = server.set("addrs", "systemd:admin,systemd:web").launch();
    fleet.console.wait_for("Listening on");
    let connected = wait::for_value("listening port", || TcpStream::connect(addr).ok());
    assert_eq!(client::get_over(connected, "/role").unwrap(), "true");
    assert_eq!(role_at(&path), "true");
    fleet.console.wait_for(&format!("listening on unix:{admin}, {addr} (from the service manager, shared)"));
    assert_eq!(
        fs::canonicalize(format!("/proc/{}/exe", fleet.master())).unwrap(),
        Path::new(MULTI_ADDRESS_SERVER)
    );
    assert_eq!(fleet.first_children().len(), 2);
    fleet.stop();
}
