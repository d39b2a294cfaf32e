//! Servers made by `#[prefork::main]`: the same behaviour as with the builder.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

const ATTRIBUTE_SERVER: &str = env!("CARGO_BIN_EXE_attribute_server");

#[test]
fn every_attribute_option_reaches_the_fleet() {
    for reuseport in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let server = Server::new(ATTRIBUTE_SERVER).set("log_file", log.display());
        let mut fleet = server.reuseport(reuseport).launch();
        let read = || fs::read_to_string(&log).unwrap_or_default();
        wait::until("readiness in the log file", || read().contains("2 children ready"));
        let text = read();
        assert!(text.starts_with("INFO : init in a master\n"), "{text}");
        // Under wine two lines that are appended at the same moment can overwrite each other.
        let inits = text.matches("init in a child").count();
        assert!(inits == 2 || (cfg!(windows) && inits == 1), "{text}");
        // On Windows the children share one socket with any value of the option.
        let own = reuseport && cfg!(unix);
        assert!(text.contains(if own { "(tcp, reuseport" } else { "(tcp, one shared" }), "{text}");
        let addr = text.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let addr = addr.parse().unwrap();
        let victim = client::serving_pid(addr);
        prefork_tests::signal::send(victim, Signal::SIGKILL);
        fleet.console.wait_for(&format!("recovered {victim} true"));
        fleet.signal(Signal::SIGHUP);
        wait::until("end of the reload", || read().contains("reloaded:"));
        client::serving_pid(addr);
        fleet.signal(Signal::SIGTERM);
        assert_eq!(fleet.wait().code(), Some(0));
        assert!(read().contains("stopping in 1ms"), "{}", read());
        assert!(fleet.console.wait_for_end().iter().all(|line| line.starts_with("recovered")));
    }
}

#[test]
fn variables_override_the_attribute_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let server = Server::new(ATTRIBUTE_SERVER).set("log_file", log.display());
    let mut fleet = server.env("PREFORK_WORKERS", "3").env("PREFORK_SHUTDOWN_GRACE", "40s").launch();
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait::until("readiness in the log file", || read().contains("3 children ready"));
    let text = read();
    assert!(text.contains("PREFORK_WORKERS=3 overrides workers = 2"), "{text}");
    assert!(text.contains("PREFORK_SHUTDOWN_GRACE=40s overrides shutdown_grace = 30s"), "{text}");
    assert_eq!(text.matches("overrides").count(), 2, "{text}");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    assert!(read().contains("children may take 40s to finish"), "{}", read());
}

#[test]
fn failing_init_prints_one_error_and_starts_no_child() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let outcome = Server::new(ATTRIBUTE_SERVER).set("log_file", log.display()).set("init_fails", "yes").run();
    assert_eq!(outcome.stderr, ["prefork: error: init failed: failed on request"]);
    assert_eq!((outcome.status.code(), outcome.children), (Some(1), 0));
}
