//! A server made by the attribute that reports what its children may do. Its options come from
//! `PREFORK_…` variables, except for `addr`.
//!
//! `init` of each child writes a line before any other code of the child runs. The answer to
//! `/become-root`, `/read/PATH`, `/list/PATH`, `/write/PATH` and `/run/PATH` is the outcome of the attempt.

#![allow(clippy::expect_used, reason = "a panic in a server under test fails the test")]

use std::fmt::{Debug, Display};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::thread;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setgid, setgroups, setuid};
use prefork_tests::app;

#[prefork::main(init = report_identity, addr = app::option("addr").expect("the option addr"))]
fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in ln.incoming() {
        let stream = stream?;
        thread::spawn(move || app::answer_or(stream, answer));
    }
    Ok(())
}

fn report_identity() {
    if prefork::is_child() {
        let (uid, gid) = (geteuid(), getegid());
        let groups = getgroups().map_or_else(|error| error.to_string(), |groups| format!("{groups:?}"));
        app::print_error(&format!(
            "init of a child: uid {uid}, gid {gid}, groups {groups}; {}",
            become_root()
        ));
    }
}

/// Tries every system call by which a process can become root again.
fn become_root() -> String {
    let outcomes = [setuid(Uid::from_raw(0)), setgid(Gid::from_raw(0)), setgroups(&[Gid::from_raw(0)])];
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    format!("{succeeded} ways to root")
}

fn answer(path: &str) -> String {
    let (what, path) = path[1..].split_at(path[1..].find('/').unwrap_or(path.len() - 1));
    match what {
        "become-root" => become_root(),
        "read" => outcome_text(fs::read(path).map(|bytes| bytes.len())),
        "list" => outcome_text(fs::read_dir(path).map(Iterator::count)),
        "write" => outcome_text(fs::write(path, "written")),
        "run" => outcome_text(Command::new(path).status()),
        _ => "unknown path".to_owned(),
    }
}

fn outcome_text<T: Debug>(outcome: Result<T, impl Display>) -> String {
    match outcome {
        Ok(value) => format!("ok: {value:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

/// Calls the `main` that the attribute generates.
pub(crate) fn run() -> ExitCode {
    std::process::Termination::report(main())
}
