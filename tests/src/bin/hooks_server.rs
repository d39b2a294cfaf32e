//! A server with every hook, each of which appends a line to the file that the option `journal`
//! names. The options `fails`, `panics`, `hangs` and `waits` name hooks that do so, the last for the gate;
//! `produces` says what `command_producer` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a server under test that cannot start fails its test"
)]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use prefork_tests::{app, wait};

/// Started by `on_master_ready`, waited for by `on_child_recover`.
static HELPER: Mutex<Option<Child>> = Mutex::new(None);

fn main() -> ExitCode {
    if app::ran_errand() {
        return ExitCode::SUCCESS;
    }
    let fleet = app::builder(serve)
        .on_child_spawn(|pid| run("on_child_spawn", &pid.to_string()))
        .on_master_ready(|pids: &[u32]| {
            start_helper();
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            run("on_master_ready", &pids.join(" "))
        })
        .on_child_recover(|old, new| {
            wait_for_helper();
            run("on_child_recover", &format!("{old} {new}"))
        })
        .on_master_death(|| run("on_master_death", &std::process::id().to_string()));
    app::start(match app::option("produces") {
        Some(what) => fleet.command_producer(move |command| produce(&what, command)),
        None => fleet,
    })
}

fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer(stream));
    }
    Ok(())
}

/// A hook: notes that it ran, and then does what the options say.
fn run(hook: &str, arguments: &str) -> Result<(), String> {
    note(&format!("{hook} {arguments}"));
    assert_ne!(app::option("panics").as_deref(), Some(hook), "a hook panics, as told");
    if app::option("hangs").as_deref() == Some(hook) {
        loop {
            thread::park();
        }
    }
    if app::option("waits").as_deref() == Some(hook) {
        wait::until("the gate", app::gate_is_open);
    }
    if app::option("fails").as_deref() == Some(hook) { Err("no, as told".to_owned()) } else { Ok(()) }
}

/// Ends this process if the journal has grown out of all proportion: should processes start each
/// other without end, a test fails, and the machine lives.
fn check_for_avalanche() {
    let journal = app::option("journal").and_then(|path| std::fs::read_to_string(path).ok());
    if journal.is_some_and(|journal| journal.lines().count() > 20) {
        app::say("an avalanche of processes");
        std::process::exit(9);
    }
}

/// Appends a line to the journal, whole, whoever else does so.
fn note(line: &str) {
    if let Some(path) = app::option("journal") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let noted = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        noted.expect("the journal can be written to");
    }
}

/// A process of the program's own in the master, whose exit status is nobody else's business.
fn start_helper() {
    if app::option("helper").is_some() {
        let helper = app::errand(&["exit", "7"]).spawn().expect("this program runs");
        *HELPER.lock().expect("no panic under the lock") = Some(helper);
    }
}

fn wait_for_helper() {
    if let Some(mut helper) = HELPER.lock().expect("no panic under the lock").take() {
        note(&format!("helper {:?}", helper.wait().map(|status| status.code())));
    }
}

fn produce(what: &str, mut command: Command) -> io::Result<Child> {
    note("command_producer");
    check_for_avalanche();
    match what {
        "alters" => rename(&mut command).env("TEST_PRODUCED", "yes").spawn(),
        "wraps" => {
            let mut wrapped = app::errand(&["run"]);
            wrapped.arg(command.get_program()).args(command.get_args()).env("TEST_PRODUCED", "yes").spawn()
        }
        "error" => Err(io::Error::other("no child today")),
        #[cfg(unix)]
        "daemon" => std::os::unix::process::CommandExt::uid(&mut command, 1).spawn(),
        "panic" => panic!("a producer panics, as told"),
        "ends" => app::errand(&["exit", "0"]).spawn(),
        "stays" => app::errand(&["sleep"]).spawn(),
        "null_stdin" => command.stdin(Stdio::null()).spawn(),
        "no_marker" => command.env_remove("PREFORK_CHILD").spawn(),
        other => panic!("no such producer: {other}"),
    }
}

#[cfg(unix)]
fn rename(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::arg0(command, "renamed")
}

/// The name is the program's own business there.
#[cfg(not(unix))]
fn rename(command: &mut Command) -> &mut Command {
    command
}
