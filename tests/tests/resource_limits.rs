//! Low limits on open files and processes: the fleet works, or its error names the limit. It never hangs.
#![cfg(target_os = "linux")]

use prefork_tests::fleet::{AS_NOBODY, Server};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::Signal;
use prefork_tests::skip::skipped;
use prefork_tests::wait;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Starts a server. If it becomes ready, stops it; if not, expects one error that contains `hint`.
fn check_works_or_error_has(server: Server, hint: &str) {
    let mut fleet = server.set("recover", 2).launch();
    wait::until("readiness or end of the fleet", || {
        fleet.try_wait().is_some() || fleet.console.says("ready (pids")
    });
    if fleet.try_wait().is_none() {
        fleet.stop();
        return;
    }
    let outcome = fleet.expect_end();
    assert!(outcome.error().contains(hint), "{outcome:#?}");
}

#[test]
fn low_open_files_limit_works_or_is_named_in_error() {
    for limit in [4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20] {
        for reuseport in [false, true] {
            let limit = format!("--nofile={limit}:{limit}");
            let server = Server::through(&["prlimit", &limit], SERVER).set("workers", 4);
            let server = server.reuseport(reuseport);
            check_works_or_error_has(server, "open files");
        }
    }
}

#[test]
fn low_process_limit_is_named_in_error() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let program = ProgramCopy::new(SERVER);
    let wrapper = [&AS_NOBODY[..], &["prlimit", "--nproc=1:1"]].concat();
    let outcome = Server::through(&wrapper, program.path()).set("recover", 2).run();
    assert!(outcome.error().contains("3 failures, 2 allowed"), "{outcome:#?}");
    assert!(outcome.error().contains("ulimit -u"), "{outcome:#?}");
    assert_eq!(outcome.children, 0);
}

#[test]
fn child_without_a_thread_tells_why_it_ends() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let program = ProgramCopy::new(SERVER);
    let server = Server::through(&["prlimit", "--nproc=1:1"], program.path()).unset("preload");
    let outcome = server.env("PREFORK_USER", "65534").set("recover", 0).run();
    let reason = ") cannot start: cannot start the link thread: resource temporarily unavailable";
    let is_told = |line: &String| line.contains(reason) && line.contains("raise the limit on processes");
    assert!(outcome.stderr.iter().any(is_told), "{outcome:#?}");
}

#[test]
fn stop_while_children_cannot_start_ends_fleet() {
    // The limit allows the listener but not all handshakes; the threshold is too high to end the fleet.
    let server = Server::through(&["prlimit", "--nofile=9:9"], SERVER).set("workers", 16);
    let mut fleet = server.set("recover", 1_000_000).set("shutdown_grace", "500ms").launch();
    wait::until("failed start of a child", || {
        fleet.console.says("could not be started") || fleet.try_wait().is_some()
    });
    if fleet.try_wait().is_none() {
        fleet.signal(Signal::SIGTERM);
        assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
    }
    fleet.assert_no_process_left();
}
