//! A fleet that is upgraded to a program with other options, while clients send requests.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::client;
use crate::fleet::{RunningFleet, Server};
use crate::load::LoadClient;
use crate::program::public_directory;
use crate::signal::Signal;

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// A fleet, and the file with the options of its next program.
#[derive(Debug)]
pub struct Upgradable {
    /// The fleet.
    pub fleet: RunningFleet,
    /// Where its files are.
    pub directory: TempDir,
    upgrades: Cell<usize>,
}

impl Upgradable {
    /// `options` are lines `name=value`; in them, `DIR` is the fleet's directory.
    pub fn start(program: &str, options: &str) -> Self {
        let directory = public_directory();
        write_options(directory.path(), options);
        let next = directory.path().join("next");
        let server = Server::new(program).unset("addr").set("next", next.display());
        Self { fleet: server.set("shutdown_grace", "30s").start(), directory, upgrades: Cell::new(0) }
    }

    /// A file of the fleet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sets the options of the next program.
    pub fn set_next(&self, options: &str) {
        write_options(self.directory.path(), options);
    }

    /// Upgrades to a program with these options; returns its TCP addresses.
    pub fn upgrade(&self, options: &str) -> Vec<SocketAddr> {
        self.set_next(options);
        self.upgrades.set(self.upgrades.get() + 1);
        self.fleet.operate(Signal::SIGUSR2, self.upgrades.get(), "reloaded:");
        let line = self.fleet.console.lines_with("upgraded:")[self.upgrades.get() - 1].clone();
        let addrs = line.split_once(", on ").and_then(|(_, rest)| rest.split_once(';')).expect("addresses").0;
        addrs.split(", ").filter_map(|addr| addr.parse().ok()).collect()
    }

    /// Requests an upgrade to a program with these options, and waits for the reason why it is aborted.
    pub fn refuse(&self, options: &str, reason: &str) {
        self.set_next(options);
        let before = self.fleet.console.lines_with("upgrade aborted: ").len();
        self.fleet.operate(Signal::SIGUSR2, before + 1, "upgrade aborted: ");
        let line = self.fleet.console.lines_with("upgrade aborted: ")[before].clone();
        assert!(line.contains(reason) && line.ends_with("; the fleet is unchanged"), "{line}");
    }

    /// Ends the fleet, which may listen on other addresses than at its start.
    pub fn stop(mut self) {
        self.fleet.signal(Signal::SIGTERM);
        assert_eq!(self.fleet.wait().code(), Some(0));
        self.fleet.assert_no_process_left();
        let lines = self.fleet.console.wait_for_end();
        assert!(!lines.iter().any(|line| line.contains("killing")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("still queued")), "{lines:#?}");
    }
}

/// Clients of an address that stays: every request is answered.
pub fn staying(addr: SocketAddr) -> impl Iterator<Item = LoadClient> {
    clients(move || client::try_get(addr, "/").map(|_| "tcp".to_owned()))
}

/// Three clients. They pause, because a list of the machine's sockets takes long once there are very many closed
/// connections.
pub fn clients(
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

fn write_options(directory: &Path, options: &str) {
    let options = options.replace("DIR", directory.to_str().unwrap()).replace(' ', "\n");
    let new = directory.join("new");
    fs::write(&new, options).unwrap();
    fs::rename(new, directory.join("next")).unwrap();
}
