//! Reload, upgrade, scaling and crashes under load: whoever is served notices nothing.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be done is a failure")]

use std::fs;
#[cfg(unix)]
use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use prefork_tests::client::Tally;
use prefork_tests::fleet::{Fleet, Server};
use prefork_tests::load::{self, Connection, Mix};
use prefork_tests::signal::Signal;
#[cfg(unix)]
use prefork_tests::{client, signal::send};
use prefork_tests::{proc, wait};
#[cfg(unix)]
use tempfile::TempDir;

const OPERATED: &str = env!("CARGO_BIN_EXE_operated");
#[cfg(unix)]
const SERVER: &str = env!("CARGO_BIN_EXE_server");
#[cfg(unix)]
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");

/// Under wine a process is slow to start, and each has its load.
const MIX: Mix =
    if cfg!(windows) { Mix { fresh: 1, kept: 0, slow: 0 } } else { Mix { fresh: 3, kept: 3, slow: 2 } };

/// Waits until the log has `count` lines that contain `text`.
fn wait_for_lines(fleet: &Fleet, text: &str, count: usize) {
    let what = || format!("{count} lines with {text:?} in {:#?}", fleet.console.lines());
    wait::for_some_or(what, || (fleet.console.lines_with(text).len() >= count).then_some(()));
}

/// Sends a signal and waits for the line that says that it has been answered.
fn operate(fleet: &Fleet, signal: Signal, answer: &str, times: usize) {
    for time in 1..=times {
        fleet.signal(signal);
        wait_for_lines(fleet, answer, time);
    }
}

fn assert_unnoticed(tally: &Tally) {
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert!(tally.answered() > 0, "no load: {tally:?}");
}

/// What must be the same before and after.
#[cfg(unix)]
fn master_state(fleet: &Fleet) -> (usize, usize) {
    let inodes = proc::listening_inodes(fleet.addr().port());
    (proc::handle_count(fleet.master()), proc::held_inodes(fleet.master(), &inodes).len())
}

/// Windows shows nobody whose sockets there are.
#[cfg(windows)]
fn master_state(fleet: &Fleet) -> (usize, usize) {
    (proc::handle_count(fleet.master()), 0)
}

/// There is but one mode on Windows.
fn both_modes() -> Vec<Server> {
    let mut modes = vec![Server::new(OPERATED)];
    if cfg!(unix) {
        modes.push(Server::new(OPERATED).set("reuseport", "yes"));
    }
    modes
}

/// Under wine a process takes a long time to start.
const fn rounds(count: usize) -> usize {
    if cfg!(windows) { count / 5 } else { count }
}

#[test]
fn twenty_reloads_under_load_are_unnoticed() {
    for server in both_modes() {
        let fleet = server.set("shutdown_grace", "30s").start();
        let (addr, before) = (fleet.addr(), master_state(&fleet));
        #[cfg(unix)]
        let inodes = proc::listening_inodes(addr.port());
        let first = fleet.first_children();
        let tally = load::during(addr, MIX, || operate(&fleet, Signal::SIGHUP, "reloaded:", rounds(20)));
        assert_unnoticed(&tally);
        let children = fleet.wait_for_children(2, &first);
        assert!(proc::zombies(fleet.master()).is_empty(), "{children:?}");
        #[cfg(unix)]
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        // The first reload pins the program's file.
        let after = master_state(&fleet);
        assert!(after.0 <= before.0 + 1 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

// Elsewhere such a child accepts until there is no connection, or its grace is over.
#[cfg(unix)]
#[test]
fn servers_that_know_nothing_of_stops_are_reloaded_unnoticed_by_new_connections() {
    for server in [SERVER, TOKIO_SERVER] {
        for sharing in ["shared", "reuseport"] {
            let server = Server::new(server).set("shutdown_grace", "30s");
            let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
            let fleet = server.start();
            let tally =
                client::under_load(fleet.addr(), "/", 4, || operate(&fleet, Signal::SIGHUP, "reloaded:", 5));
            assert_unnoticed(&tally);
            fleet.stop();
        }
    }
}

/// A copy of a program, so that it can be replaced.
#[cfg(unix)]
fn deployed(program: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deployed");
    fs::copy(program, &path).unwrap();
    (directory, path)
}

/// Puts another file in the place of a running program's.
#[cfg(unix)]
fn redeploy(path: &PathBuf, program: &str) {
    let new = path.with_extension("new");
    fs::copy(program, &new).unwrap();
    fs::rename(&new, path).unwrap();
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn ten_upgrades_under_load_are_unnoticed() {
    for sharing in ["shared", "reuseport"] {
        let (_directory, path) = deployed(OPERATED);
        let server = Server::new(&path).set("shutdown_grace", "30s");
        let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
        let fleet = server.start();
        let (addr, before) = (fleet.addr(), master_state(&fleet));
        let inodes = proc::listening_inodes(addr.port());
        let tally = load::during(addr, MIX, || {
            for time in 1..=10 {
                redeploy(&path, OPERATED);
                fleet.signal(Signal::SIGUSR2);
                wait_for_lines(&fleet, "reloaded:", time);
            }
        });
        assert_unnoticed(&tally);
        wait::until("the old children's end", || fleet.children().len() == 2);
        assert_eq!(proc::executable(fleet.master()), proc::executable(fleet.children()[0]));
        assert_eq!(proc::name(fleet.master()).as_deref(), Some("deploye: master"));
        assert_eq!(proc::listening_inodes(addr.port()), inodes, "the same sockets");
        let after = master_state(&fleet);
        assert!(after.0 <= before.0 && after.1 == before.1, "{before:?} {after:?}");
        fleet.stop();
    }
}

#[test]
fn fifty_changes_of_size_under_load_are_unnoticed() {
    for server in both_modes() {
        let fleet = server.set("shutdown_grace", "30s").start();
        let addr = fleet.addr();
        #[cfg(unix)]
        let sockets = proc::listening_inodes(addr.port());
        let tally = load::during(addr, MIX, || {
            for time in 1..=rounds(25) {
                fleet.signal(Signal::SIGTTIN);
                wait_for_lines(&fleet, "3 children in place of 2", time);
                wait_for_lines(&fleet, ") is ready", time);
                fleet.signal(Signal::SIGTTOU);
                wait_for_lines(&fleet, "2 children in place of 3", time);
            }
        });
        assert_unnoticed(&tally);
        wait::until("the end of the third", || fleet.children().len() == 2);
        #[cfg(unix)]
        wait::until("the third slot's socket to go", || proc::listening_inodes(addr.port()) == sockets);
        fleet.stop();
    }
}

#[test]
fn fifty_kills_lose_only_what_the_killed_were_doing() {
    for server in both_modes() {
        let fleet = server.set("recover", 1000).set("workers", 3).start();
        let clients = MIX.fresh + MIX.kept + MIX.slow;
        let tally = load::during(fleet.addr(), MIX, || {
            for _ in 0..rounds(50) {
                let victim = fleet.children()[0];
                fleet.replace(&[victim]);
            }
        });
        let failures: usize = tally.failures.values().sum();
        assert!(failures <= 50 * clients, "{tally:?}");
        let refused =
            tally.failures.keys().any(|reason| reason.contains("refused") || reason.contains("timed out"));
        assert!(!refused, "a connection that nobody served: {tally:?}");
        assert!(proc::zombies(fleet.master()).is_empty());
        fleet.stop();
    }
}

#[test]
fn slow_requests_in_flight_outlive_stop_reload_and_upgrade() {
    let signals = [
        Signal::SIGTERM,
        Signal::SIGHUP,
        #[cfg(unix)]
        Signal::SIGUSR2,
    ];
    for signal in signals {
        let directory = tempfile::tempdir().unwrap();
        let gate = directory.path().join("gate");
        let server = Server::new(OPERATED).set("gate", gate.display());
        let fleet = server.set("shutdown_grace", "30s").start();
        let addr = fleet.addr();
        let ask = || std::thread::spawn(move || Connection::to(addr).get("/gate"));
        let threads = || fleet.children().into_iter().map(proc::thread_count).sum::<usize>();
        let before = threads();
        let requests: Vec<_> = (0..8).map(|_| ask()).collect();
        // They are with the children when the connections have left the queue.
        wait::until("requests in flight", || threads() >= before + 8);
        fleet.signal(signal);
        wait_for_lines(&fleet, if signal == Signal::SIGTERM { "stopping: " } else { "reloaded:" }, 1);
        fs::write(&gate, "").unwrap();
        for request in requests {
            request.join().unwrap().unwrap_or_else(|error| panic!("{signal}: {error}"));
        }
        if signal != Signal::SIGTERM {
            fleet.signal(Signal::SIGTERM);
        }
        fleet.expect_stopped();
    }
}

// Elsewhere the file of a program that runs cannot be replaced.
#[cfg(unix)]
#[test]
fn a_reload_picks_up_the_program_that_has_its_name_now() {
    let (_directory, path) = deployed(OPERATED);
    let fleet = Server::new(&path).start();
    let first = fleet.first_children();
    let old = proc::executable(first[0]);
    redeploy(&path, OPERATED);
    send(first[0], Signal::SIGKILL);
    let children = fleet.wait_for_children(2, &first[..1]);
    assert!(
        children.iter().all(|child| proc::executable(*child) == old),
        "nothing changes before the reload"
    );
    fleet.signal(Signal::SIGHUP);
    wait_for_lines(&fleet, "reloaded:", 1);
    let new = fleet.wait_for_children(2, &children);
    assert!(new.iter().all(|child| proc::executable(*child) != old));
    // From here on it is the new program that replaces a child.
    send(new[0], Signal::SIGKILL);
    let newer = fleet.wait_for_children(2, &new[..1]);
    assert!(newer.iter().all(|child| proc::executable(*child) == proc::executable(new[1])));
    assert_eq!(Connection::to(fleet.addr()).get("/generation").unwrap(), "1");
    fleet.stop();
}

#[test]
fn a_reload_of_a_broken_program_leaves_the_fleet_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken");
    let operations = [
        (Signal::SIGHUP, "reload aborted"),
        #[cfg(unix)]
        (Signal::SIGUSR2, "upgrade aborted"),
    ];
    for (signal, answer) in operations {
        let fleet = Server::new(OPERATED).set("broken", broken.display()).start();
        let first = fleet.first_children();
        fs::write(&broken, "").unwrap();
        fleet.signal(signal);
        wait_for_lines(&fleet, answer, 1);
        fs::remove_file(&broken).unwrap();
        let children = fleet.children();
        assert!(first.iter().all(|child| children.contains(child)), "{first:?} {children:?}");
        Connection::to(fleet.addr()).get("/").unwrap();
        fleet.signal(signal);
        wait_for_lines(&fleet, "reloaded:", 1);
        fleet.stop();
    }
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn an_upgrade_to_no_such_program_leaves_the_fleet_as_it_was() {
    let (_directory, path) = deployed(SERVER);
    let mut fleet = Server::new(&path).set("start_timeout", "1s").start();
    let first = fleet.first_children();
    let nothing: fn(&PathBuf) = |_| {};
    let text: fn(&PathBuf) = |path| fs::write(path, "no program").unwrap();
    let garbage: fn(&PathBuf) = |path| {
        fs::write(path, "no program").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let ends: fn(&PathBuf) = |path| redeploy(path, "/bin/true");
    // It reads the handoff, and waits for more of it.
    let hangs: fn(&PathBuf) = |path| redeploy(path, "/bin/cat");
    let attempts = [
        ("no such file", nothing),
        ("not an executable file", text),
        ("upgrade aborted", garbage),
        ("upgrade aborted", ends),
        ("upgrade aborted", hangs),
    ];
    for (time, (answer, deploy)) in attempts.into_iter().enumerate() {
        let _ = fs::remove_file(&path);
        deploy(&path);
        let before = fleet.console.lines_with(answer).len();
        fleet.signal(Signal::SIGUSR2);
        wait_for_lines(&fleet, answer, before + 1);
        wait::until("the trial child's end", || fleet.children() == first);
        assert_eq!(fleet.console.lines_with("executing").len(), 0, "attempt {time}");
        client::serving_pid(fleet.addr());
    }
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
}

/// A fleet whose next program has another address and three workers, and the file that says so.
#[cfg(unix)]
fn rebuilt_with(addr: &str) -> (Fleet, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let overrides = directory.path().join("overrides");
    let fleet =
        Server::new(OPERATED).set("overrides", overrides.display()).set("shutdown_grace", "30s").start();
    fs::write(&overrides, format!("{addr} 3")).unwrap();
    (fleet, directory)
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn an_upgrade_takes_the_new_programs_options_and_moves_to_its_address() {
    let (fleet, _directory) = rebuilt_with("localhost:0");
    let (old, first) = (fleet.addr(), fleet.first_children());
    let slow = std::thread::spawn(move || Connection::to(old).get("/slow"));
    wait::until("a request in flight", || {
        first.iter().map(|child| proc::threads(*child).len()).sum::<usize>() > 2 * first.len()
    });
    fleet.signal(Signal::SIGUSR2);
    let line = fleet.console.wait_for("upgraded:");
    wait_for_lines(&fleet, "reloaded:", 1);
    let new = line.split_once(", on ").and_then(|(_, rest)| rest.split(';').next()).unwrap().parse().unwrap();
    assert_ne!(old, new);
    Connection::to(new).get("/").unwrap();
    slow.join().unwrap().expect("the old address is drained");
    wait::until("the old address to close", || client::is_refused(old));
    fleet.wait_for_children(3, &first);
    fleet.signal(Signal::SIGTERM);
    fleet.expect_stopped();
    assert!(client::is_refused(new));
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn an_upgrade_to_an_address_that_is_taken_stays_where_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (fleet, _directory) = rebuilt_with(&addr);
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for(&format!("cannot bind {addr}: address already in use"));
    wait_for_lines(&fleet, "reloaded:", 1);
    Connection::to(fleet.addr()).get("/").unwrap();
    fleet.stop();
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn new_connections_to_an_async_server_notice_no_operation_at_all() {
    for sharing in ["shared", "reuseport"] {
        let (_directory, path) = deployed(TOKIO_SERVER);
        let server = Server::new(&path).set("shutdown_grace", "30s").set("recover", 1000);
        let server = if sharing == "shared" { server } else { server.set("reuseport", "yes") };
        let fleet = server.start();
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            operate(&fleet, Signal::SIGHUP, "reloaded:", 20);
            for time in 21..=30 {
                fleet.signal(Signal::SIGUSR2);
                wait_for_lines(&fleet, "reloaded:", time);
            }
            for time in 1..=25 {
                fleet.signal(Signal::SIGTTIN);
                wait_for_lines(&fleet, "3 children in place of 2", time);
                fleet.signal(Signal::SIGTTOU);
                wait_for_lines(&fleet, "2 children in place of 3", time);
            }
        });
        assert_unnoticed(&tally);
        wait::until("the last surplus child's end", || fleet.children().len() == 2);
        let tally = client::under_load(fleet.addr(), "/", 4, || {
            for _ in 0..50 {
                let victim = fleet.children()[0];
                fleet.replace(&[victim]);
            }
        });
        // Each killed child had a few requests in hand; whatever was queued has been answered.
        assert!(tally.failures.values().sum::<usize>() <= 50 * 4, "{tally:?}");
        assert!(!tally.failures.keys().any(|reason| reason.contains("refused")), "{tally:?}");
        fleet.stop();
    }
}

// Elsewhere no slot has a socket of its own.
#[cfg(unix)]
#[test]
fn what_waits_on_the_socket_of_a_slot_that_goes_is_served_before_it_goes() {
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).set("reuseport", "yes").set("shutdown_grace", "30s").start();
        let last = fleet.first_children()[1];
        send(last, Signal::SIGSTOP);
        wait::until("a stopped child", || proc::is_stopped(last));
        let requests: Vec<_> = (0..40).map(|_| client::send(fleet.addr(), "/").unwrap()).collect();
        fleet.signal(Signal::SIGTTOU);
        wait_for_lines(&fleet, "1 child in place of 2", 1);
        send(last, Signal::SIGCONT);
        let mut tally = Tally::default();
        requests.into_iter().for_each(|request| tally.count(request.finish()));
        assert_unnoticed(&tally);
        assert!(tally.answers.contains_key(&last.to_string()), "{tally:?}");
        wait::until("the end of the last child", || fleet.children().len() == 1);
        fleet.stop();
    }
}
