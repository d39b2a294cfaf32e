//! The command `preforkctl` with a real fleet: what it prints, and its exit status.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

mod false_fleet;
mod terminal;
mod top;
mod wait;

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prefork::shared::Counter;
use prefork::{ChildContext, Prefork, Readiness};

use terminal::Terminal;

/// Turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(30);
/// The directory of the fleet that this process is a part of.
const DIRECTORY: &str = "PREFORKCTL_TEST_DIRECTORY";

static REQUESTS: Counter = Counter::new("test_requests_total", "Connections that were accepted");

/// The program of the fleet: this test file, started again. As a test of its own it has nothing to do.
#[test]
fn fleet() {
    if let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) {
        let fleet = Prefork::new(serve).addr("127.0.0.1:0").workers(2).ready(Readiness::Manual);
        let fleet = fleet.control(directory.join("socket")).on_log_reopen(|| Ok::<(), String>(()));
        fleet.run().unwrap();
    }
}

/// Its file `broken` makes a child exit, the file `wrong` makes it return an error, and the file `slow` keeps it from
/// being ready. A connection is a request, and makes the child crash while there is the file `fragile`; while there is
/// the file `lost`, a child of another than the first generation returns an error.
fn serve(listener: TcpListener, child: ChildContext) -> io::Result<()> {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    if directory.join("broken").exists() {
        eprintln!("the file is broken");
        std::process::exit(7);
    }
    if directory.join("wrong").exists() {
        return Err(io::Error::other("no such table"));
    }
    wait_for("the end of the file slow", || !directory.join("slow").exists());
    child.ready();
    for stream in listener.incoming() {
        if directory.join("fragile").exists() {
            std::process::abort();
        }
        if child.generation() > 0 && directory.join("lost").exists() {
            return Err(io::Error::other("lost the database"));
        }
        REQUESTS.inc();
        drop(stream);
    }
    Ok(())
}

/// A running fleet. It is killed with its children when it is dropped.
struct Fleet {
    master: Child,
    directory: tempfile::TempDir,
}

impl Fleet {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// A fleet with these variables.
    fn start_with(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        // In the main thread, and nothing else.
        command
            .args(["--exact", "fleet", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .envs(variables.iter().copied());
        let log = File::create(directory.path().join("log")).unwrap();
        let master = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let fleet = Self { master, directory };
        wait_for("ready fleet", || fleet.log().contains("2 children ready"));
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Connects to the fleet, and waits for the end of the connection.
    fn connect(&self) {
        let log = self.log();
        let (_, addr) = log.split_once("listening on ").unwrap_or_else(|| panic!("{log}"));
        let addr = addr.split(|letter: char| letter.is_whitespace() || letter == ',').next().unwrap();
        let mut stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
        // A child that crashes may reset it.
        let _ = stream.read(&mut [0]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.path("socket"), arguments)
    }

    fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        outcome(&mut self.command(arguments))
    }

    fn wait(&mut self) -> ExitStatus {
        wait_for("end of the master", || self.master.try_wait().unwrap().is_some());
        self.master.wait().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Its children end when they have lost it.
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preforkctl"));
    command.arg("--socket").arg(socket).args(arguments).env_remove("PREFORK_CONTROL");
    command
}

/// The exit status, standard output and standard error.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "timed out: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn command_ends_with_0_when_the_fleet_has_done_it() {
    let mut fleet = Fleet::start();
    for (arguments, expected) in [
        (vec!["status"], "2 of 2 ready, generation 0"),
        (vec!["reload"], "reloaded: every child is of generation 1"),
        (vec!["scale", "3"], "resized from 2 to 3 children"),
        (vec!["scale", "+2"], "resized from 3 to 5 children"),
        (vec!["scale", "-2"], "resized from 5 to 3 children"),
        (vec!["recycle", "2"], "takes the place of"),
        (vec!["reopen"], "logs reopened in the master, and requested of "),
        (vec!["upgrade"], "upgraded: every child is of generation 2"),
        (vec!["status"], "3 of 3 ready, generation 2"),
        (vec!["scale", "2", "--json"], r#""operation":"workers","result":"done""#),
        (vec!["status", "--json"], r#""generation":2,"slots":2"#),
        (vec!["metrics"], "prefork_slots 2\n"),
    ] {
        let (status, out, err) = fleet.ctl(&arguments);
        assert_eq!(status, 0, "{arguments:?}: {out}{err}");
        assert!(out.contains(expected), "{arguments:?}: {out}{err}");
    }
    let (status, out, err) = fleet.ctl(&["stop"]);
    assert_eq!(status, 0, "{out}{err}");
    assert!(fleet.wait().success());
    assert_eq!(fleet.ctl(&["status"]).0, 3);
}

#[test]
fn table_has_the_requests_of_each_child_and_the_slot_that_waits_for_one() {
    let fleet = Fleet::start_with(&[("PREFORK_RECOVER_INTERVAL", "2m")]);
    let status = || fleet.ctl(&["status"]).1;
    assert!(!status().contains("REQUESTS"), "nothing is counted: {}", status());
    (0..5).for_each(|_| fleet.connect());
    let requests = || -> Option<u64> {
        let status = status();
        let mut lines = status.lines().skip_while(|line| !line.ends_with("REQUESTS")).skip(1);
        lines.try_fold(0, |sum, line| Some(sum + line.rsplit(' ').next()?.parse::<u64>().ok()?))
    };
    wait_for("five requests", || requests() == Some(5));
    fs::write(fleet.path("fragile"), "").unwrap();
    fleet.connect();
    wait_for("a slot that waits", || status().contains("1 of 2 ready"));
    let status = status();
    let row = status.lines().find(|line| line.contains("waiting 1m ")).unwrap_or_else(|| panic!("{status}"));
    assert!(row.ends_with("s  0"), "there is a generation, and no pid: {status}");
    let mut top = Terminal::start(fleet.command(&["top", "--interval", "0.1"]));
    top.wait_for("waiting 1m ");
    top.wait_for("requests a second");
    top.press("q");
    wait_for("end of top", || top.process.try_wait().unwrap().is_some());
}

#[test]
fn command_that_cannot_be_carried_out_says_why() {
    let fleet = Fleet::start();
    for (arguments, code, expected) in [
        (vec!["recycle", "7"], 1, "there is no slot 7"),
        (vec!["promote"], 1, "nothing to promote: no reload holds"),
        (vec!["scale", "0"], 2, "count"),
        (vec!["scale", "-2"], 1, "a fleet keeps one slot, and this one has 2"),
        (vec!["scale", "+8191"], 1, "a fleet has 8192 slots at most, and this one has 2"),
        (vec!["scale", "-8192"], 2, "by cannot be `-8192`"),
        (vec!["scale", "many"], 2, "invalid digit"),
        (vec!["reload", "--hold", "soon"], 2, "hold"),
        (vec!["anything"], 2, "unrecognized subcommand"),
        (vec!["top"], 2, "top needs a terminal"),
    ] {
        let (status, out, err) = fleet.ctl(&arguments);
        assert!(err.contains(expected), "{arguments:?}: {out}{err}");
        assert_eq!(status, code, "{arguments:?}: {out}{err}");
    }
    let (status, _, err) = outcome(&mut command(&fleet.path("nothing"), &["status"]));
    assert!(status == 3 && err.contains("there is no socket"), "{err}");
}

#[test]
fn differences_of_several_commands_at_once_add_up() {
    const BUSY: i32 = 4;
    let fleet = Fleet::start();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                wait_for("the turn of a command", || {
                    let (status, out, err) = fleet.ctl(&["scale", "+1"]);
                    assert!(status == 0 || status == BUSY, "{out}{err}");
                    status == 0
                });
            });
        }
    });
    assert!(fleet.ctl(&["status"]).1.contains("14 of 14 ready"), "{}", fleet.log());
}

#[test]
fn socket_is_that_of_the_variable_unless_that_is_empty() {
    let fleet = Fleet::start();
    let ctl = |variable: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_preforkctl"));
        outcome(command.args(arguments).env("PREFORK_CONTROL", variable))
    };
    let (nothing, socket) = (Path::new(""), fleet.path("socket"));
    let (status, out, err) = ctl(&socket, &["status"]);
    assert!(status == 0 && out.contains("2 of 2 ready"), "{out}{err}");
    let (status, _, err) = ctl(nothing, &["status"]);
    assert!(status == 2 && err.contains("which fleet?"), "{err}");
    let (status, out, err) = ctl(nothing, &["--socket", socket.to_str().unwrap(), "status"]);
    assert_eq!(status, 0, "{out}{err}");
    for variable in [nothing, &socket] {
        let (status, out, err) = ctl(variable, &[]);
        assert!(status == 2 && out.is_empty() && err.contains("Usage: preforkctl"), "{out}{err}");
        assert!(err.contains("Commands:") && err.contains("Exit status:"), "{err}");
    }
}

#[test]
fn manual_has_a_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let ctl = |arguments: &[&str]| outcome(&mut command(Path::new("unused"), arguments));
    let path = directory.path().to_str().unwrap();
    let (status, out, err) = ctl(&["manual", "--directory", path]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
    let page = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(page("preforkctl-reload.1").contains("\\-\\-canary"));
    let main = page("preforkctl.1");
    assert_eq!(main, ctl(&["manual"]).1);
    assert!(main.contains("\n.SH \"EXIT STATUS\"\n  0  it was done\n") && !main.contains("EXTRA"), "{main}");
    let named: Vec<&str> =
        main.split("\npreforkctl\\-").skip(1).map(|rest| rest.split('(').next().unwrap()).collect();
    assert!(named.contains(&"top"), "{main}");
    for name in &named {
        let page = page(&format!("preforkctl-{name}.1"));
        assert!(page.contains(&format!("preforkctl {name}")), "{page}");
        assert!(page.contains("\n.SH \"EXIT STATUS\"\n  0  it was done\n"), "{page}");
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), named.len() + 1);
    let (status, _, err) = ctl(&["manual", "--directory", "/nonexistent"]);
    assert!(status == 1 && err.contains("cannot write manual pages to /nonexistent"), "{err}");
}

#[test]
fn reload_that_fails_shows_the_log_of_the_child() {
    let fleet = Fleet::start();
    fs::write(fleet.path("broken"), "").unwrap();
    let (status, out, err) = fleet.ctl(&["reload"]);
    assert_eq!(status, 1, "{out}{err}");
    assert!(err.contains("exited before it was ready: status 7"), "{out}{err}");
    assert!(fleet.ctl(&["status"]).1.contains("2 of 2 ready"));
    fs::remove_file(fleet.path("broken")).unwrap();
    fs::write(fleet.path("wrong"), "").unwrap();
    let (status, out, err) = fleet.ctl(&["reload"]);
    assert_eq!(status, 1, "{out}{err}");
    let reason = err.find(") has returned an error: no such table\n");
    assert!(
        reason.is_some_and(|reason| reason < err.find("exited before it was ready").unwrap()),
        "{out}{err}"
    );
}

#[test]
fn second_operation_at_once_is_told_what_is_under_way() {
    let fleet = Fleet::start();
    fs::write(fleet.path("slow"), "").unwrap();
    let mut first = fleet.command(&["reload"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("reload", || fleet.log().contains("reloading:"));
    let (status, out, err) = fleet.ctl(&["reload"]);
    assert_eq!(status, 4, "{out}{err}");
    assert!(err.contains("reload"), "{err}");
    fs::remove_file(fleet.path("slow")).unwrap();
    assert!(first.wait().unwrap().success());
}

#[test]
fn events_are_json_lines_until_the_fleet_ends() {
    let fleet = Fleet::start();
    let mut events = fleet.command(&["events"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = events.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    // The stream may begin later than the reload.
    wait_for("end of the events", || {
        assert_eq!(fleet.ctl(&["reload"]).0, 0);
        fleet.log().matches("reloaded:").count() > 5
    });
    assert_eq!(fleet.ctl(&["stop"]).0, 0);
    events.wait().unwrap();
    let text = reader.join().unwrap().unwrap();
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
    assert!(text.contains("reloaded"), "{text}");
}

#[test]
fn top_is_drawn_and_its_keys_change_the_fleet() {
    let fleet = Fleet::start();
    let mut top = Terminal::start(fleet.command(&["top", "--interval", "0.1"]));
    top.wait_for("2 of 2 ready");
    top.press("+");
    top.wait_for("change the number of children to 3?");
    top.press("y");
    top.wait_for("resized from 2 to 3");
    top.press("q");
    wait_for("end of top", || top.process.try_wait().unwrap().is_some());
    assert!(top.process.wait().unwrap().success());
    assert!(fleet.ctl(&["status"]).1.contains("3 of 3 ready"));
}

#[test]
fn top_promotes_and_rolls_back_a_canary() {
    let fleet = Fleet::start();
    let mut top = Terminal::start(fleet.command(&["top", "--interval", "0.1"]));
    top.wait_for("2 of 2 ready");
    assert!(!top.screen.screen().contents().contains("P: promote"));
    for (key, question, done) in [
        ("R", "roll back generation 1?", "rolled back: the fleet is of generation 0 again"),
        ("P", "replace the other children by generation 2?", "reloaded: every child is of generation 2"),
    ] {
        let (status, out, err) = fleet.ctl(&["reload", "--canary", "1"]);
        assert_eq!(status, 0, "{out}{err}");
        top.wait_for("P: promote   R: roll back");
        top.press(key);
        top.wait_for(question);
        top.press("y");
        top.wait_for(done);
        if key == "R" {
            // It does not wait until its time is over.
            top.press("j");
        }
        top.wait_until(&format!("no more {done}"), |screen| {
            !screen.contains(done) && !screen.contains("P: promote")
        });
    }
}
