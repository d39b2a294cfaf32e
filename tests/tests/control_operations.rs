//! Operations by the control socket: each is answered when it is done, or has failed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::control::ControlPath;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");

const LINES: &str = "Accept: application/x-ndjson\r\n";

/// A fleet whose children are ready when the gate opens, which is closed now.
fn gated(control: &ControlPath) -> (RunningFleet, ResponseGate) {
    let gate = ResponseGate::new();
    gate.open();
    let server = Server::new(KEEP_ALIVE_SERVER).set("ready", "manual").gate(&gate);
    let fleet = control.of(server).start();
    gate.close();
    (fleet, gate)
}

/// A server, and a function that sets the options of the children which are started from then on.
fn changeable(server: &str) -> (Server, impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("next");
    let server = Server::new(server).set("next", file.display());
    (server, move |options: &str| {
        let new = directory.path().join("new");
        fs::write(&new, options).unwrap();
        fs::rename(new, &file).unwrap();
    })
}

#[test]
fn operations_are_answered_when_they_are_done_and_logged_with_who_asked() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    let first = fleet.first_children();
    let answer = control.post("/reload");
    assert!(answer.is(200, "done"), "{answer:?}");
    assert!(answer.says(
        "\"message\":\"reloaded: every child is of generation 1\",\"generation\":1,\"replaced\":2,\"of\":2,"
    ));
    let status = control.get("/status");
    assert!(
        first.iter().all(|pid| !status.says(&format!("\"pid\":{pid},\"generation\":0,\"state\":\"ready\"")))
    );
    let answer = control.post("/workers?count=4");
    assert!(answer.is(200, "done") && answer.says("resized from 2 to 4 children"), "{answer:?}");
    assert!(control.get("/status").says("\"slots\":4,\"ready\":4,"));
    let answer = control.post("/workers?count=1");
    assert!(answer.is(200, "done") && answer.says("\"replaced\":3,\"of\":3,"), "{answer:?}");
    let status = control.get("/status");
    assert!(
        (1..4).all(|slot| !status.says(&format!("\"slot\":{slot},"))),
        "the others have ended: {status:?}"
    );
    wait::until("end of the old generation", || fleet.children().len() == 1);
    assert!(control.post("/workers?count=1").says("the fleet has 1 slots already"));
    let answer = control.post("/workers?by=2");
    assert!(answer.is(200, "done") && answer.says("resized from 1 to 3 children"), "{answer:?}");
    let answer = control.post("/workers?by=-2");
    assert!(answer.is(200, "done") && answer.says("resized from 3 to 1 child\""), "{answer:?}");
    let answer = control.post("/workers?by=-1");
    assert!(answer.is(422, "refused") && answer.says("a fleet keeps one slot"), "{answer:?}");
    wait::until("end of the removed slots", || fleet.children().len() == 1);
    let old = fleet.children()[0];
    let answer = control.post("/recycle?slot=0");
    assert!(
        answer.is(200, "done") && answer.says(&format!(") takes the place of pid {old}\"")),
        "{answer:?}"
    );
    let who = format!("uid {} (pid {}) requests ", nix::unistd::geteuid(), std::process::id());
    for what in ["a reload", "a size of 4", "a size of 1", "another child for slot 0"] {
        fleet.console.wait_for(&format!("{who}{what} by the control socket"));
    }
    let metrics = control.get("/metrics");
    assert!(metrics.says("reason=\"operator\"} 1\n"), "{}", metrics.body);
    fleet.stop();
}

#[test]
fn canary_holds_until_it_is_promoted_or_rolled_back() {
    let control = ControlPath::default();
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server.set("workers", 3)).start();
    let generations = |expected: [u32; 3]| {
        let status = control.get("/status");
        let found = |(slot, generation): (usize, u32)| {
            let ready = format!("\"generation\":{generation},\"state\":\"ready\"");
            status
                .body
                .split("{\"slot\":")
                .any(|child| child.starts_with(&slot.to_string()) && child.contains(&ready))
        };
        assert!(expected.into_iter().enumerate().all(found), "{}", status.body);
    };
    assert!(control.post("/promote").is(422, "refused"));
    assert!(control.post("/rollback").says("nothing to roll back: no reload holds"));
    assert!(control.post("/reload?hold=1h").says("hold has no meaning without a canary"));

    let holding = control.post("/reload?canary=2&hold=1h");
    assert!(
        holding.is(200, "done") && holding.says("holding: generation 1 has 2 of 3 children"),
        "{holding:?}"
    );
    generations([1, 1, 0]);
    let status = control.get("/status");
    assert!(status.says("\"state\":\"holding\"") && status.says("\"holding\":true,\"hold_seconds_left\":35"));
    let promoted = control.post("/promote");
    assert!(promoted.is(200, "done") && promoted.says("generation 1"), "{promoted:?}");
    generations([1, 1, 1]);

    assert!(control.post("/reload?canary=1").is(200, "done"));
    generations([2, 1, 1]);
    let back = control.post("/rollback");
    assert!(back.is(200, "done") && back.says("rolled back: the fleet is of generation 1 again"), "{back:?}");
    generations([1, 1, 1]);

    set_next("boot=exit1");
    let failed = control.post("/reload?canary=1");
    assert!(failed.is(500, "aborted") && failed.says("new child 0 failed"), "{failed:?}");
    generations([1, 1, 1]);
    assert!(control.get("/status").says("\"operation\":null"));
    fleet.stop();
}

#[test]
fn rollback_takes_back_a_canary_that_is_being_started() {
    let control = ControlPath::default();
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server).start();
    set_next("boot=hang");
    let reload = control.begin("POST", "/reload?canary=1", "");
    wait::until("start of the canary", || {
        control.get("/status").says("\"generation\":1,\"state\":\"starting\"")
    });
    assert!(control.post("/upgrade").is(409, "busy"));
    let back = control.post("/rollback");
    assert!(back.is(200, "done") && back.says("rolled back: the fleet is of generation 0 again"), "{back:?}");
    let reload = reload.answer();
    assert!(reload.is(409, "superseded") && reload.says("a rollback was requested"), "{reload:?}");
    wait::until("end of the canary, and of no other child", || fleet.children() == fleet.first_children());

    // One without a canary cannot be taken back, and goes on.
    let reload = control.begin("POST", "/reload", "");
    wait::until("start of a child", || {
        control.get("/status").says("\"generation\":2,\"state\":\"starting\"")
    });
    assert!(control.post("/rollback").is(409, "busy"));
    drop(reload);
    fleet.stop();
}

#[test]
fn promotion_does_not_overtake_the_death_of_the_canary() {
    let control = ControlPath::default();
    let fleet = control.of(Server::new(SERVER)).start();
    for attempt in 1..=20 {
        let before = fleet.children();
        assert!(control.post("/reload?canary=1").is(200, "done"));
        wait::until("end of the old child", || fleet.children().len() == 2);
        let canary = fleet.children().into_iter().find(|child| !before.contains(child)).unwrap();
        // The master finds both at once.
        send(fleet.master(), Signal::SIGSTOP);
        wait::until("stop of the master", || proc::is_stopped(fleet.master()));
        send(canary, Signal::SIGKILL);
        wait::until("end of the canary's last thread", || {
            !proc::is_alive(canary) && proc::thread_count(canary) <= 1
        });
        let promotion = control.begin("POST", "/promote", "");
        send(fleet.master(), Signal::SIGCONT);
        let promotion = promotion.answer();
        assert!(promotion.is(422, "refused"), "attempt {attempt}: {promotion:?}");
        fleet.console.wait_for_nth(attempt, "rolled back: ");
    }
    fleet.stop();
}

#[test]
fn rollback_that_is_not_done_is_not_answered_as_done() {
    let control = ControlPath::default();
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server).start();
    assert!(control.post("/reload?canary=1").is(200, "done"));
    set_next("boot=exit1");
    let stuck = control.post("/rollback");
    assert!(stuck.is(500, "aborted") && stuck.says("child 0 is not rolled back yet"), "{stuck:?}");
    set_next("");
    assert!(control.post("/reload?canary=1").is(200, "done"));

    set_next("boot=hang");
    let rollback = control.begin("POST", "/rollback", "");
    fleet.console.wait_for("rolling back generation 2: ");
    send(fleet.master(), Signal::SIGHUP);
    let superseded = rollback.answer();
    assert!(superseded.is(409, "superseded"), "{superseded:?}");
    fleet.stop();
}

#[test]
fn second_operation_is_told_what_is_under_way_and_a_client_that_goes_changes_nothing() {
    let control = ControlPath::default();
    let (fleet, gate) = gated(&control);
    let reload = control.begin("POST", "/reload", "");
    let operation = "\"operation\":{\"name\":\"reload\",\"generation\":1,\"replaced\":0,\"of\":2,";
    wait::until("reload under way", || control.get("/status").says(operation));
    let busy = control.post("/upgrade");
    assert!(busy.is(409, "busy"), "{busy:?}");
    assert!(busy.says("\"operation\":\"upgrade\"") && busy.says("a reload is under way for "), "{busy:?}");
    assert!(busy.says(&format!("(pid {}); 0 of 2 children so far", std::process::id())), "{busy:?}");
    assert!(control.post("/reload").is(409, "busy"));
    drop(reload);
    gate.open();
    fleet.console.wait_for("reloaded: every child is of generation 1");
    wait::until("end of the operation", || control.get("/status").says("\"operation\":null"));
    assert_eq!(fleet.console.lines_with("requests").len(), 1, "refused ones change nothing");
    fleet.stop();
}

#[test]
fn client_that_has_closed_its_own_half_is_answered() {
    let control = ControlPath::default();
    let (fleet, gate) = gated(&control);
    let reload = control.begin("POST", "/reload", "");
    reload.close_own_half();
    fleet.console.wait_for("requests a reload");
    gate.open();
    assert!(reload.answer().is(200, "done"));
    fleet.stop();
}

#[test]
fn progress_is_told_in_lines() {
    let control = ControlPath::default();
    let (fleet, gate) = gated(&control);
    let mut lines = control.begin("POST", "/reload", LINES).lines();
    assert_eq!(lines.next().unwrap(), "{\"replaced\":0,\"of\":2}");
    gate.open();
    let rest: Vec<String> = lines.collect();
    let (last, rest) = rest.split_last().unwrap();
    assert!(last.contains("\"result\":\"done\""), "{last}");
    // A client may be told of two steps at once.
    assert!(rest.iter().all(|line| line == "{\"replaced\":1,\"of\":2}") && rest.len() <= 1, "{rest:#?}");
    let refused = control.begin("POST", "/recycle?slot=9", LINES).answer();
    assert!(refused.is(200, "refused"), "the status is sent before the result is known: {refused:?}");
    assert_eq!(control.begin("POST", "/recycle", LINES).answer().status, 400);
    fleet.stop();
}

#[test]
fn failed_reload_is_answered_with_what_is_known_of_the_child() {
    let control = ControlPath::default();
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server).start();
    set_next("boot=exit1");
    let answer = control.post("/reload");
    assert!(answer.is(500, "aborted"), "{answer:?}");
    assert!(answer.says("reload aborted: new child 0 failed; 0 of 2 children replaced"), "{answer:?}");
    assert!(answer.says("exited before it was ready: status 1\""), "{answer:?}");
    assert_eq!(fleet.children().len(), 2);
    let answer = control.post("/recycle?slot=1");
    assert!(answer.is(500, "aborted") && answer.says("child 1 is not replaced yet"), "{answer:?}");
    assert!(answer.says("exited before it was ready: status 1\""), "{answer:?}");
    let answer = control.post("/workers?count=3");
    assert!(answer.is(500, "aborted") && answer.says("new child 2 failed before it was ready"), "{answer:?}");
    set_next("");
    assert!(control.post("/reload").is(200, "done"), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn reload_that_cannot_begin_is_refused_with_the_reason() {
    let control = ControlPath::default();
    let program = ProgramCopy::new(SERVER);
    let fleet = control.of(Server::new(program.path())).start();
    fs::remove_file(program.path()).unwrap();
    for (target, purpose) in [("/reload", "reload"), ("/upgrade", "upgrade")] {
        let answer = control.post(target);
        assert!(answer.is(422, "refused"), "{answer:?}");
        assert!(
            answer.says(&format!("cannot {purpose}: ")) && answer.says("the fleet is unchanged"),
            "{answer:?}"
        );
    }
    fleet.stop();
}

#[test]
fn signal_takes_the_place_of_an_operation() {
    let control = ControlPath::default();
    let (fleet, gate) = gated(&control);
    let reload = control.begin("POST", "/reload", "");
    fleet.console.wait_for("requests a reload");
    fleet.signal(Signal::SIGHUP);
    let answer = reload.answer();
    assert!(answer.is(409, "superseded"), "{answer:?}");
    gate.open();
    fleet.console.wait_for("reloaded: every child is of generation 2");
    fleet.stop();
}

#[test]
fn stop_is_answered_when_the_children_are_gone_and_everything_is_free() {
    let control = ControlPath::default();
    let mut fleet = control.of(Server::new(SERVER)).start();
    let answer = control.post("/stop");
    assert!(answer.is(200, "done") && answer.says("\"replaced\":2,\"of\":2,"), "{answer:?}");
    assert!(client::is_refused(fleet.addr()) && !control.path().exists());
    assert!(fleet.children().is_empty());
    // Another master can start at once.
    let next = control.of(Server::new(SERVER).set("addr", fleet.addr())).start();
    assert_eq!(fleet.wait().code(), Some(0));
    next.stop();
}

#[test]
fn stop_ends_an_operation_that_hangs_and_a_stop_at_once_ends_both() {
    let (control, gate) = (ControlPath::default(), ResponseGate::new());
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server.gate(&gate)).start();
    set_next("boot=hang");
    // It keeps its child until the grace is over.
    let request = client::begin(fleet.addr(), "/gate");
    let reload = control.begin("POST", "/reload", "");
    fleet.console.wait_for("requests a reload");
    let stop = control.begin("POST", "/stop", "");
    let answer = reload.answer();
    assert!(answer.is(409, "cancelled") && answer.says("a stop was requested"), "{answer:?}");
    fleet.console.wait_for("stopping: ");
    let busy = control.post("/stop");
    assert!(busy.is(409, "busy") && busy.says("a stop is under way for"), "{busy:?}");
    assert!(control.post("/reload").is(409, "busy"));
    assert!(proc::is_alive(request.pid()));
    assert!(control.post("/stop?now=1").is(200, "done"));
    assert!(stop.answer().is(200, "done"));
    let outcome = fleet.expect_end();
    assert!(outcome.status.success(), "{:?}", outcome.stderr);
}

#[test]
fn operation_is_answered_when_the_fleet_fails_meanwhile() {
    let control = ControlPath::default();
    let (server, set_next) = changeable(SERVER);
    let fleet = control.of(server.env("PREFORK_RECOVER", "0")).start();
    set_next("boot=hang");
    let reload = control.begin("POST", "/reload", "");
    fleet.console.wait_for("requests a reload");
    send(fleet.first_children()[1], Signal::SIGKILL);
    let answer = reload.answer();
    assert!(answer.is(409, "cancelled"), "{answer:?}");
    assert!(!fleet.expect_end().status.success());
}
