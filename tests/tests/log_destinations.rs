//! The destinations of prefork's own messages.
#![cfg(any(target_os = "linux", windows))]

use std::fs;
use std::path::Path;

use prefork_tests::fleet::{self, RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::wait;

const LOG_SERVER: &str = env!("CARGO_BIN_EXE_log_server");

/// Runs a fleet that logs to a file through a crash and a stop; returns the log and standard error.
fn run_and_read_log(log: &Path, server: Server) -> (String, Vec<String>) {
    let read = || fs::read_to_string(log).unwrap_or_default();
    let mut fleet: RunningFleet = server.launch();
    wait::until("ready fleet", || read().contains("2 children ready"));
    let victim = fleet.children()[0];
    send(victim, Signal::SIGKILL);
    wait::until("successor", || read().contains(&format!("in place of pid {victim}")));
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    (read(), fleet.console.wait_for_end())
}

fn check_log_is_complete(log: &str) {
    for part in [
        "INFO prefork: listening on 127.0.0.1:",
        "INFO prefork: 2 children ready (pids",
        "WARN prefork: child",
        "INFO prefork: child",
        "INFO prefork: stopping",
        "INFO prefork: stopped",
    ] {
        assert!(log.lines().any(|line| line.starts_with(part)), "no {part:?} in {log}");
    }
    let replaced = log.lines().find(|line| line.contains(" started in place of pid")).unwrap_or_default();
    for field in [" event=child_replaced", " slot=", " pid=", " generation=0"] {
        assert!(replaced.contains(field), "no {field:?} in {replaced}");
    }
}

#[test]
fn fleet_logger_gets_all_messages_and_stderr_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let (logged, stderr) = run_and_read_log(&log, Server::new(LOG_SERVER).set("log_file", log.display()));
    check_log_is_complete(&logged);
    assert_eq!(stderr, Vec::<String>::new());
}

#[test]
fn installed_logger_gets_messages_of_its_level_and_stderr_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let (logged, stderr) = run_and_read_log(&log, Server::new(LOG_SERVER).set("installed", log.display()));
    check_log_is_complete(&logged);
    assert!(!logged.contains("DEBUG"), "the level is info: {logged}");
    assert_eq!(stderr, Vec::<String>::new());
}

#[test]
fn fleet_logger_overrides_installed_logger() {
    let directory = tempfile::tempdir().unwrap();
    let (own, installed) = (directory.path().join("own"), directory.path().join("installed"));
    let server = Server::new(LOG_SERVER).set("log_file", own.display()).set("installed", installed.display());
    let (logged, stderr) = run_and_read_log(&own, server);
    check_log_is_complete(&logged);
    assert_eq!(fs::read_to_string(installed).unwrap(), "");
    assert_eq!(stderr, Vec::<String>::new());
}

#[test]
fn no_logger_prints_info_and_above_to_stderr() {
    let fleet = Server::new(LOG_SERVER).start();
    fleet.replace(&fleet.first_children()[..1]);
    let lines = fleet.stop();
    assert!(lines.iter().all(|line| line.starts_with("prefork: ")), "{lines:#?}");
    let ended = format!("exited: {}", fleet::killed());
    for part in ["listening on", "ready (pids", &ended, "in place of", "stopping", "stopped"] {
        assert!(lines.iter().any(|line| line.contains(part)), "no {part:?} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.ends_with(" started")), "debug: {lines:#?}");
}

#[cfg(unix)]
#[test]
fn lines_have_their_level_if_standard_error_is_the_journal() {
    use std::os::unix::fs::MetadataExt;

    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let file = fs::File::create(&journal).unwrap().metadata().unwrap();
    let script = format!(r#"exec "$0" 2>"{}""#, journal.display());
    let mut server = Server::in_shell(&script, LOG_SERVER);
    server.command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    let (log, _) = run_and_read_log(&journal, server);
    assert!(
        log.lines().all(|line| line.starts_with("<6>prefork: ") || line.starts_with("<4>prefork: child"))
    );
    assert!(log.contains("\n<4>prefork: child"), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn lines_have_no_level_once_standard_error_is_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let script = r#"JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$0""#;
    let fleet =
        Server::in_shell(script, env!("CARGO_BIN_EXE_hooks_server")).set("reopens", log.display()).start();
    assert!(fleet.console.wait_for("listening on").starts_with("<6>prefork: "));
    send(fleet.master(), Signal::SIGUSR1);
    let line = "prefork: logs reopened in the master, and requested of 2 children\n";
    wait::until("line in the new file", || fs::read_to_string(&log).is_ok_and(|log| log == line));
    fleet.stop();
}
