//! An upgrade to a program with other addresses, or other sockets on the same ones. Clients send requests all the
//! time: none is lost on an address that stays, and none that was accepted on one that leaves.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::load::{self, LoadClient};
use prefork_tests::program::public_directory;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// A fleet, and the file with the options of its next program.
struct Upgradable {
    fleet: RunningFleet,
    directory: TempDir,
    upgrades: Cell<usize>,
}

impl Upgradable {
    /// `options` are lines `name=value`; in them, `DIR` is the fleet's directory.
    fn start(options: &str) -> Self {
        let directory = public_directory();
        write_options(directory.path(), options);
        let next = directory.path().join("next");
        let server = Server::new(SERVER).unset("addr").set("next", next.display());
        Self { fleet: server.set("shutdown_grace", "30s").start(), directory, upgrades: Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Upgrades to a program with these options; returns its TCP addresses.
    fn upgrade(&self, options: &str) -> Vec<SocketAddr> {
        write_options(self.directory.path(), options);
        self.upgrades.set(self.upgrades.get() + 1);
        self.fleet.operate(Signal::SIGUSR2, self.upgrades.get(), "reloaded:");
        let line = self.fleet.console.lines_with("upgraded:")[self.upgrades.get() - 1].clone();
        let addrs = line.split_once(", on ").and_then(|(_, rest)| rest.split_once(';')).expect("addresses").0;
        addrs.split(", ").filter_map(|addr| addr.parse().ok()).collect()
    }

    /// Requests an upgrade to a program with these options, and waits for the reason why it is aborted.
    fn refuse(&self, options: &str, reason: &str) {
        write_options(self.directory.path(), options);
        let before = self.fleet.console.lines_with("upgrade aborted: ").len();
        self.fleet.operate(Signal::SIGUSR2, before + 1, "upgrade aborted: ");
        let line = self.fleet.console.lines_with("upgrade aborted: ")[before].clone();
        assert!(line.contains(reason) && line.ends_with("; the fleet is unchanged"), "{line}");
    }

    /// Ends the fleet, which may listen on other addresses than at its start.
    fn stop(mut self) {
        self.fleet.signal(Signal::SIGTERM);
        assert_eq!(self.fleet.wait().code(), Some(0));
        self.fleet.assert_no_process_left();
        let lines = self.fleet.console.wait_for_end();
        assert!(!lines.iter().any(|line| line.contains("killing")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("still queued")), "{lines:#?}");
    }
}

fn write_options(directory: &Path, options: &str) {
    let options = options.replace("DIR", directory.to_str().unwrap()).replace(' ', "\n");
    let new = directory.join("new");
    fs::write(&new, options).unwrap();
    fs::rename(new, directory.join("next")).unwrap();
}

/// Clients of an address that stays: every request is answered.
fn staying(addr: SocketAddr) -> impl Iterator<Item = LoadClient> {
    clients(move || client::try_get(addr, "/").map(|_| "tcp".to_owned()))
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

/// Three clients. They pause, because a list of the machine's sockets takes long once there are very many closed
/// connections.
fn clients(
    request: impl Fn() -> io::Result<String> + Clone + Send + 'static,
) -> impl Iterator<Item = LoadClient> {
    (0..3).map(move |_| -> LoadClient {
        let request = request.clone();
        Box::new(move || {
            thread::sleep(PAUSE);
            request()
        })
    })
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
        let fleet = Upgradable::start(&format!("addrs=127.0.0.1:0 reuseport={reuseport}"));
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
fn port_changes() {
    for reuseport in ["0", "1"] {
        let fleet = Upgradable::start(&format!("addrs=127.0.0.1:0 reuseport={reuseport}"));
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
    let fleet = Upgradable::start("addrs=127.0.0.1:0 takes=tcp");
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
    let fleet = Upgradable::start("addrs=127.0.0.1:0 workers=3");
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
    // Nobody else can join now.
    Server::new(SERVER).set("addr", addr).run().assert_refused("address already in use");
    fleet.stop();
}

#[test]
fn network_and_host_of_an_address_change_without_a_refused_connection() {
    for reuseport in ["0", "1"] {
        let fleet = Upgradable::start(&format!("addrs=:0 network=tcp4 reuseport={reuseport}"));
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
fn number_of_children_changes() {
    for reuseport in ["0", "1"] {
        let fleet = Upgradable::start(&format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"));
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
        let fleet = Upgradable::start(&options);
        let addr = fleet.fleet.addr();
        let (old, tcp, unix) = queued(&fleet);
        write_options(fleet.directory.path(), &format!("addrs=localhost:0 workers=1 reuseport={reuseport}"));
        fleet.fleet.signal(Signal::SIGUSR2);
        fleet.fleet.console.wait_for(&format!("no longer listening on {addr}"));
        fleet.fleet.console.wait_for("no longer listening on unix:");
        assert!(client::is_refused(addr) && !fleet.path("app.sock").exists());
        assert!(proc::is_alive(old), "the queue is its");
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
    let fleet = Upgradable::start("addrs=127.0.0.1:0,unix:DIR/app.sock workers=1");
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
    let fleet = Upgradable::start("addrs=127.0.0.1:0,unix:DIR/app.sock");
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
    let fleet = Upgradable::start("addrs=127.0.0.1:0 start_timeout=5s");
    let children = fleet.fleet.first_children();
    // The child that checks exits before it would hang: the trial child is the fourth one.
    fleet.refuse(
        "addrs=unix:DIR/new.sock,[::1]:0 health=127.0.0.1:0 pidfile=DIR/pid boot=late_hang workers=3 start_timeout=1s",
        "the trial child did not become ready",
    );
    assert!(!fleet.path("new.sock").exists() && !fleet.path("pid").exists());
    wait::until("end of the trial child", || fleet.fleet.children() == children);
    assert_eq!(proc::held_listeners(fleet.fleet.master(), fleet.fleet.addr().port()), 1);
    client::serving_pid(fleet.fleet.addr());
    // The trial child was killed: the fleet's end would be none without that.
    fleet.fleet.signal(Signal::SIGTERM);
}

#[test]
fn health_endpoint_and_pid_file_appear_move_and_disappear() {
    let fleet = Upgradable::start("addrs=127.0.0.1:0");
    let addr = fleet.fleet.addr();
    let health = |n: usize| -> SocketAddr {
        let line = fleet.fleet.console.lines_with("health endpoint on ")[n].clone();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let is_live = |addr| client::status(addr, "/livez").unwrap() == 200;
    let pid = |name: &str| fs::read_to_string(fleet.path(name)).ok();
    let own = Some(format!("{}\n", fleet.fleet.master()));
    let tally = load::run(staying(addr).collect(), || {
        fleet.upgrade("addrs=127.0.0.1:0 health=127.0.0.1:0 pidfile=DIR/one");
        let first = health(0);
        assert!(is_live(first) && pid("one") == own);
        // A kept endpoint, and a pid file with another name.
        fleet.upgrade("addrs=127.0.0.1:0 health=127.0.0.1:0 pidfile=DIR/two");
        assert_eq!(health(1), first);
        assert!(is_live(first) && pid("one").is_none() && pid("two") == own);
        // The port stays, and its host changes.
        fleet.upgrade(&format!("addrs=127.0.0.1:0 health=:{} pidfile=DIR/../{}", first.port(), two(&fleet)));
        assert!(is_live(first) && pid("two") == own);
        fleet.upgrade("addrs=127.0.0.1:0");
        assert!(client::is_refused(first) && pid("two").is_none());
    });
    tally.assert_all_answered();
    fleet.stop();
}

/// Another spelling of the path.
fn two(fleet: &Upgradable) -> String {
    format!("{}/two", fleet.directory.path().file_name().unwrap().to_str().unwrap())
}

#[test]
fn new_program_runs_under_its_own_user_from_its_trial_on() {
    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let fleet = Upgradable::start("addrs=127.0.0.1:0");
    let addr = fleet.fleet.addr();
    let users = || {
        let uid = |child: &u32| proc::status_field(*child, "Uid").unwrap_or_default();
        fleet.fleet.children().iter().map(uid).collect::<Vec<_>>()
    };
    let tally = load::run(staying(addr).collect(), || {
        for (user, uid) in [("nobody", "65534"), ("daemon", "1"), ("", "0")] {
            fleet.upgrade(&format!("addrs=127.0.0.1:0 user={user}"));
            let all = || users().iter().all(|found| found.split_whitespace().next() == Some(uid));
            wait::until("the new user", || fleet.fleet.children().len() == 2 && all());
        }
    });
    tally.assert_all_answered();
    let console = &fleet.fleet.console;
    console.wait_for_nth(4, "ready (pids ");
    let trials = console.lines_with(") is ready").into_iter().filter(|line| line.contains("child 0 "));
    let trials = trials.map(|line| pid_in(&line, "(pid "));
    let first = console.lines_with("ready (pids ").into_iter().skip(1).map(|line| pid_in(&line, "(pids "));
    assert!(trials.eq(first), "the trial child stays: {:#?}", console.lines());
    fleet.stop();
}

/// The first number after `before`.
fn pid_in(line: &str, before: &str) -> String {
    let rest = line.split_once(before).unwrap().1;
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn removed_address_is_served_while_an_old_child_is_left_and_stays_if_the_next_program_has_it() {
    for reuseport in ["0", "1"] {
        let fleet = Upgradable::start(&format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"));
        let (old, first) = (fleet.fleet.addr(), fleet.fleet.first_children());
        let tally = load::run(staying(old).collect(), || {
            // Five processes have started when the new child of the second slot hangs, which ends the reload.
            let options = "addrs=localhost:0 workers=2 boot=late_hang hang_after=4 start_timeout=2s";
            write_options(fleet.directory.path(), &format!("{options} reuseport={reuseport}"));
            fleet.fleet.operate(Signal::SIGUSR2, 1, "reload aborted: new child 1 failed");
            wait::until("end of the others", || fleet.fleet.children().len() == 2);
            for _ in 0..10 {
                assert_eq!(client::serving_pid(old), first[1], "reuseport: {reuseport}");
            }
            write_options(
                fleet.directory.path(),
                &format!("addrs=127.0.0.1:0 workers=2 reuseport={reuseport}"),
            );
            fleet.fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
        });
        tally.assert_all_answered();
        assert_eq!(fleet.fleet.console.lines_with("no longer listening on").len(), 1, "the other one");
        fleet.fleet.wait_for_children(2, &first);
        client::serving_pid(old);
        fleet.fleet.signal(Signal::SIGTERM);
    }
}
