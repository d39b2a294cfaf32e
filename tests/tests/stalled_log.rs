//! A log that is not read, or whose logger panics, delays neither supervision nor the stop.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A named pipe that a logger writes to.
struct LogPipe {
    directory: TempDir,
    reader: BufReader<File>,
}

impl LogPipe {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // With both ends open here, neither end of the pipe ever closes.
        let reader = BufReader::new(OpenOptions::new().read(true).write(true).open(path).unwrap());
        Self { directory, reader }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Starts a fleet that logs to the pipe; returns once it is ready.
    fn start(&mut self) -> (RunningFleet, SocketAddr) {
        let server = Server::new(SERVER).set("log_file", self.path().display());
        let fleet = server.set("shutdown_grace", "5s").launch();
        let mut addr = None;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let listening = line.split_once("listening on ").and_then(|(_, rest)| rest.split_once(' '));
            addr = listening.map(|(addr, _)| addr.parse().unwrap()).or(addr);
            if line.contains("ready (pids") {
                return (fleet, addr.unwrap());
            }
        }
    }

    /// Fills the pipe: from now on a write blocks.
    fn fill(&self) {
        let flags = OFlag::O_NONBLOCK.bits();
        let mut writer = OpenOptions::new().write(true).custom_flags(flags).open(self.path()).unwrap();
        for size in [4096, 1] {
            let full = loop {
                if let Err(error) = writer.write_all(&vec![b'x'; size]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn blocked_log_delays_neither_recovery_nor_reload_nor_stop() {
    let mut pipe = LogPipe::new();
    let (mut fleet, addr) = pipe.start();
    pipe.fill();
    let first = fleet.wait_for_children(2, &[]);
    send(first[0], Signal::SIGKILL);
    let second = fleet.wait_for_children(2, &first[..1]);
    fleet.signal(Signal::SIGHUP);
    fleet.wait_for_children(2, &second);
    client::serving_pid(addr);
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    assert!(!first.iter().chain(&second).any(|child| proc::is_alive(*child)));
}

#[test]
fn children_with_blocked_log_end_after_kill_of_master() {
    let mut pipe = LogPipe::new();
    let (fleet, _) = pipe.start();
    pipe.fill();
    let children = fleet.wait_for_children(2, &[]);
    send(fleet.master(), Signal::SIGKILL);
    wait::until("end of the orphans", || children.iter().all(|child| !proc::is_alive(*child)));
}

#[test]
fn panicking_logger_is_reported_once_and_fleet_goes_on() {
    let fleet = Server::new(SERVER).set("log_panics", 1).launch();
    fleet.console.wait_for("the logger panicked at `listening on ");
    let first = fleet.wait_for_children(2, &[]);
    client::serving_pid(fleet.addr());
    send(first[0], Signal::SIGKILL);
    fleet.wait_for_children(2, &first[..1]);
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn term_while_upgrade_waits_for_blocked_log_stops_fleet() {
    let mut pipe = LogPipe::new();
    let (mut fleet, _) = pipe.start();
    let first = fleet.wait_for_children(2, &[]);
    pipe.fill();
    fleet.signal(Signal::SIGUSR2);
    // The child that checks the new program has one thread.
    let is_trial = |child: &u32| !first.contains(child) && proc::thread_count(*child) >= 2;
    wait::for_value("trial child", || fleet.children().into_iter().find(is_trial));
    // Before the exec the master waits half a second for its log: most likely this is in the middle.
    thread::sleep(Duration::from_millis(150));
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    fleet.assert_no_process_left();
}
