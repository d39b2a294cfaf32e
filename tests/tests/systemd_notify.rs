//! What a service manager hears: the notify socket is the test's own.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A service manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
        Self { socket, directory }
    }

    fn manage(&self, server: Server) -> Server {
        server.env("NOTIFY_SOCKET", self.directory.path().join("notify").to_str().unwrap())
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    /// The messages up to the first that contains `text`.
    fn hear_until(&self, text: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|message: &String| message.contains(text)) {
            heard.push(self.hear());
        }
        heard
    }

    /// What has been said and not been heard.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut message = [0; 4096];
        let mut rest = Vec::new();
        while let Ok(length) = self.socket.recv(&mut message) {
            rest.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).unwrap();
        rest
    }
}

/// The lines that change what the manager takes the service to be at.
fn states(messages: &[String]) -> Vec<&str> {
    let lines = messages.iter().flat_map(|message| message.lines());
    lines.filter(|line| ["READY=1", "RELOADING=1", "STOPPING=1"].contains(line)).collect()
}

/// The number after `name=` in a message.
fn number(message: &str, name: &str) -> u64 {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {message:?}")).parse().unwrap()
}

fn monotonic_usec() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    u64::try_from(now.as_micros()).unwrap()
}

/// Stops the fleet; checks that the manager hears that and nothing else.
fn stop(manager: &Manager, fleet: RunningFleet) {
    manager.rest();
    fleet.stop();
    assert_eq!(states(&manager.rest()), ["STOPPING=1"]);
}

#[test]
fn a_start_is_announced_once_every_child_is_ready() {
    let manager = Manager::new();
    let fleet = manager.manage(Server::new(SERVER)).start();
    let heard = manager.hear_until("READY=1");
    assert!(heard[0].contains("STATUS=starting: 0 of 2 children ready, generation 0\n"), "{heard:?}");
    let patience = number(&heard[0], "EXTEND_TIMEOUT_USEC");
    assert!((60_000_000..=70_000_000).contains(&patience), "the start timeout and a margin: {patience}");
    let ready = heard.last().unwrap();
    assert!(ready.contains("STATUS=2 of 2 children ready, generation 0\n"), "{ready:?}");
    assert!(!ready.contains("EXTEND"), "there is nothing to wait for: {ready:?}");
    stop(&manager, fleet);
}

#[test]
fn every_reload_is_answered() {
    let manager = Manager::new();
    let fleet = manager.manage(Server::new(SERVER)).start();
    manager.hear_until("READY=1");
    for generation in 1..=3 {
        let asked = monotonic_usec();
        fleet.signal(Signal::SIGHUP);
        let heard = manager.hear_until("READY=1");
        assert_eq!(states(&heard), ["RELOADING=1", "READY=1"], "{heard:?}");
        let said = number(&heard[0], "MONOTONIC_USEC");
        assert!((asked..=monotonic_usec()).contains(&said), "{asked} {said}");
        let end = heard.last().unwrap();
        assert!(end.contains(&format!("STATUS=2 of 2 children ready, generation {generation}\n")), "{end:?}");
        number(&heard.concat(), "EXTEND_TIMEOUT_USEC");
    }
    stop(&manager, fleet);
}

#[test]
fn a_reload_that_is_asked_for_again_begins_again_and_ends_once() {
    let manager = Manager::new();
    let gate = manager.directory.path().join("gate");
    fs::write(&gate, "").unwrap();
    let server = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").set("gate", gate.display());
    let fleet = manager.manage(server).start();
    manager.hear_until("READY=1");
    fs::remove_file(&gate).unwrap();
    for _ in 0..2 {
        fleet.signal(Signal::SIGHUP);
        let heard = manager.hear_until("RELOADING=1");
        assert_eq!(states(&heard), ["RELOADING=1"], "{heard:?}");
    }
    fs::write(&gate, "").unwrap();
    let heard = manager.hear_until("READY=1");
    assert_eq!(states(&heard), ["READY=1"], "{heard:?}");
    stop(&manager, fleet);
}

#[test]
fn a_reload_that_fails_ends_as_well_and_says_so() {
    let manager = Manager::new();
    let broken = manager.directory.path().join("broken");
    let fleet = manager.manage(Server::new(KEEP_ALIVE_SERVER).set("broken", broken.display())).start();
    manager.hear_until("READY=1");
    fs::write(&broken, "").unwrap();
    for (signal, how) in [(Signal::SIGHUP, "reload aborted"), (Signal::SIGUSR2, "upgrade aborted")] {
        fleet.signal(signal);
        let heard = manager.hear_until("READY=1");
        assert_eq!(states(&heard), ["RELOADING=1", "READY=1"], "{heard:?}");
        let status = format!("STATUS={how}: 2 of 2 children ready, generation 0\n");
        assert!(heard.last().unwrap().contains(&status), "{heard:?}");
    }
    fs::remove_file(&broken).unwrap();
    fleet.signal(Signal::SIGHUP);
    let heard = manager.hear_until("READY=1");
    assert!(heard.last().unwrap().contains("STATUS=2 of 2 children ready"), "{heard:?}");
    stop(&manager, fleet);
}

#[test]
fn a_reload_that_is_refused_ends_at_once() {
    let manager = Manager::new();
    let program = manager.directory.path().join("program");
    fs::copy(SERVER, &program).unwrap();
    let fleet = manager.manage(Server::new(&program)).start();
    manager.hear_until("READY=1");
    fs::remove_file(&program).unwrap();
    for (signal, how) in [(Signal::SIGHUP, "reload refused"), (Signal::SIGUSR2, "upgrade refused")] {
        fleet.signal(signal);
        let heard = manager.hear_until("READY=1");
        assert_eq!(states(&heard), ["RELOADING=1", "READY=1"], "{heard:?}");
        assert!(heard.last().unwrap().contains(&format!("STATUS={how}: 2 of 2")), "{heard:?}");
    }
    stop(&manager, fleet);
}

#[test]
fn an_upgrade_is_a_reload_and_the_new_program_goes_on_with_it() {
    let manager = Manager::new();
    let server = Server::new(SERVER).env("WATCHDOG_USEC", "400000");
    let fleet = manager.manage(server).start();
    manager.hear_until("READY=1");
    for generation in 1..=2 {
        fleet.signal(Signal::SIGUSR2);
        let heard = manager.hear_until("READY=1");
        assert_eq!(states(&heard), ["RELOADING=1", "READY=1"], "{heard:?}");
        number(&heard.concat(), "MONOTONIC_USEC");
        let status = format!("STATUS=2 of 2 children ready, generation {generation}\n");
        assert!(heard.last().unwrap().contains(&status), "{heard:?}");
        manager.hear_until("WATCHDOG=1");
    }
    fleet.console.wait_for_nth(2, "upgraded:");
    for variable in VARIABLES {
        assert_eq!(client::get(fleet.addr(), &format!("/variable/{variable}")), "None", "{variable}");
    }
    stop(&manager, fleet);
}

#[test]
fn a_stop_is_announced_at_once_and_asks_for_patience() {
    let manager = Manager::new();
    let gate = manager.directory.path().join("gate");
    let server = Server::new(SERVER).set("gate", gate.display()).set("shutdown_grace", "90s");
    let fleet = manager.manage(server.env("PREFORK_STOP_DELAY", "200ms")).start();
    manager.hear_until("READY=1");
    let request = client::begin(fleet.addr(), "/gate");
    fleet.signal(Signal::SIGTERM);
    let heard = manager.hear_until("STOPPING=1");
    let delay = heard.last().unwrap();
    assert!(delay.contains("STATUS=stop delay: 2 of 2 children ready"), "{heard:?}");
    let patience = number(delay, "EXTEND_TIMEOUT_USEC");
    assert!((10_000_000..=10_200_000).contains(&patience), "{patience}");
    let heard = manager.hear_until("EXTEND_TIMEOUT_USEC");
    let patience = number(heard.last().unwrap(), "EXTEND_TIMEOUT_USEC");
    assert!((90_000_000..=100_000_000).contains(&patience), "{patience}");
    manager.hear_until("STATUS=stopping: ");
    fs::write(&gate, "").unwrap();
    request.finish().unwrap();
    fleet.expect_stopped();
    assert_eq!(states(&manager.rest()), [""; 0]);
}

#[test]
fn failures_are_part_of_the_status_for_as_long_as_they_count() {
    let manager = Manager::new();
    let server = Server::new(SERVER).set("recover", 5).set("recover_window", "2s");
    let fleet = manager.manage(server).start();
    manager.hear_until("READY=1");
    send(fleet.first_children()[0], Signal::SIGKILL);
    manager.hear_until("1 failure within 2s\n");
    manager.hear_until("STATUS=2 of 2 children ready, generation 0\n");
    stop(&manager, fleet);
}

#[test]
fn a_fleet_that_gives_up_says_why() {
    let manager = Manager::new();
    let outcome = manager.manage(Server::new(SERVER).set("boot", "exit1").set("recover", 1)).run();
    assert!(outcome.error().contains("too many children failed"));
    let heard = manager.rest();
    assert_eq!(states(&heard), ["STOPPING=1"], "{heard:?}");
    assert!(heard.last().unwrap().starts_with("STATUS=failed: too many children failed: 2 failures"));
}

#[test]
fn the_watchdog_hears_of_the_supervisor_and_of_nobody_else() {
    let manager = Manager::new();
    let server = Server::in_shell(r#"export WATCHDOG_PID=$$; exec "$0""#, SERVER);
    let fleet = manager.manage(server.env("WATCHDOG_USEC", "200000")).start();
    for _ in 0..5 {
        manager.hear_until("WATCHDOG=1");
    }
    // A supervisor that does not come around is silent, however many children serve.
    send(fleet.master(), Signal::SIGSTOP);
    wait::until("a stopped master", || proc::state(fleet.master()) == Some('T'));
    manager.rest();
    client::serving_pid(fleet.addr());
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(manager.rest(), [""; 0]);
    send(fleet.master(), Signal::SIGCONT);
    manager.hear_until("WATCHDOG=1");
    stop(&manager, fleet);
}

#[test]
fn a_watchdog_for_another_process_hears_nothing() {
    let manager = Manager::new();
    let server = Server::new(SERVER).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let fleet = manager.manage(server).start();
    manager.hear_until("READY=1");
    fleet.stop();
    assert!(!manager.rest().concat().contains("WATCHDOG"));
}

#[test]
fn without_a_watchdog_a_master_at_rest_stays_at_rest() {
    let manager = Manager::new();
    let fleet = manager.manage(Server::new(SERVER)).start();
    manager.hear_until("READY=1");
    wait::until("a second at rest", || {
        let before = proc::context_switches(fleet.master());
        std::thread::sleep(Duration::from_secs(1));
        proc::context_switches(fleet.master()) == before
    });
    assert_eq!(manager.rest(), [""; 0]);
    stop(&manager, fleet);
}

#[test]
fn children_and_what_they_start_see_nothing_of_the_service_manager() {
    let manager = Manager::new();
    let mut server = Server::in_shell(r#"export WATCHDOG_PID=$$ LISTEN_PID=$$; exec "$0""#, SERVER);
    for (name, value) in [("WATCHDOG_USEC", "30000000"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")] {
        server = server.env(name, value);
    }
    let fleet = manager.manage(server).start();
    for variable in VARIABLES {
        assert_eq!(client::get(fleet.addr(), &format!("/variable/{variable}")), "None", "{variable}");
    }
    stop(&manager, fleet);
}

#[test]
fn a_service_manager_that_is_not_there_is_a_warning() {
    let fleet = Server::new(SERVER).env("NOTIFY_SOCKET", "/nowhere/notify").start();
    fleet.console.wait_for("cannot notify the service manager: no such file or directory");
    client::serving_pid(fleet.addr());
    let lines = fleet.stop();
    assert_eq!(lines.iter().filter(|line| line.contains("service manager")).count(), 1, "{lines:#?}");
}
