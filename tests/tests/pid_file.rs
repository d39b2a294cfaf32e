//! The pid file: written and removed by the master, and held for as long as it lives.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::path::PathBuf;

use prefork_tests::fleet::Server;
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal, send};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A directory for the file.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("app.pid")
    }

    fn server(&self) -> Server {
        Server::new(SERVER).env("PREFORK_PIDFILE", &self.path().display().to_string())
    }

    fn content(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The names of the files in it.
    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.0.path()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn file_has_the_masters_pid_until_the_fleet_stops() {
    let directory = Directory::new();
    let fleet = directory.server().start();
    assert_eq!(directory.content(), format!("{}\n", fleet.master()));
    assert_eq!(directory.files(), ["app.pid"]);
    fleet.stop();
    assert_eq!(directory.files(), Vec::<String>::new());
}

#[test]
fn file_that_another_fleet_holds_is_refused_with_its_pid() {
    let directory = Directory::new();
    let fleet = directory.server().start();
    let expected = format!("app.pid: process {} holds it; stop that process", fleet.master());
    directory.server().run().assert_refused(&expected);
    for (time, signal) in RELOAD_AND_UPGRADE.iter().enumerate() {
        fleet.operate(*signal, time + 1, "reloaded:");
        assert_eq!(directory.content(), format!("{}\n", fleet.master()));
        directory.server().run().assert_refused(&expected);
    }
    fleet.stop();
    assert_eq!(directory.files(), Vec::<String>::new());
}

#[test]
fn file_of_a_killed_master_is_replaced() {
    let directory = Directory::new();
    let mut killed = directory.server().start();
    send(killed.master(), Signal::SIGKILL);
    killed.wait();
    assert_eq!(directory.content(), format!("{}\n", killed.master()));
    let fleet = directory.server().start();
    assert_eq!(directory.content(), format!("{}\n", fleet.master()));
    fleet.stop();
}

#[test]
fn file_that_is_no_pid_file_is_left_alone() {
    let directory = Directory::new();
    let digits = "1".repeat(40);
    let blanks = format!("{:40}root:x:0:0\n", "");
    for content in ["root:x:0:0\n", "12 monkeys\n", &digits, &blanks] {
        fs::write(directory.path(), content).unwrap();
        directory.server().run().assert_refused("the file there is no pid file; remove it");
        assert_eq!(directory.content(), content);
    }
    let missing = directory.0.path().join("missing/app.pid");
    let server = Server::new(SERVER).env("PREFORK_PIDFILE", &missing.display().to_string());
    server.run().assert_refused("; its directory must exist");
}

#[cfg(unix)]
#[test]
fn symbolic_link_is_refused_and_left_alone() {
    let directory = Directory::new();
    let target = directory.0.path().join("target");
    std::os::unix::fs::symlink(&target, directory.path()).unwrap();
    for is_there in [false, true] {
        let expected = "it is a symbolic link, which is not followed; name the file that it leads to";
        directory.server().run().assert_refused(expected);
        assert_eq!(target.exists(), is_there);
        fs::write(&target, "").unwrap();
    }
    assert_eq!(fs::read_link(directory.path()).unwrap(), target);
}

#[cfg(unix)]
#[test]
fn file_that_has_taken_the_place_of_the_masters_is_not_removed() {
    let directory = Directory::new();
    let fleet = directory.server().start();
    fs::remove_file(directory.path()).unwrap();
    fs::write(directory.path(), "1\n").unwrap();
    fleet.stop();
    assert_eq!(directory.content(), "1\n");
}

#[cfg(unix)]
#[test]
fn upgrade_to_another_spelling_of_the_path_keeps_the_file() {
    let directory = Directory::new();
    let other = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(directory.0.path(), other.path().join("link")).unwrap();
    let option = other.path().join("option");
    fs::write(&option, directory.path().to_str().unwrap()).unwrap();
    let fleet = Server::new(SERVER).set("pidfile_in", option.to_str().unwrap()).start();
    for (time, path) in ["link/app.pid", "link/./app.pid"].iter().enumerate() {
        fs::write(&option, other.path().join(path).to_str().unwrap()).unwrap();
        fleet.operate(Signal::SIGUSR2, time + 1, "reloaded:");
        assert_eq!(directory.content(), format!("{}\n", fleet.master()));
    }
    fleet.stop();
    assert_eq!(directory.files(), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn refused_upgrade_keeps_the_file() {
    let directory = Directory::new();
    let program = prefork_tests::program::ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).env("PREFORK_PIDFILE", &directory.path().display().to_string());
    let fleet = fleet.start();
    program.replace_with("/bin/false");
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("upgrade aborted");
    assert_eq!(directory.content(), format!("{}\n", fleet.master()));
    fleet.stop();
    prefork_tests::wait::until("removed file", || directory.files().is_empty());
}

/// Whether a server has the file open.
#[cfg(target_os = "linux")]
fn is_open_in_server(path: &std::path::Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let leads_to =
        |link: &std::path::Path, file: &std::path::Path| fs::read_link(link).is_ok_and(|to| to == file);
    let servers = processes.filter(|process| leads_to(&process.join("exe"), SERVER.as_ref()));
    let mut files = servers.filter_map(|process| fs::read_dir(process.join("fd")).ok()).flatten().flatten();
    files.any(|file| leads_to(&file.path(), path))
}

/// A process that replaces the file of a dead one holds that file for a moment, and is not the one that it names.
#[cfg(target_os = "linux")]
#[test]
fn refusal_names_the_holder_and_not_the_dead_process_whose_file_it_replaces() {
    use std::process::Command;

    use nix::fcntl::{Flock, FlockArg};
    use prefork_tests::wait;

    let directory = Directory::new();
    let lock = |path: &std::path::Path, pid: u32| {
        fs::write(path, format!("{pid}\n")).unwrap();
        Flock::lock(fs::File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap()
    };
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let stale = lock(&directory.path(), dead.id());
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| directory.server().run());
        wait::until("look at the file", || refused.is_finished() || is_open_in_server(&directory.path()));
        let next = directory.0.path().join("next");
        let _holder = lock(&next, std::process::id());
        fs::rename(&next, directory.path()).unwrap();
        drop(stale);
        refused.join().unwrap().assert_refused(&format!("process {} holds it", std::process::id()));
    });
}
