//! An upgrade to a program with other addresses, or other sockets on the same ones. Clients send requests all the
//! time: none is lost on an address that stays, and none that was accepted on one that leaves.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use prefork_tests::fleet::Server;
use prefork_tests::load::{self, LoadClient};
use prefork_tests::signal::{Signal, send};
use prefork_tests::upgradable::{Upgradable, clients, staying};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");

fn start(options: &str) -> Upgradable {
    Upgradable::start(SERVER, options)
}

/// Clients of an address that leaves: requests are answered, or the connection is refused.
fn leaving(addr: SocketAddr) -> impl Iterator<Item = LoadClient> {
    clients(move || unless_refused(client::try_get(addr, "/"), "tcp"))
}

/// Clients of a Unix socket that leaves.
fn leaving_unix(path: &Path) -> impl Iterator<Item = LoadClient> + use<> {
    let path = path.to_owned();
    clients(move || unless_refused(ask(&path), "unix"))
}

fn unless_refused(outcome: io::Result<String>, kind: &str) -> io::Result<String> {
    match outcome {
        Ok(_) => Ok(kind.to_owned()),
        Err(error) if [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&error.kind()) => {
            Ok("refused".to_owned())
        }
        Err(error) => Err(error),
    }
}

fn ask(path: &Path) -> io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    client::get_over(stream, "/")
}

#[test]
fn address_that_is_added_or_removed_affects_no_other() {
    for reuseport in ["0", "1"] {
        let fleet = start(&format!("addrs=127.0.0.1:0 reuseport={reuseport}"));
        let first = fleet.fleet.addr();
        let mut second = None;
        let tally = load::run(staying(first).collect(), || {
            let addrs = fleet.upgrade(&format!("addrs=[::1]:0,127.0.0.1:0 reuseport={reuseport}"));
            assert_eq!((addrs.len(), addrs[1]), (2, first));
            second = Some(addrs[0]);
            for addr in addrs {
                client::serving_pid(addr);
            }
        });
        tally.assert_all_answered();
        let second = second.unwrap();
        let tally = load::run(staying(second).chain(leaving(first)).collect(), || {
            let addrs = fleet.upgrade(&format!("addrs=[::1]:0 reuseport={reuseport}"));
            assert_eq!(addrs, [second]);
            wait::until("closed first address", || client::is_refused(first));
        });
        tally.assert_all_answered();
        fleet.fleet.console.wait_for(&format!("no longer listening on {first}"));
        fleet.stop();
    }
}

#[test]
fn changed_port_is_served_and_the_old_one_is_closed() {
    for reuseport in ["0", "1"] {
        let fleet = start(&format!("addrs=127.0.0.1:0 reuseport={reuseport}"));
        let old = fleet.fleet.addr();
        let tally = load::run(leaving(old).collect(), || {
            let new = fleet.upgrade(&format!("addrs=localhost:0 reuseport={reuseport}"))[0];
            assert_ne!(old, new);
            client::serving_pid(new);
            wait::until("closed old address", || client::is_refused(old));
        });
        tally.assert_all_answered();
        fleet.stop();
    }
}

#[test]
fn tcp_becomes_unix_and_unix_becomes_tcp_and_unix() {
    let fleet = start("addrs=127.0.0.1:0 takes=tcp");
    let (old, path) = (fleet.fleet.addr(), fleet.path("app.sock"));
    let tally = load::run(leaving(old).collect(), || {
        fleet.upgrade("addrs=unix:DIR/app.sock takes=unix unix_mode=600");
        ask(&path).unwrap();
        wait::until("closed TCP address", || client::is_refused(old));
    });
    tally.assert_all_answered();
    let mut new = None;
    let tally = load::run(leaving_unix(&path).collect(), || {
        let addrs = fleet.upgrade("addrs=127.0.0.1:0,unix:DIR/./app.sock takes=mixed unix_mode=620");
        client::serving_pid(addrs[0]);
        new = Some(addrs[0]);
    });
    tally.assert_all_answered();
    assert!(!tally.answers.contains_key("refused"), "the Unix socket stays: {tally:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
    let tally = load::run(staying(new.unwrap()).chain(leaving_unix(&path)).collect(), || {
        fleet.upgrade("addrs=127.0.0.1:0 takes=tcp");
        wait::until("removed socket file", || !path.exists());
    });
    tally.assert_all_answered();
    fleet.stop();
}

#[test]
fn shared_socket_becomes_one_for_each_slot_and_back() {
    let fleet = start("addrs=127.0.0.1:0 workers=3");
    let addr = fleet.fleet.addr();
    let sockets = || proc::listening_inodes(addr.port());
    let first = sockets();
    let tally = load::run(staying(addr).collect(), || {
        for _ in 0..2 {
            assert_eq!(fleet.upgrade("addrs=127.0.0.1:0 workers=3 reuseport=1"), [addr]);
            wait::until("a socket each", || sockets().len() == 3);
            assert!(sockets().is_superset(&first), "the first slot's socket is the one that was shared");
            assert_eq!(fleet.upgrade("addrs=127.0.0.1:0 workers=3 reuseport=0"), [addr]);
            wait::until("one socket", || sockets() == first);
        }
    });
    tally.assert_all_answered();
    // No other process can join the group.
    Server::new(SERVER).set("addr", addr).run().assert_refused("address already in use");
    fleet.stop();
}

#[test]
fn network_and_host_of_an_address_change_without_a_refused_connection() {
    for reuseport in ["0", "1"] {
        let fleet = start(&format!("addrs=:0 network=tcp4 reuseport={reuseport}"));
        let port = fleet.fleet.addr().port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let tally = load::run(staying(addr).collect(), || {
            for change in [
                format!("addrs=:{port} network=tcp"),
                format!("addrs=:{port} network=tcp4"),
                format!("addrs=127.0.0.1:{port} network=tcp4"),
                format!("addrs=localhost:{port} network=tcp"),
                format!("addrs=:{port} network=tcp"),
            ] {
                fleet.upgrade(&format!("{change} reuseport={reuseport}"));
            }
        });
        tally.assert_all_answered();
        client::serving_pid(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
        Server::new(SERVER)
            .set("addr", format!("127.0.0.1:{port}"))
            .run()
            .assert_refused("address already in use");
        fleet.stop();
    }
}

#[test]
fn changed_number_of_children_loses_no_request() {
    for reuseport in ["0", "1"] {
        let fleet = start(&format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"));
        let addr = fleet.fleet.addr();
        let tally = load::run(staying(addr).collect(), || {
            for workers in [4, 1, 3] {
                let options = format!("addrs=127.0.0.1:0 workers={workers} reuseport={reuseport}");
                assert_eq!(fleet.upgrade(&options), [addr]);
                fleet.fleet.wait_for_children(workers, &[]);
                let sockets = if reuseport == "1" { workers } else { 1 };
                wait::until("the slots' sockets", || proc::listening_inodes(addr.port()).len() == sockets);
            }
        });
        tally.assert_all_answered();
        fleet.stop();
    }
}

/// Stops the only child, and queues connections on its addresses, TCP and Unix.
fn queued(fleet: &Upgradable) -> (u32, Vec<client::PendingRequest>, Vec<UnixStream>) {
    let old = fleet.fleet.first_children()[0];
    send(old, Signal::SIGSTOP);
    wait::until("stopped child", || proc::is_stopped(old));
    let tcp = (0..10).map(|_| client::send(fleet.fleet.addr(), "/").unwrap()).collect();
    let unix = (0..10).map(|_| UnixStream::connect(fleet.path("app.sock")).unwrap()).collect();
    (old, tcp, unix)
}

#[test]
fn queue_of_a_removed_address_is_accepted_by_its_last_child() {
    for reuseport in ["0", "1"] {
        let options = format!("addrs=127.0.0.1:0,unix:DIR/app.sock workers=1 reuseport={reuseport}");
        let fleet = start(&options);
        let addr = fleet.fleet.addr();
        let (old, tcp, unix) = queued(&fleet);
        fleet.set_next(&format!("addrs=localhost:0 workers=1 reuseport={reuseport}"));
        fleet.fleet.signal(Signal::SIGUSR2);
        fleet.fleet.console.wait_for(&format!("no longer listening on {addr}"));
        fleet.fleet.console.wait_for("no longer listening on unix:");
        assert!(client::is_refused(addr) && !fleet.path("app.sock").exists());
        assert!(proc::is_alive(old), "a child is left that accepts the queue");
        send(old, Signal::SIGCONT);
        for request in tcp {
            assert_eq!(request.finish().unwrap(), old.to_string());
        }
        for stream in unix {
            assert_eq!(client::get_over(stream, "/").unwrap(), old.to_string());
        }
        wait::until("end of the old child", || !proc::is_alive(old));
        fleet.stop();
    }
}

#[test]
fn queue_of_a_removed_address_without_a_child_is_reported() {
    let fleet = start("addrs=127.0.0.1:0,unix:DIR/app.sock workers=1");
    let addr = fleet.fleet.addr();
    let (old, tcp, _unix) = queued(&fleet);
    fleet.upgrade("addrs=localhost:0 workers=1");
    send(old, Signal::SIGKILL);
    fleet.fleet.console.wait_for(&format!("closing a socket on {addr} with connections still queued"));
    fleet.fleet.console.wait_for("closing a socket on unix:");
    assert!(tcp.into_iter().all(|request| request.finish().is_err()));
    fleet.fleet.signal(Signal::SIGTERM);
}

#[test]
fn upgrade_whose_sockets_cannot_be_opened_changes_nothing() {
    let fleet = start("addrs=127.0.0.1:0,unix:DIR/app.sock");
    let (addr, children) = (fleet.fleet.addr(), fleet.fleet.first_children());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    fs::write(fleet.path("file"), "precious").unwrap();
    let before = proc::handle_count(fleet.fleet.master());
    let tally = load::run(staying(addr).collect(), || {
        for (options, reason) in [
            (format!("addrs=unix:DIR/new.sock,{taken}"), "address already in use"),
            ("addrs=unix:DIR/new.sock,unix:DIR/missing/app.sock".to_owned(), "no such file or directory"),
            ("addrs=unix:DIR/new.sock,unix:DIR/file".to_owned(), "not a socket"),
            ("addrs=unix:DIR/new.sock,systemd:web".to_owned(), "no service manager passed a socket `web`"),
            (format!("addrs=unix:DIR/new.sock health={taken}"), "address already in use"),
            ("addrs=unix:DIR/new.sock pidfile=DIR/file".to_owned(), "is no pid file"),
            ("addrs=unix:DIR/new.sock health=127.0.0.1:0 pidfile=DIR/missing/pid".to_owned(), "pid file"),
            ("addrs=unix:DIR/new.sock pidfile=DIR/pid boot=exit1".to_owned(), "failed its check"),
            ("addrs=unix:DIR/new.sock pidfile=DIR/pid takes=tcp".to_owned(), "failed its check"),
        ] {
            fleet.refuse(&options, reason);
            assert!(!fleet.path("new.sock").exists() && !fleet.path("pid").exists(), "{options}");
            wait::until("end of the child that checked", || fleet.fleet.children() == children);
        }
    });
    tally.assert_all_answered();
    ask(&fleet.path("app.sock")).unwrap();
    wait::until("closed sockets", || proc::handle_count(fleet.fleet.master()) <= before);
    assert_eq!(fs::read_to_string(fleet.path("file")).unwrap(), "precious");
    // What follows succeeds.
    fleet.upgrade("addrs=unix:DIR/new.sock pidfile=DIR/pid");
    assert_eq!(ask(&fleet.path("new.sock")).map(drop).map_err(|error| error.kind()), Ok(()));
    fleet.stop();
}

#[test]
fn trial_child_that_fails_closes_what_was_opened_for_it() {
    let fleet = start("addrs=127.0.0.1:0 start_timeout=5s");
    let children = fleet.fleet.first_children();
    // The child that checks exits before it would hang: the trial child is the fourth one.
    fleet.refuse(
        "addrs=unix:DIR/new.sock,[::1]:0 health=127.0.0.1:0 pidfile=DIR/pid boot=late_hang workers=3 start_timeout=1s",
        ") was not ready within 5s",
    );
    assert!(!fleet.path("new.sock").exists() && !fleet.path("pid").exists());
    wait::until("end of the trial child", || fleet.fleet.children() == children);
    assert_eq!(proc::held_listeners(fleet.fleet.master(), fleet.fleet.addr().port()), 1);
    client::serving_pid(fleet.fleet.addr());
    // The killing of the trial child is in the log, where `stop` expects none.
    fleet.fleet.signal(Signal::SIGTERM);
}

#[test]
fn removed_address_is_served_while_an_old_child_is_left_and_stays_if_the_next_program_has_it() {
    for reuseport in ["0", "1"] {
        let fleet = start(&format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"));
        let (old, first) = (fleet.fleet.addr(), fleet.fleet.first_children());
        let tally = load::run(staying(old).collect(), || {
            // Five processes have started when the new child of the second slot hangs, which ends the reload.
            let options = "addrs=localhost:0 workers=2 boot=late_hang hang_after=4 start_timeout=2s";
            fleet.set_next(&format!("{options} reuseport={reuseport}"));
            fleet.fleet.operate(Signal::SIGUSR2, 1, "reload aborted: new child 1 failed");
            wait::until("end of the others", || fleet.fleet.children().len() == 2);
            for _ in 0..10 {
                assert_eq!(client::serving_pid(old), first[1], "reuseport: {reuseport}");
            }
            fleet.set_next(&format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"));
            fleet.fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
        });
        tally.assert_all_answered();
        assert_eq!(fleet.fleet.console.lines_with("no longer listening on").len(), 1, "the other one");
        fleet.fleet.wait_for_children(2, &first);
        client::serving_pid(old);
        fleet.fleet.signal(Signal::SIGTERM);
    }
}
