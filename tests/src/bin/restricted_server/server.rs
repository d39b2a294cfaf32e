//! A server made by the attribute that tells what its children may do. Its options come from
//! `PREFORK_…` variables, but for `addr`.
//!
//! Each child says a line from `init`, before anything else of it runs. A request for `/become-root`
//! is answered with what came of trying; `/read/PATH`, `/write/PATH` and `/run/PATH` likewise.

#![allow(clippy::expect_used, reason = "a server under test that cannot start fails its test")]

use std::fmt::{Debug, Display};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::thread;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setgid, setgroups, setuid};
use prefork_tests::app;

#[prefork::main(init = observe, addr = app::option("addr").expect("the option addr"))]
fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in ln.incoming() {
        let stream = stream?;
        thread::spawn(move || app::answer_or(stream, answer));
    }
    Ok(())
}

fn observe() {
    if prefork::is_child() {
        let (uid, gid) = (geteuid(), getegid());
        let groups = getgroups().map_or_else(|error| error.to_string(), |groups| format!("{groups:?}"));
        app::say(&format!("init of a child: uid {uid}, gid {gid}, groups {groups}; {}", become_root()));
    }
}

/// Tries every way back to root that a process has by itself.
fn become_root() -> String {
    let outcomes = [setuid(Uid::from_raw(0)), setgid(Gid::from_raw(0)), setgroups(&[Gid::from_raw(0)])];
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    format!("{succeeded} ways to root")
}

fn answer(path: &str) -> String {
    let (what, path) = path[1..].split_at(path[1..].find('/').unwrap_or(path.len() - 1));
    match what {
        "become-root" => become_root(),
        "read" => told(fs::read(path).map(|bytes| bytes.len())),
        "list" => told(fs::read_dir(path).map(Iterator::count)),
        "write" => told(fs::write(path, "written")),
        "run" => told(Command::new(path).status()),
        _ => "no such thing".to_owned(),
    }
}

fn told<T: Debug>(outcome: Result<T, impl Display>) -> String {
    match outcome {
        Ok(value) => format!("ok: {value:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

/// Calls the `main` that the attribute has made.
pub(crate) fn run() -> ExitCode {
    std::process::Termination::report(main())
}
