//! A server with every hook. Each hook appends a line to the file that the option `journal` names. The
//! option `reopens` is for a fleet with `on_log_reopen`, which makes the file at that path standard error, and `prints`
//! names a hook that prints to the terminal. The options `fails`, `panics`, `hangs` and `waits` (for the response gate)
//! name the hook that does so; with `outlives`, `on_child_spawn` waits for the end of its child; `produces` selects what
//! `command_producer` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a server under test fails the test"
)]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use prefork_tests::{app, wait};

/// `on_master_ready` starts it, `on_child_recover` waits for it.
static HELPER: Mutex<Option<Child>> = Mutex::new(None);

fn main() -> ExitCode {
    if app::ran_subcommand() {
        return ExitCode::SUCCESS;
    }
    let fleet = app::builder(app::serve)
        .on_child_spawn(|pid| {
            #[cfg(target_os = "linux")]
            if app::option("outlives").is_some() {
                let has_ended = || prefork_tests::proc::state(pid).is_none_or(|state| state == 'Z');
                wait::until("end of the child", has_ended);
            }
            run("on_child_spawn", &pid.to_string())
        })
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
    let fleet = match app::option("reopens") {
        Some(file) => fleet.on_log_reopen(move || {
            if file.starts_with('/') {
                replace_stderr(&file);
            }
            run("on_log_reopen", &std::process::id().to_string())
        }),
        None => fleet,
    };
    app::start(match app::option("produces") {
        Some(what) => fleet.command_producer(move |command| produce(&what, command)),
        None => fleet,
    })
}

#[cfg(unix)]
fn replace_stderr(path: &str) {
    let log = OpenOptions::new().create(true).append(true).open(path);
    nix::unistd::dup2_stderr(log.expect("the file can be opened")).expect("standard error can be replaced");
}

#[cfg(not(unix))]
fn replace_stderr(_path: &str) {}

/// The body of a hook: records the run, and then does what the options say.
fn run(hook: &str, arguments: &str) -> Result<(), String> {
    record(&format!("{hook} {arguments}"));
    assert_ne!(app::option("panics").as_deref(), Some(hook), "a hook panics on request");
    if app::option("hangs").as_deref() == Some(hook) {
        loop {
            thread::park();
        }
    }
    if app::option("waits").as_deref() == Some(hook) {
        wait::until("open response gate", app::gate_is_open);
    }
    if app::option("prints").as_deref() == Some(hook) {
        let terminal = OpenOptions::new().write(true).open("/dev/tty");
        terminal.and_then(|mut terminal| terminal.write_all(b"printed\n")).unwrap();
    }
    if app::option("fails").as_deref() == Some(hook) { Err("failed on request".to_owned()) } else { Ok(()) }
}

/// Ends this process when the journal has more than 20 lines. If processes start each other without end,
/// this fails the test before the machine runs out of processes.
fn abort_on_spawn_loop() {
    let journal = app::option("journal").and_then(|path| std::fs::read_to_string(path).ok());
    if journal.is_some_and(|journal| journal.lines().count() > 20) {
        app::print_error("processes start each other without end");
        std::process::exit(9);
    }
}

/// Appends a line to the journal in one call, so that lines of several processes do not mix.
fn record(line: &str) {
    if let Some(path) = app::option("journal") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.expect("the journal can be written to");
    }
}

/// Starts a process in the master. Its exit status belongs to the program, not to prefork.
fn start_helper() {
    if app::option("helper").is_some() {
        let helper = app::subcommand(&["exit", "7"]).spawn().expect("this program runs");
        *HELPER.lock().expect("no panic under the lock") = Some(helper);
    }
}

fn wait_for_helper() {
    if let Some(mut helper) = HELPER.lock().expect("no panic under the lock").take() {
        record(&format!("helper {:?}", helper.wait().map(|status| status.code())));
    }
}

fn produce(what: &str, mut command: Command) -> io::Result<Child> {
    record("command_producer");
    abort_on_spawn_loop();
    match what {
        "alters" => rename(&mut command).env("TEST_PRODUCED", "yes").spawn(),
        "wraps" => {
            let mut wrapped = app::subcommand(&["run"]);
            wrapped.arg(command.get_program()).args(command.get_args()).env("TEST_PRODUCED", "yes").spawn()
        }
        "waits" => {
            wait::until("open response gate", app::gate_is_open);
            command.spawn()
        }
        "error_at_gate" if !app::gate_is_open() => command.spawn(),
        "error" | "error_at_gate" => Err(io::Error::other("no child today")),
        #[cfg(unix)]
        "daemon" => std::os::unix::process::CommandExt::uid(&mut command, 1).spawn(),
        "panic_at_gate" if !app::gate_is_open() => command.spawn(),
        "panic" | "panic_at_gate" => panic!("a producer panics on request"),
        "ends" => app::subcommand(&["exit", "0"]).spawn(),
        "stays" => app::subcommand(&["sleep"]).spawn(),
        "null_stdin" => command.stdin(Stdio::null()).spawn(),
        "no_marker" => command.env_remove("PREFORK_CHILD").spawn(),
        other => panic!("unknown producer: {other}"),
    }
}

#[cfg(unix)]
fn rename(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::arg0(command, "renamed")
}

/// Windows passes the path of the program instead.
#[cfg(not(unix))]
fn rename(command: &mut Command) -> &mut Command {
    command
}
