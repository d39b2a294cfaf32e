//! The control socket over an upgrade: no client is lost, and the new program answers who has asked for it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use prefork_tests::control::{ControlPath, connect};
use prefork_tests::fleet::Server;
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::Signal;
use prefork_tests::upgradable::Upgradable;
use prefork_tests::{proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

const LINES: &str = "Accept: application/x-ndjson\r\n";

#[test]
fn upgrade_is_answered_by_the_new_program() {
    let control = ControlPath::default();
    let program = ProgramCopy::new(SERVER);
    let fleet = control.of(Server::new(program.path())).start();
    let (inode, descriptors) = (fs::metadata(control.path()).unwrap().ino(), fleet.master_descriptors());
    for generation in 1..=5 {
        program.replace_with(SERVER);
        let answer = control.post("/upgrade");
        assert!(answer.is(200, "done"), "{answer:?}; {:#?}", fleet.console.lines());
        let message = format!("upgraded: every child is of generation {generation}");
        assert!(answer.says(&message) && answer.says("\"replaced\":2,\"of\":2,"), "{answer:?}");
        let executable = proc::executable(fleet.master());
        let all_run_it = || fleet.children().iter().all(|child| proc::executable(*child) == executable);
        wait::until("end of the old children", all_run_it);
    }
    program.replace_with(SERVER);
    let lines: Vec<String> = control.begin("POST", "/upgrade", LINES).lines().collect();
    assert!(lines.last().unwrap().contains("\"result\":\"done\""), "{lines:#?}");
    assert_eq!(fs::metadata(control.path()).unwrap().ino(), inode, "the same socket");
    wait::until("no more descriptors than before", || fleet.master_descriptors().0 <= descriptors.0);
    fleet.stop();
    assert!(!control.path().exists());
}

#[test]
fn upgrade_that_fails_is_answered_and_the_fleet_stays() {
    let control = ControlPath::default();
    let program = ProgramCopy::new(SERVER);
    let fleet = control.of(Server::new(program.path())).start();
    let first = fleet.first_children();
    program.replace_with("/bin/true");
    let answer = control.post("/upgrade");
    assert!(answer.is(500, "aborted"), "{answer:?}");
    assert!(answer.says("the new program failed its check; the fleet is unchanged"), "{answer:?}");
    assert!(answer.says("exited before it was ready: status 0\""), "{answer:?}");
    assert_eq!(fleet.children(), first);
    program.replace_with(SERVER);
    assert!(control.post("/upgrade").is(200, "done"));
    fleet.stop();
}

#[test]
fn no_client_is_lost_over_an_upgrade() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let events = control.begin("GET", "/events", "");
    let mut half = connect(&control.path()).unwrap();
    half.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    let idle = connect(&control.path()).unwrap();
    assert_eq!(control.get("/livez").status, 200, "the others are accepted by now");
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    half.write_all(b"Connection: close\r\n\r\n").unwrap();
    for mut stream in [half, idle] {
        let _ = stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
    assert!(control.post("/stop").is(200, "done"));
    let events: Vec<String> = events.lines().collect();
    for event in ["upgrading", "executing", "upgraded", "reloaded", "stopping", "stopped"] {
        let field = format!("\"event\":\"{event}\"");
        assert!(events.iter().any(|line| line.contains(&field)), "{event}: {events:#?}");
    }
    fleet.expect_stopped();
}

#[test]
fn upgrade_by_a_signal_takes_the_place_of_an_operation() {
    let control = ControlPath::default();
    let gate = prefork_tests::gate::ResponseGate::new();
    gate.open();
    let server = Server::new(env!("CARGO_BIN_EXE_keep_alive_server")).set("ready", "manual").gate(&gate);
    let fleet = control.of(server).start();
    gate.close();
    let grow = control.begin("POST", "/workers?count=3", "");
    fleet.console.wait_for("resized from 2 to 3");
    gate.open();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    let answer = grow.answer();
    // The new child may have been ready before the exec.
    assert!(answer.is(200, "done") || answer.is(409, "superseded"), "{answer:?}");
    fleet.stop();
}

#[test]
fn next_program_may_have_another_control_socket_or_none() {
    let fleet = Upgradable::start(SERVER, "addr=127.0.0.1:0 control=DIR/one");
    let (one, two) = (fleet.path("one"), fleet.path("two"));
    assert!(one.exists());
    fleet.upgrade("addr=127.0.0.1:0 control=DIR/two");
    assert!(!one.exists() && two.exists());
    connect(&two).unwrap();
    // One that was removed is made anew.
    fs::remove_file(&two).unwrap();
    fleet.upgrade("addr=127.0.0.1:0 control=DIR/two");
    connect(&two).unwrap();
    fleet.upgrade("addr=127.0.0.1:0");
    assert!(!two.exists());
    fs::write(&one, "").unwrap();
    fleet.refuse("addr=127.0.0.1:0 control=DIR/one", "cannot open the control socket");
    fleet.stop();
}

#[test]
fn aborted_upgrade_leaves_no_socket_behind() {
    let fleet = Upgradable::start(SERVER, "addr=127.0.0.1:0 control=DIR/one");
    let (one, two) = (fleet.path("one"), fleet.path("two"));
    fleet.set_next("addr=127.0.0.1:0 control=DIR/two boot=exit1");
    fleet.fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted: ");
    wait::until("removed socket", || !two.exists());
    connect(&one).unwrap();
    fleet.set_next("");
    fleet.stop();
}

#[test]
fn exec_that_fails_is_answered_and_no_client_is_lost() {
    let control = ControlPath::default();
    // The state that is handed over needs a file.
    let fleet = control.of(Server::in_shell("ulimit -f 0; exec \"$0\"", SERVER)).start();
    let events = control.begin("GET", "/events", "");
    let mut idle = connect(&control.path()).unwrap();
    assert_eq!(control.get("/livez").status, 200, "both are accepted by now");
    for _ in 0..3 {
        let answer = control.post("/upgrade");
        assert!(answer.is(500, "aborted") && answer.says("cannot execute the new program: "), "{answer:?}");
    }
    idle.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    assert!(control.post("/reload").is(200, "done"));
    fleet.stop();
    let failed = events.lines().filter(|line| line.contains("\"event\":\"cannot_execute\"")).count();
    assert_eq!(failed, 3);
}
