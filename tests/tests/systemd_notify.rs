//! Messages to the service manager over the notify socket, which the test owns.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The service manager's end of the notify socket.
struct NotifySocket {
    socket: UnixDatagram,
    directory: TempDir,
}

impl NotifySocket {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
        Self { socket, directory }
    }

    fn connect(&self, server: Server) -> Server {
        server.env("NOTIFY_SOCKET", self.directory.path().join("notify").to_str().unwrap())
    }

    /// The next message.
    fn receive(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    /// The messages up to the first that contains `text`.
    fn receive_until(&self, text: &str) -> Vec<String> {
        let mut received = Vec::new();
        while !received.last().is_some_and(|message: &String| message.contains(text)) {
            received.push(self.receive());
        }
        received
    }

    /// The messages that were sent and not received so far.
    fn receive_pending(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut message = [0; 4096];
        let mut pending = Vec::new();
        while let Ok(length) = self.socket.recv(&mut message) {
            pending.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).unwrap();
        pending
    }
}

/// What [`NotifySocket::fill`] sends.
const FILLER: &str = "X_FILLER=1";

impl NotifySocket {
    /// Fills the queue of the socket: until the test reads, a blocking sender waits for ever.
    fn fill(&self) {
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(self.directory.path().join("notify")).unwrap();
        sender.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = sender.send(FILLER.as_bytes()) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
}

/// The lines that change the state of the service.
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

/// Stops the fleet; checks that the stop is the only change of state.
fn stop_and_check(manager: &NotifySocket, fleet: RunningFleet) {
    manager.receive_pending();
    fleet.stop();
    assert_eq!(states(&manager.receive_pending()), ["STOPPING=1"]);
}

#[test]
fn start_sends_ready_once_every_child_is_ready() {
    let manager = NotifySocket::new();
    let fleet = manager.connect(Server::new(SERVER)).start();
    let received = manager.receive_until("READY=1");
    assert!(received[0].contains("STATUS=starting: 0 of 2 children ready, generation 0\n"), "{received:?}");
    let extension = number(&received[0], "EXTEND_TIMEOUT_USEC");
    assert!((60_000_000..=70_000_000).contains(&extension), "the start timeout and a margin: {extension}");
    let ready = received.last().unwrap();
    assert!(ready.contains("STATUS=2 of 2 children ready, generation 0\n"), "{ready:?}");
    assert!(!ready.contains("EXTEND"), "no extension once the fleet is ready: {ready:?}");
    stop_and_check(&manager, fleet);
}

#[test]
fn reload_sends_reloading_and_ready() {
    let manager = NotifySocket::new();
    let fleet = manager.connect(Server::new(SERVER)).start();
    manager.receive_until("READY=1");
    for generation in 1..=3 {
        let asked = monotonic_usec();
        fleet.signal(Signal::SIGHUP);
        let received = manager.receive_until("READY=1");
        assert_eq!(states(&received), ["RELOADING=1", "READY=1"], "{received:?}");
        let said = number(&received[0], "MONOTONIC_USEC");
        assert!((asked..=monotonic_usec()).contains(&said), "{asked} {said}");
        let end = received.last().unwrap();
        assert!(end.contains(&format!("STATUS=2 of 2 children ready, generation {generation}\n")), "{end:?}");
        number(&received.concat(), "EXTEND_TIMEOUT_USEC");
    }
    stop_and_check(&manager, fleet);
}

#[test]
fn second_reload_during_reload_sends_reloading_twice_and_ready_once() {
    let manager = NotifySocket::new();
    let gate = ResponseGate::new();
    gate.open();
    let server = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").gate(&gate);
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    gate.close();
    for _ in 0..2 {
        fleet.signal(Signal::SIGHUP);
        let received = manager.receive_until("RELOADING=1");
        assert_eq!(states(&received), ["RELOADING=1"], "{received:?}");
    }
    gate.open();
    let received = manager.receive_until("READY=1");
    assert_eq!(states(&received), ["READY=1"], "{received:?}");
    stop_and_check(&manager, fleet);
}

#[test]
fn reload_with_a_canary_is_ready_when_it_holds_and_reloads_again_when_it_is_promoted() {
    let manager = NotifySocket::new();
    let server = Server::new(SERVER).env("PREFORK_CANARY", "1").env("PREFORK_HOLD", "1s");
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    fleet.signal(Signal::SIGHUP);
    for status in ["holding: 2 of 2 children ready, generation 1", "2 of 2 children ready, generation 1"] {
        let received = manager.receive_until("READY=1");
        assert_eq!(states(&received), ["RELOADING=1", "READY=1"], "{received:?}");
        assert!(received.last().unwrap().contains(&format!("STATUS={status}\n")), "{received:?}");
    }
    stop_and_check(&manager, fleet);
}

#[test]
fn failed_reload_sends_ready_with_aborted_status() {
    let manager = NotifySocket::new();
    let broken = manager.directory.path().join("broken");
    let fleet = manager.connect(Server::new(KEEP_ALIVE_SERVER).set("broken", broken.display())).start();
    manager.receive_until("READY=1");
    fs::write(&broken, "").unwrap();
    for (signal, how) in [(Signal::SIGHUP, "reload aborted"), (Signal::SIGUSR2, "upgrade aborted")] {
        fleet.signal(signal);
        let received = manager.receive_until("READY=1");
        assert_eq!(states(&received), ["RELOADING=1", "READY=1"], "{received:?}");
        let status = format!("STATUS={how}: 2 of 2 children ready, generation 0\n");
        assert!(received.last().unwrap().contains(&status), "{received:?}");
    }
    fs::remove_file(&broken).unwrap();
    fleet.signal(Signal::SIGHUP);
    let received = manager.receive_until("READY=1");
    assert!(received.last().unwrap().contains("STATUS=2 of 2 children ready"), "{received:?}");
    stop_and_check(&manager, fleet);
}

#[test]
fn refused_reload_sends_ready_with_refused_status() {
    let manager = NotifySocket::new();
    let program = manager.directory.path().join("program");
    fs::copy(SERVER, &program).unwrap();
    let fleet = manager.connect(Server::new(&program)).start();
    manager.receive_until("READY=1");
    fs::remove_file(&program).unwrap();
    for (signal, how) in [(Signal::SIGHUP, "reload refused"), (Signal::SIGUSR2, "upgrade refused")] {
        fleet.signal(signal);
        let received = manager.receive_until("READY=1");
        assert_eq!(states(&received), ["RELOADING=1", "READY=1"], "{received:?}");
        assert!(received.last().unwrap().contains(&format!("STATUS={how}: 2 of 2")), "{received:?}");
    }
    stop_and_check(&manager, fleet);
}

#[test]
fn upgrade_sends_reloading_and_new_program_sends_ready() {
    let manager = NotifySocket::new();
    let server = Server::new(SERVER).env("WATCHDOG_USEC", "400000");
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    for generation in 1..=2 {
        fleet.signal(Signal::SIGUSR2);
        let received = manager.receive_until("READY=1");
        assert_eq!(states(&received), ["RELOADING=1", "READY=1"], "{received:?}");
        number(&received.concat(), "MONOTONIC_USEC");
        let status = format!("STATUS=2 of 2 children ready, generation {generation}\n");
        assert!(received.last().unwrap().contains(&status), "{received:?}");
        manager.receive_until("WATCHDOG=1");
    }
    fleet.console.wait_for_nth(2, "upgraded:");
    for variable in VARIABLES {
        assert_eq!(client::get(fleet.addr(), &format!("/variable/{variable}")), "None", "{variable}");
    }
    stop_and_check(&manager, fleet);
}

#[test]
fn stop_sends_stopping_and_extends_timeout() {
    let manager = NotifySocket::new();
    let gate = ResponseGate::new();
    let server = Server::new(SERVER).gate(&gate).set("shutdown_grace", "90s");
    let fleet = manager.connect(server.env("PREFORK_STOP_DELAY", "200ms")).start();
    manager.receive_until("READY=1");
    let request = client::begin(fleet.addr(), "/gate");
    fleet.signal(Signal::SIGTERM);
    let received = manager.receive_until("STOPPING=1");
    let delay = received.last().unwrap();
    assert!(delay.contains("STATUS=stop delay: 2 of 2 children ready"), "{received:?}");
    let extension = number(delay, "EXTEND_TIMEOUT_USEC");
    assert!((10_000_000..=10_200_000).contains(&extension), "{extension}");
    let received = manager.receive_until("EXTEND_TIMEOUT_USEC");
    let extension = number(received.last().unwrap(), "EXTEND_TIMEOUT_USEC");
    assert!((90_000_000..=100_000_000).contains(&extension), "{extension}");
    manager.receive_until("STATUS=stopping: ");
    gate.open();
    request.finish().unwrap();
    fleet.expect_stopped();
    assert_eq!(states(&manager.receive_pending()), [""; 0]);
}

#[test]
fn failures_appear_in_status_within_recover_window() {
    let manager = NotifySocket::new();
    let server = Server::new(SERVER).set("recover", 5).set("recover_window", "2s");
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    send(fleet.first_children()[0], Signal::SIGKILL);
    manager.receive_until("1 failure within 2s\n");
    manager.receive_until("STATUS=2 of 2 children ready, generation 0\n");
    stop_and_check(&manager, fleet);
}

#[test]
fn fleet_over_recovery_sends_stopping_with_error() {
    let manager = NotifySocket::new();
    let outcome = manager.connect(Server::new(SERVER).set("boot", "exit1").set("recover", 1)).run();
    assert!(outcome.error().contains("too many children failed"));
    let received = manager.receive_pending();
    assert_eq!(states(&received), ["STOPPING=1"], "{received:?}");
    assert!(received.last().unwrap().starts_with("STATUS=failed: too many children failed: 2 failures"));
}

#[test]
fn stopped_supervisor_sends_no_watchdog_message() {
    let manager = NotifySocket::new();
    let server = Server::in_shell(r#"export WATCHDOG_PID=$$; exec "$0""#, SERVER);
    let fleet = manager.connect(server.env("WATCHDOG_USEC", "200000")).start();
    for _ in 0..5 {
        manager.receive_until("WATCHDOG=1");
    }
    // A stopped supervisor sends nothing, although its children serve.
    send(fleet.master(), Signal::SIGSTOP);
    wait::until("stopped master", || proc::state(fleet.master()) == Some('T'));
    manager.receive_pending();
    client::serving_pid(fleet.addr());
    // The absence of messages during this time is the condition.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(manager.receive_pending(), [""; 0]);
    send(fleet.master(), Signal::SIGCONT);
    manager.receive_until("WATCHDOG=1");
    stop_and_check(&manager, fleet);
}

#[test]
fn watchdog_of_other_pid_sends_no_message() {
    let manager = NotifySocket::new();
    let server = Server::new(SERVER).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    fleet.stop();
    assert!(!manager.receive_pending().concat().contains("WATCHDOG"));
}

#[test]
fn idle_master_without_watchdog_does_not_wake() {
    let manager = NotifySocket::new();
    let fleet = manager.connect(Server::new(SERVER)).start();
    manager.receive_until("READY=1");
    proc::wait_until_idle(&[fleet.master()]);
    assert_eq!(manager.receive_pending(), [""; 0]);
    stop_and_check(&manager, fleet);
}

#[test]
fn children_get_no_service_manager_variables() {
    let manager = NotifySocket::new();
    let mut server = Server::in_shell(r#"export WATCHDOG_PID=$$ LISTEN_PID=$$; exec "$0""#, SERVER);
    for (name, value) in [("WATCHDOG_USEC", "30000000"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")] {
        server = server.env(name, value);
    }
    let fleet = manager.connect(server).start();
    manager.receive_until("READY=1");
    for variable in VARIABLES {
        assert_eq!(client::get(fleet.addr(), &format!("/variable/{variable}")), "None", "{variable}");
    }
    stop_and_check(&manager, fleet);
}

#[test]
fn missing_notify_socket_logs_one_warning() {
    let fleet = Server::new(SERVER).env("NOTIFY_SOCKET", "/nowhere/notify").start();
    fleet.console.wait_for("cannot notify the service manager: no such file or directory");
    client::serving_pid(fleet.addr());
    let lines = fleet.stop();
    assert_eq!(lines.iter().filter(|line| line.contains("service manager")).count(), 1, "{lines:#?}");
}

#[test]
fn unread_notify_socket_delays_nothing_and_ready_arrives_when_it_is_read() {
    let manager = NotifySocket::new();
    manager.fill();
    let fleet = manager.connect(Server::new(SERVER)).start();
    fleet.console.wait_for("cannot notify the service manager: it does not read its socket");
    client::serving_pid(fleet.addr());
    fleet.operate(Signal::SIGHUP, 1, "is of generation 1");
    let received = manager.receive_until("generation 1\n");
    assert_eq!(states(&received), ["READY=1", "RELOADING=1", "READY=1"], "{received:?}");
    proc::wait_until_idle(&[fleet.master()]);
    manager.fill();
    let lines = fleet.stop();
    assert_eq!(lines.iter().filter(|line| line.contains("service manager")).count(), 2, "{lines:#?}");
}

#[test]
fn last_status_arrives_when_full_socket_is_read() {
    let manager = NotifySocket::new();
    let fleet = manager.connect(Server::new(SERVER)).start();
    manager.receive_until("READY=1");
    manager.receive_pending();
    manager.fill();
    fleet.operate(Signal::SIGTTIN, 1, "resized from 2 to 3");
    fleet.console.wait_for("cannot notify the service manager");
    manager.receive_until("STATUS=3 of 3 children ready, generation 0\n");
    stop_and_check(&manager, fleet);
}

#[test]
fn process_without_children_notifies_and_answers_requests_to_reload() {
    let manager = NotifySocket::new();
    let process = manager.connect(Server::new(SERVER).set("workers", 0)).launch();
    let start = manager.receive_until("READY=1");
    assert!(start.last().unwrap().contains("STATUS=serving, in one process"), "{start:?}");
    for message in start.iter().filter(|message| message.contains("EXTEND_TIMEOUT_USEC")) {
        assert!(
            number(message, "EXTEND_TIMEOUT_USEC") <= 60_000_000,
            "the start has the time of the unit: {message}"
        );
    }
    process.signal(Signal::SIGHUP);
    let answer = manager.receive_until("READY=1");
    assert_eq!(states(&answer), ["RELOADING=1", "READY=1"]);
    assert!(answer.last().unwrap().contains("STATUS=reload refused: serving, in one process"), "{answer:?}");
    process.console.wait_for("cannot reload: there are no children");
    process.signal(Signal::SIGTERM);
    assert_eq!(states(&manager.receive_until("STOPPING=1")), ["STOPPING=1"]);
    process.expect_stopped();
}
