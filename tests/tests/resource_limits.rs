//! Too few descriptors, too few processes, by the limits that Unix sets: a clear line or a working fleet,
//! and never a hang.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
use prefork_tests::wait;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Starts a server that may work or not. If it does, stops it; if not, expects one error that names
/// the limit to raise.
fn works_or_says_why(server: Server, hint: &str) {
    let mut fleet = server.set("recover", 2).launch();
    wait::until("a fleet that is ready, or has given up", || {
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
fn a_limit_on_open_files_is_named_if_it_is_too_low() {
    for limit in [4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20] {
        for reuseport in [false, true] {
            let limit = format!("--nofile={limit}:{limit}");
            let server = Server::through(&["prlimit", &limit], SERVER).set("workers", 4);
            let server = if reuseport { server.set("reuseport", 1) } else { server };
            works_or_says_why(server, "open files");
        }
    }
}

#[test]
fn a_limit_on_processes_is_named_if_it_is_too_low() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can become a user that has no other process");
    }
    // Where root's files are, others may not look.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("server");
    fs::copy(SERVER, &copy).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: Vec<&str> = nobody.into_iter().chain(["prlimit", "--nproc=1:1"]).collect();
    let outcome = Server::through(&wrapper, copy).set("recover", 2).run();
    assert!(outcome.error().contains("3 failures, 2 allowed"), "{outcome:#?}");
    assert!(outcome.error().contains("ulimit -u"), "{outcome:#?}");
    assert_eq!(outcome.children, 0);
}

#[test]
fn a_fleet_that_cannot_start_children_stops_when_it_is_asked_to() {
    // Enough to listen, too little for a handshake; and a fleet that never gives up.
    let server = Server::through(&["prlimit", "--nofile=9:9"], SERVER).set("workers", 16);
    let mut fleet = server.set("recover", 1_000_000).set("shutdown_grace", "500ms").launch();
    wait::until("a child that could not be started", || {
        fleet.console.says("could not be started") || fleet.try_wait().is_some()
    });
    if fleet.try_wait().is_none() {
        fleet.signal(Signal::SIGTERM);
        assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
    }
    fleet.assert_no_process_left();
}
