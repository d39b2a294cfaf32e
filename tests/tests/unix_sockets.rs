//! Unix sockets: their files, their modes, and their life over reloads and upgrades.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, wait};
use tempfile::TempDir;

const MULTI_ADDRESS_SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");

/// A temporary directory, and the path of a socket in it.
fn socket_path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    (directory, path)
}

/// A server on the Unix socket `path`.
fn server_at(path: &Path) -> Server {
    Server::new(MULTI_ADDRESS_SERVER).set("addr", format!("unix:{}", path.display()))
}

/// Sends `GET /` to the Unix socket `path`; returns the pid of the process that answers.
fn ask(path: &Path) -> io::Result<u32> {
    let pid = client::get_over(UnixStream::connect(path)?, "/")?;
    pid.parse().map_err(io::Error::other)
}

#[test]
fn unix_socket_is_served_by_children_and_removed_at_stop() {
    for takes in ["unix", "any", "tokio"] {
        let (_directory, path) = socket_path();
        let fleet = server_at(&path).set("takes", takes).start();
        fleet.console.wait_for(&format!("listening on unix:{} (unix, one shared socket)", path.display()));
        assert!(fleet.first_children().contains(&ask(&path).unwrap()), "{takes}");
        fleet.stop();
        assert!(!path.exists(), "{takes}");
    }
}

#[test]
fn network_unix_accepts_path_without_prefix() {
    let (_directory, path) = socket_path();
    let fleet = Server::new(MULTI_ADDRESS_SERVER).set("network", "unix").set("addr", path.display()).start();
    ask(&path).unwrap();
    fleet.stop();
}

#[test]
fn unix_mode_and_unix_owner_apply_to_socket_file() {
    let (_directory, path) = socket_path();
    let fleet = server_at(&path).set("unix_mode", "620").start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
    fleet.stop();
    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let fleet = server_at(&path).set("unix_owner", "65534:nogroup").start();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.uid(), file.gid()), (65534, 65534));
    fleet.stop();
}

#[test]
fn stale_socket_is_replaced_and_socket_in_use_is_refused() {
    let (_directory, path) = socket_path();
    drop(UnixListener::bind(&path).unwrap());
    let fleet = server_at(&path).start();
    let refused = server_at(&path).run();
    refused.assert_refused(&format!("cannot bind unix:{}: address already in use", path.display()));
    // The refused fleet has not removed the socket file.
    ask(&path).unwrap();
    fleet.stop();
}

#[test]
fn socket_file_of_killed_master_is_replaced() {
    let (_directory, path) = socket_path();
    let mut fleet = server_at(&path).start();
    send(fleet.master(), Signal::SIGKILL);
    fleet.wait();
    wait::until("end of the orphans", || fleet.processes().is_empty());
    assert!(path.exists());
    let fleet = server_at(&path).start();
    ask(&path).unwrap();
    fleet.stop();
}

#[test]
fn stop_keeps_socket_file_of_other_process() {
    let (_directory, path) = socket_path();
    let fleet = server_at(&path).start();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    fleet.stop();
    assert!(path.exists());
}

#[test]
fn abstract_socket_serves_without_file() {
    let name = format!("prefork-test-{}", std::process::id());
    let fleet = Server::new(MULTI_ADDRESS_SERVER).set("addr", format!("unix:@{name}")).start();
    let addr = net::SocketAddr::from_abstract_name(&name).unwrap();
    let pid = client::get_over(UnixStream::connect_addr(&addr).unwrap(), "/").unwrap();
    assert!(fleet.first_children().contains(&pid.parse().unwrap()));
    fleet.stop();
    UnixStream::connect_addr(&addr).unwrap_err();
}

#[test]
fn reload_and_upgrade_under_load_fail_no_unix_request() {
    let (_directory, path) = socket_path();
    let fleet = server_at(&path).set("shutdown_grace", "30s").start();
    let inode = fs::metadata(&path).unwrap().ino();
    let over = AtomicBool::new(false);
    let failures: Vec<io::Error> = thread::scope(|scope| {
        let load = |_| {
            scope.spawn(|| (0..).take_while(|_| !over.load(Ordering::SeqCst)).find_map(|_| ask(&path).err()))
        };
        let clients: Vec<_> = (0..4).map(load).collect();
        for (signal, answer) in
            [(Signal::SIGHUP, "reloaded:"), (Signal::SIGUSR2, "reloaded: every child is of generation 2")]
        {
            fleet.signal(signal);
            fleet.console.wait_for(answer);
        }
        over.store(true, Ordering::SeqCst);
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "the socket file was replaced");
    let children = fleet.wait_for_children(2, &[]);
    fleet.replace(&children[..1]);
    ask(&path).unwrap();
    fleet.stop();
    assert!(!path.exists(), "the upgraded master has not removed the socket");
}

#[test]
fn stop_with_queued_unix_connections_answers_them() {
    let (_directory, path) = socket_path();
    let gate = ResponseGate::new();
    let name = format!("@prefork-test-{}", std::process::id());
    let addrs = [
        (format!("unix:{}", path.display()), net::SocketAddr::from_pathname(&path).unwrap()),
        (format!("unix:{name}"), net::SocketAddr::from_abstract_name(&name[1..]).unwrap()),
    ];
    for (text, addr) in addrs {
        let server =
            Server::new(MULTI_ADDRESS_SERVER).set("addr", text).set("takes", "tokio").set("workers", 1);
        let mut fleet = server.gate(&gate).start();
        let send = |path| {
            let mut stream = UnixStream::connect_addr(&addr).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            stream
        };
        let mut in_flight = send("/gate");
        in_flight.read_exact(&mut [0]).unwrap();
        let queued: Vec<_> = (0..20).map(|_| send("/")).collect();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping:");
        gate.open();
        for mut stream in queued {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with('\n'), "incomplete answer: {answer:?}");
        }
        assert!(fleet.wait().success());
        gate.close();
    }
}

#[test]
fn stop_answers_unix_request_in_flight() {
    let (_directory, path) = socket_path();
    let gate = ResponseGate::new();
    let mut fleet = server_at(&path).gate(&gate).start();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /gate HTTP/1.1\r\n\r\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping:");
    wait::until("removed socket file", || UnixStream::connect(&path).is_err());
    gate.open();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(|end: char| end.is_ascii_whitespace()), "incomplete answer: {answer:?}");
    assert!(fleet.wait().success());
}

#[test]
fn unix_and_tcp_addresses_are_served_through_scale_crash_reload_and_upgrade() {
    for reuseport in [false, true] {
        let (_directory, path) = socket_path();
        let addrs = format!("127.0.0.1:0,[::1]:0,unix:{}", path.display());
        let server = Server::new(MULTI_ADDRESS_SERVER).set("addrs", addrs).set("shutdown_grace", "30s");
        let fleet = server.reuseport(reuseport).start();
        let tcp = fleet.addrs();
        fleet.check_through_operations(|| {
            for addr in &tcp {
                client::serving_pid(*addr);
            }
            ask(&path).unwrap_or_else(|error| panic!("{error}; {:#?}", fleet.console.lines()));
        });
        fleet.stop();
        assert!(!path.exists());
    }
}

#[test]
fn serve_function_with_tcp_and_unix_listener_serves() {
    let (_directory, path) = socket_path();
    let addrs = format!("127.0.0.1:0,unix:{}", path.display());
    let fleet = Server::new(MULTI_ADDRESS_SERVER).set("takes", "mixed").set("addrs", addrs).start();
    ask(&path).unwrap();
    fleet.stop();
}

#[test]
fn upgrade_opens_new_addresses_and_closes_old_ones() {
    let (directory, path) = socket_path();
    let (old, new) = (directory.path().join("old.sock"), directory.path().join("new.sock"));
    let overrides = directory.path().join("overrides");
    let addrs = |other: &Path| format!("unix:{},unix:{}", path.display(), other.display());
    let server =
        Server::new(MULTI_ADDRESS_SERVER).set("addrs", addrs(&old)).set("overrides", overrides.display());
    let fleet = server.start();
    let inode = fs::metadata(&path).unwrap().ino();
    fs::write(&overrides, addrs(&new)).unwrap();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded:");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    ask(&path).unwrap();
    ask(&new).unwrap();
    assert!(!old.exists());
    fleet.stop();
    assert!(!path.exists() && !new.exists());
}

#[test]
fn tcp_address_for_unix_listener_is_refused() {
    let server = Server::new(MULTI_ADDRESS_SERVER).set("takes", "unix").set("addrs", "127.0.0.1:0");
    server.run().assert_refused("expected `unix:/path`, because the serve function takes");
}

#[test]
fn unusable_socket_paths_are_refused() {
    let (directory, path) = socket_path();
    let refused = |addr: &str, reason: &str| {
        Server::new(MULTI_ADDRESS_SERVER).set("addr", addr).run().assert_refused(reason)
    };
    fs::write(&path, "precious").unwrap();
    refused(&format!("unix:{}", path.display()), "the file there is not a socket");
    assert!(path.exists());
    refused("unix:", "no name");
    refused("unix:@", "no name");
    refused(&format!("unix:{}/", directory.path().display()), "a directory");
    refused("unix:/no/such/directory/app.sock", "no such file or directory");
    refused(&format!("unix:/{}", "x".repeat(200)), "SUN_LEN");
    let file = format!("unix:{}/app2.sock", directory.path().display());
    Server::new(MULTI_ADDRESS_SERVER)
        .set("addr", &file)
        .reuseport(true)
        .run()
        .assert_refused("always shared");
    Server::new(MULTI_ADDRESS_SERVER)
        .set("addr", &file)
        .set("unix_mode", "999")
        .run()
        .assert_refused("unix_mode cannot be `999`");
    let owner = Server::new(MULTI_ADDRESS_SERVER).set("addr", &file).set("unix_owner", "no-such-user");
    owner.run().assert_refused("unix_owner cannot be `no-such-user`: expected a user of this system");
    Server::new(MULTI_ADDRESS_SERVER)
        .set("network", "unix")
        .unset("addr")
        .run()
        .assert_refused("addr is not set: expected the path of a Unix socket");
}
