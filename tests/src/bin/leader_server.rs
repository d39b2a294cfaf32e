//! A server whose leader works until its term is over, and writes a journal: `begin PID`, `end PID`,
//! `overlap PID` if another process works as the leader at the same time, and `none PID` when the child does not become
//! the leader any more.
//!
//! Options:
//!
//! - `journal`: the file; beside it is a file that the leader locks while it works;
//! - `work`: how long the work goes on when the term is over;
//! - `stubborn`: the work never ends;
//! - `leads_in`: the leader's work is in a `thread` (the default) or a `task`;
//! - `quits`: the leader gives up after this time.
//!
//! `/leader` tells whether the child is the leader.
#![allow(clippy::expect_used, reason = "a panic in a server under test fails the test")]

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use prefork::{ChildContext, LeaderTerm, Leadership};
use prefork_tests::app::{self, option};

fn main() -> ExitCode {
    if app::ran_subcommand() {
        return ExitCode::SUCCESS;
    }
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener, child: ChildContext, leadership: Leadership) -> io::Result<()> {
    let asking = leadership.clone();
    thread::spawn(move || match option("leads_in").as_deref() {
        Some("task") => run(lead_async(&asking)),
        _ => lead(&asking),
    });
    let generation = child.generation();
    for stream in app::incoming(&ln) {
        let (stream, leadership) = (stream?, leadership.clone());
        thread::spawn(move || {
            app::answer_or(stream, |path| match path {
                "/leader" => leadership.is_leader().to_string(),
                _ => generation.to_string(),
            })
        });
    }
    Ok(())
}

fn lead(leadership: &Leadership) {
    while let Some(term) = leadership.wait() {
        let work = Work::begin();
        match duration("quits") {
            Some(after) => drop(term.wait_timeout(after)),
            None => term.wait(),
        }
        finish(work, term);
    }
    journal("none");
}

async fn lead_async(leadership: &Leadership) {
    while let Some(term) = leadership.term().await {
        let work = Work::begin();
        term.over().await;
        finish(work, term);
    }
    journal("none");
}

fn finish(work: Work, term: LeaderTerm) {
    if option("stubborn").is_some() {
        loop {
            thread::park();
        }
    }
    if let Some(after) = duration("work") {
        thread::sleep(after);
    }
    drop((work, term));
}

fn duration(name: &str) -> Option<Duration> {
    option(name).map(|value| humantime::parse_duration(&value).expect("a duration"))
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future);
}

/// The lock is released by the system when the process ends.
struct Work(#[expect(dead_code, reason = "it is locked")] File);

impl Work {
    fn begin() -> Self {
        let path = option("journal").expect("a journal");
        let lock = OpenOptions::new().create(true).append(true).open(format!("{path}.lock"));
        let lock = lock.expect("the lock can be opened");
        if lock.try_lock().is_err() {
            journal("overlap");
        }
        journal("begin");
        Self(lock)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        journal("end");
    }
}

/// Appends one line with one call.
fn journal(what: &str) {
    let Some(path) = option("journal") else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{what} {}\n", process::id());
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the journal can be written");
}
