//! The control socket: who may use it, what it answers, and that no client disturbs the master.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use prefork_tests::control::{ControlPath, connect};
use prefork_tests::fleet::{AS_NOBODY, RunningFleet, Server};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{self, Signal};
use prefork_tests::skip::skipped;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

/// More clients than the server has places.
const IDLE_CLIENTS: usize = 300;

#[test]
fn socket_is_the_owners_and_is_removed_at_the_end() {
    let control = ControlPath::default();
    // A master that was killed has left it.
    drop(UnixListener::bind(control.path()).unwrap());
    // The umask would allow everybody.
    let server = Server::in_shell("umask 0; exec \"$0\"", SERVER);
    let fleet = control.of(server).start();
    assert_eq!(fs::metadata(control.path()).unwrap().permissions().mode() & 0o777, 0o600);
    fleet.console.wait_for(&format!("control socket on {}", control.path().display()));
    let other = control.of(Server::new(SERVER)).run();
    assert!(!other.status.success());
    let problem = other.stderr.iter().find(|line| line.contains("cannot open the control socket")).unwrap();
    assert!(
        problem.contains("another process listens there: stop it, or set another `control`"),
        "{problem}"
    );
    assert_eq!(control.get("/livez").status, 200);
    fleet.stop();
    assert!(!control.path().exists());
}

#[test]
fn file_that_is_no_socket_is_left_alone() {
    let control = ControlPath::default();
    fs::write(control.path(), "precious").unwrap();
    let outcome = control.of(Server::new(SERVER)).run();
    let said = outcome.stderr.join("\n");
    assert!(!outcome.status.success() && said.contains("the file there is not a socket"), "{said}");
    assert_eq!(fs::read_to_string(control.path()).unwrap(), "precious");
}

#[test]
fn socket_that_another_one_has_replaced_is_not_removed() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    fs::remove_file(control.path()).unwrap();
    let _theirs = UnixListener::bind(control.path()).unwrap();
    fleet.stop();
    assert!(control.path().exists());
}

#[test]
fn other_user_is_refused_and_logged() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let (control, program) = (ControlPath::default(), ProgramCopy::new(SERVER));
    let fleet = control.of(Server::new(SERVER)).start();
    // An administrator who means well.
    fs::set_permissions(control.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |request: &str| {
        let mut command = Command::new(AS_NOBODY[0]);
        command.args(&AS_NOBODY[1..]).arg(program.path()).args([
            "ask",
            control.path().to_str().unwrap(),
            request,
        ]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    for request in ["POST /stop", "GET /status"] {
        let answer = ask(request);
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer:?}");
        assert!(answer.contains("Connection: close\r\n"), "{answer:?}");
    }
    let line = fleet.console.wait_for("is refused at the control socket");
    assert!(line.contains("uid 65534 (pid "), "{line}");
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn master_of_another_user_obeys_that_user_and_root() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let (control, program) = (ControlPath::default(), ProgramCopy::new(SERVER));
    fs::set_permissions(control.path().parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    let fleet = control.of(Server::through(&AS_NOBODY, program.path())).start();
    let mut command = Command::new(AS_NOBODY[0]);
    command.args(&AS_NOBODY[1..]).arg(program.path()).args([
        "ask",
        control.path().to_str().unwrap(),
        "POST /reload",
    ]);
    let answer = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(answer.contains("\"result\":\"done\""), "{answer}");
    assert!(control.post("/reload").is(200, "done"));
    fleet.stop();
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    for (method, target, status) in [
        ("GET", "/reload", 405),
        ("HEAD", "/stop", 405),
        ("DELETE", "/status", 405),
        ("POST", "/status", 404),
        ("GET", "/", 404),
        ("GET", "/stop/", 404),
        ("POST", "/workers", 400),
        ("POST", "/workers?count=0", 400),
        ("POST", "/workers?count=99999999999999999999", 400),
        ("POST", "/recycle?slot=1&slot=0", 400),
        ("POST", "/stop?now=perhaps", 400),
        ("POST", "/reload?force", 400),
        ("POST", "/recycle?slot=2", 422),
        ("POST", "/promote", 422),
        ("POST", "/rollback", 422),
    ] {
        assert_eq!(control.ask(method, target).status, status, "{method} {target}");
    }
    // A canary that is asked for in a body is no reload of every child.
    let asked = control.begin("POST", "/reload", "Content-Length: 8\r\n").answer();
    assert!(asked.is(400, "refused") && asked.says("a request has no body"), "{asked:?}");
    for rubbish in ["\0\u{ff}\r\n\r\n", "\u{16}\u{3}\u{1}", "POST /stop\r\n\r\n", &"x".repeat(10_000)] {
        let mut stream = connect(&control.path()).unwrap();
        stream.write_all(rubbish.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    assert_eq!(fleet.children().len(), 2);
    fleet.stop();
}

#[test]
fn idle_and_hanging_clients_delay_nobody() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let idle: Vec<UnixStream> = (0..IDLE_CLIENTS).map(|_| connect(&control.path()).unwrap()).collect();
    for mut stream in &idle {
        // The first have lost their places.
        let _ = stream.write_all(b"POST /stop HTTP/1.1\r\n");
    }
    assert!(control.post("/reload").is(200, "done"));
    assert!(control.post("/workers?count=3").is(200, "done"));
    wait::until("end of the old children", || fleet.children().len() == 3);
    drop(idle);
    assert_eq!(control.get("/readyz").status, 200);
    fleet.stop();
}

#[test]
fn status_and_metrics_are_those_of_the_fleet() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let status = control.get("/status");
    let pids = fleet.first_children();
    for part in [
        format!("{{\"state\":\"serving\",\"master\":{},\"version\":\"", fleet.master()),
        format!("\"operation\":null,\"listeners\":[{{\"addr\":\"{}\",\"queue\":0,\"limit\":", fleet.addr()),
        format!(
            "{{\"slot\":0,\"pid\":{},\"generation\":0,\"state\":\"ready\",\"leader\":false,\"age_seconds\":",
            pids[0]
        ),
    ] {
        assert!(status.says(&part), "{part}: {}", status.body);
    }
    assert!(
        !status.says("\"resident_bytes\":null") && !status.says("\"cpu_seconds\":null"),
        "{}",
        status.body
    );
    let metrics = control.get("/metrics");
    assert!(metrics.says("prefork_build_info{"), "{}", metrics.body);
    fleet.stop();
}

#[test]
fn health_listener_changes_nothing() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER).env("PREFORK_HEALTH", "127.0.0.1:0")).start();
    for target in ["/stop", "/reload", "/workers?count=1", "/status"] {
        let request = format!("POST {target} HTTP/1.1\r\nConnection: close\r\n\r\n");
        let answer = client::exchange(fleet.health_addr(), &request).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer:?}");
    }
    let events = client::exchange(fleet.health_addr(), "GET /events HTTP/1.0\r\n\r\n").unwrap();
    assert!(events.starts_with("HTTP/1.1 404 "), "{events:?}");
    fleet.stop();
}

#[test]
fn process_without_children_tells_its_status_and_stops() {
    let control = ControlPath::default();
    let process = control.of(Server::new(SERVER).set("workers", 0)).launch();
    process.console.wait_for("ready; stop with ");
    assert!(control.get("/status").says("\"slots\":1,\"ready\":1,"));
    assert_eq!(control.get("/metrics").status, 200);
    for target in ["/reload", "/upgrade", "/workers?count=2", "/recycle?slot=0"] {
        let answer = control.post(target);
        assert!(
            answer.is(422, "refused") && answer.says("there are no children (workers = 0)"),
            "{answer:?}"
        );
    }
    assert!(control.post("/stop").is(200, "done"));
    assert!(client::is_refused(process.addr()) && !control.path().exists());
    process.expect_stopped();
}

#[test]
fn death_of_children_meanwhile_fails_no_reload() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER).set("workers", 4)).start();
    let asked = control.begin("POST", "/reload", "");
    // Some of them may have been replaced by now.
    fleet.first_children().into_iter().for_each(|victim| drop(signal::try_send(victim, Signal::SIGKILL)));
    let answer = asked.answer();
    assert!(answer.is(200, "done"), "{answer:?}; {:#?}", fleet.console.lines());
    wait::until("four ready children", || control.get("/status").says("\"slots\":4,\"ready\":4,"));
    fleet.stop();
}

#[test]
fn idle_master_with_waiting_clients_does_not_wake_and_children_do_not_inherit_it() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let events = control.begin("GET", "/events", "");
    assert_eq!(control.get("/livez").status, 200);
    proc::wait_until_idle(&[fleet.master()]);
    let sockets = proc::unix_inodes(&control.path());
    assert!(!sockets.is_empty());
    assert!(!proc::held_inodes(fleet.master(), &sockets).is_empty());
    for child in fleet.children() {
        assert!(proc::held_inodes(child, &sockets).is_empty(), "child {child} holds the control socket");
    }
    drop(events);
    fleet.stop();
}

#[test]
fn damaged_requests_change_nothing_and_end_nothing() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let children = fleet.first_children();
    let mut random = fastrand::Rng::with_seed(14);
    let requests = [
        "GET /status HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n",
        "GET /reload?canary=1&hold=60s HTTP/1.1\r\nConnection: close\r\n\r\n",
        "HEAD /events HTTP/1.0\r\nContent-Length: 12\r\n\r\n",
        "GET /workers?count=18446744073709551616 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for _ in 0..400 {
        let mut bytes = requests[random.usize(..requests.len())].as_bytes().to_vec();
        for _ in 0..random.usize(..8) {
            let place = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[place] = random.u8(..),
                1 => drop(bytes.splice(place..place, (0..random.usize(1..3000)).map(|_| b'%'))),
                2 => bytes.truncate(place.max(1)),
                _ => drop(bytes.remove(place)),
            }
            bytes.extend(b"\r");
        }
        let mut stream = connect(&control.path()).unwrap();
        // The master may have answered and closed before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
    }
    assert!(control.get("/status").says("\"generation\":0,\"slots\":2,\"ready\":2,\"failures\":0,"));
    assert_eq!(fleet.children(), children);
    fleet.stop();
}

#[test]
fn log_files_are_opened_again_whatever_is_under_way() {
    let (control, directory) = (ControlPath::default(), tempfile::tempdir().unwrap());
    let [journal, next] = ["journal", "next"].map(|name| directory.path().join(name));
    let server = Server::new(HOOKS_SERVER).set("reopens", "yes").set("journal", journal.display());
    let server = server.set("next", next.display());
    let fleet = control.of(server).start();
    let reopened = |fleet: &RunningFleet| {
        let answer = control.post("/reopen");
        let done = "\"message\":\"logs reopened in the master, and requested of ";
        assert!(answer.is(200, "done") && answer.says(done), "{answer:?}");
        let written = fs::read_to_string(&journal).unwrap();
        assert!(written.contains(&format!("on_log_reopen {}\n", fleet.master())), "before the answer");
    };
    reopened(&fleet);
    for pid in fleet.first_children() {
        wait::until("the hook in every child", || {
            fs::read_to_string(&journal).unwrap().contains(&format!("on_log_reopen {pid}\n"))
        });
    }
    fleet.console.wait_for(") requests a reopening of the logs by the control socket");
    fs::write(&next, "boot=hang").unwrap();
    let reload = control.begin("POST", "/reload", "");
    wait::until("reload", || control.get("/status").says("\"operation\":{\"name\":\"reload\""));
    assert!(control.post("/recycle?slot=0").is(409, "busy"));
    reopened(&fleet);
    assert!(control.get("/status").says("\"operation\":{\"name\":\"reload\""));
    drop(reload);
    let lines = control.begin("POST", "/reopen", "Accept: application/x-ndjson\r\n").answer();
    assert!(lines.says("\"result\":\"done\"") && !lines.says("\n{\"replaced\""), "{lines:?}");
    let answer = control.post("/reopen?slot=1");
    assert!(answer.is(400, "refused") && answer.says("unknown parameter `slot`"), "{answer:?}");
    fleet.stop();
}

#[test]
fn logs_that_are_not_reopened_are_answered_with_the_reason() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let answer = control.post("/reopen");
    assert!(answer.is(422, "refused") && answer.says("the program has no hook on_log_reopen"), "{answer:?}");
    fleet.stop();
    let server = Server::new(HOOKS_SERVER).set("reopens", "yes").set("fails", "on_log_reopen");
    let fleet = control.of(server).start();
    let answer = control.post("/reopen");
    let reason = "\"message\":\"hook on_log_reopen failed: failed on request\"";
    assert!(answer.is(500, "aborted") && answer.says(reason), "{answer:?}");
    assert_eq!(fleet.children(), fleet.first_children());
    fleet.stop();
    let server = Server::new(HOOKS_SERVER).set("reopens", "yes");
    let server = control.of(server.set("workers", 0)).launch();
    server.console.wait_for("ready; stop with ");
    let answer = control.post("/reopen");
    assert!(answer.is(200, "done") && answer.says("\"message\":\"logs reopened\""), "{answer:?}");
    assert!(control.post("/reload").is(422, "refused"));
    server.stop();
}
