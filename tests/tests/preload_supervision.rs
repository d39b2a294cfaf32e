//! Templates that are killed, stopped or late, and what is told of them.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::time::Duration;

use prefork_tests::control::ControlPath;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::preload::{Loads, get, template};
use prefork_tests::signal::{Signal, send};
use prefork_tests::status::{Row, Status};
use prefork_tests::{client, metrics, proc, wait};

const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");
const SERVER: &str = env!("CARGO_BIN_EXE_preload_server");

fn templates(fleet: &RunningFleet) -> Vec<Row> {
    Status::of(fleet.health_addr()).templates()
}

/// Generation, pid and state of each template.
fn states(rows: &[Row]) -> Vec<(u32, Option<u32>, String)> {
    let state = |row: &Row| (row.get("generation").unwrap(), row.get("pid"), row.get("state").unwrap());
    rows.iter().map(state).collect()
}

#[test]
fn killed_child_is_forked_again_without_another_load() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().set("recover", 100_000).start();
    for _ in 0..10 {
        let victim = fleet.children()[0];
        send(victim, Signal::SIGKILL);
        fleet.wait_for_children(2, &[victim]);
        fleet.console.wait_for(&format!("in place of pid {victim}"));
    }
    get(&fleet, "/value");
    assert_eq!(loads.pids(), [template(&fleet)]);
    fleet.stop();
}

#[test]
fn abort_in_a_child_ends_that_child_only() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let (before, template) = (fleet.children(), template(&fleet));
    assert!(client::try_get(fleet.addr(), "/abort").is_err());
    let gone = before.iter().find(|child| !proc::is_alive(**child));
    let gone =
        *wait::for_value("end of a child", || gone.or(before.iter().find(|one| !proc::is_alive(**one))));
    fleet.console.wait_for("SIGABRT");
    fleet.wait_for_children(2, &[gone]);
    assert!(proc::is_alive(template));
    fleet.stop();
}

#[test]
fn events_of_a_template_have_its_pid() {
    let (loads, control) = (Loads::new(SERVER), ControlPath::default());
    let fleet = control.of(loads.server()).start();
    let events = control.begin("GET", "/events", "");
    assert_eq!(control.get("/livez").status, 200);
    let old = template(&fleet);
    send(old, Signal::SIGKILL);
    wait::until("another template", || loads.pids().len() == 2);
    let new = template(&fleet);
    fleet.stop();
    let events = events.answer().body;
    for (event, pid) in [("template_ended", old), ("template_started", new), ("template_ready", new)] {
        let fields = format!("\"event\":\"{event}\",\"pid\":{pid},\"generation\":0,");
        assert!(events.contains(&fields), "{fields}: {events}");
    }
}

#[test]
fn killed_template_is_started_again_and_its_children_serve_on() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let (before, old) = (fleet.children(), template(&fleet));
    send(old, Signal::SIGKILL);
    fleet.console.wait_for("its children serve on");
    let new = template(&fleet);
    assert_ne!(new, old);
    assert_eq!(fleet.children(), before);
    assert_eq!(get(&fleet, "/loaded-by"), old.to_string());
    before.iter().for_each(|child| send(*child, Signal::SIGKILL));
    fleet.wait_for_children(2, &before);
    assert_eq!(get(&fleet, "/loaded-by"), new.to_string());
    fleet.stop();
}

#[test]
fn status_has_the_templates_while_they_load_serve_and_wait() {
    let (loads, gate) = (Loads::new(SERVER), ResponseGate::new());
    let fleet = loads.server().set("health", "127.0.0.1:0").set("size", 64).gate(&gate).start();
    let old = template(&fleet);
    let ready = templates(&fleet);
    assert_eq!(states(&ready), [(0, Some(old), "ready".to_owned())]);
    assert!(ready[0].get::<u64>("resident_bytes").unwrap() > 64 << 20, "{ready:?}");
    assert!(ready[0].get::<f64>("age_seconds").is_some(), "{ready:?}");
    // It is read of as many children at a time as there is time for.
    let children = wait::for_value("the private memory of each child", || {
        let children = Status::of(fleet.health_addr()).children();
        children.iter().all(|child| child.get::<u64>("private_bytes").is_some()).then_some(children)
    });
    for child in children {
        let (resident, private) = (child.get::<u64>("resident_bytes"), child.get::<u64>("private_bytes"));
        assert!(resident.unwrap() > 64 << 20 && private.unwrap() < 32 << 20, "{child:?}");
    }
    let private = metrics::scrape(fleet.health_addr()).sum("prefork_slot_private_memory_bytes");
    assert!(private > 0.0 && private < f64::from(64 << 20), "{private}");
    loads.change("gate");
    fleet.signal(Signal::SIGHUP);
    wait::until("another load", || loads.pids().len() == 2);
    let new = loads.pids()[1];
    let metrics = metrics::wait_for_value(&fleet, "prefork_templates{state=\"loading\"}", 1.0);
    assert_eq!(metrics.get("prefork_templates{state=\"ready\"}"), 1.0);
    let resident = metrics.get("prefork_template_resident_memory_bytes");
    // The old one has loaded; what a process has while it starts is less.
    assert!(resident > f64::from(64 << 20) && resident < f64::from(128 << 20), "{resident}");
    let both = [(0, Some(old), "ready".to_owned()), (1, Some(new), "loading".to_owned())];
    wait::until("a template that loads", || states(&templates(&fleet)) == both);
    gate.open();
    fleet.console.wait_for("every child is of generation 1");
    let expected = [(1, Some(new), "ready".to_owned())];
    wait::until("the new one alone", || states(&templates(&fleet)) == expected);
    loads.change("fail");
    send(new, Signal::SIGKILL);
    let expected = [(1, None, "waiting".to_owned())];
    let waiting = wait::for_value("a template that waits", || {
        Some(templates(&fleet)).filter(|rows| states(rows) == expected)
    });
    assert_eq!(waiting[0].get::<u64>("resident_bytes"), None);
    assert!(waiting[0].get::<f64>("starts_in_seconds").is_some_and(|left| left <= 30.0), "{waiting:?}");
    let metrics = metrics::scrape(fleet.health_addr());
    assert_eq!(metrics.sum("prefork_templates"), 1.0);
    fleet.stop();
}

#[test]
fn child_that_dies_while_its_template_loads_is_started_when_it_has_loaded() {
    let loads = Loads::new(SERVER);
    let gate = ResponseGate::new();
    let fleet = loads.server().gate(&gate).start();
    let (before, old) = (fleet.children(), template(&fleet));
    loads.change("gate");
    send(old, Signal::SIGKILL);
    wait::until("another load", || loads.pids().len() == 2);
    send(before[0], Signal::SIGKILL);
    fleet.console.wait_for("waits for the template of generation 0");
    get(&fleet, "/loaded-by");
    gate.open();
    fleet.wait_for_children(2, &before[..1]);
    assert_eq!(loads.pids().len(), 2);
    fleet.stop();
}

#[test]
fn children_and_template_that_are_killed_together_come_back() {
    let loads = Loads::new(SERVER);
    // Otherwise a child that is killed again and again is started ever more slowly.
    let fleet = loads.server().set("workers", 4).set("recover", 100_000).start();
    for round in 0..20 {
        let (victims, template) = (fleet.children(), template(&fleet));
        // The template is killed before, while or after it forks.
        victims.iter().for_each(|victim| send(*victim, Signal::SIGKILL));
        std::thread::sleep(Duration::from_micros(300 * round));
        send(template, Signal::SIGKILL);
        fleet.wait_for_children(4, &victims);
        wait::until("another template", || {
            fleet.console.lines_with(") is ready after").len() as u64 >= round + 2
        });
    }
    get(&fleet, "/value");
    wait::until("no zombie", || proc::zombies(fleet.master()).is_empty());
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("unexpected")), "{lines:#?}");
}

#[test]
fn stop_while_a_template_loads_does_not_wait_for_it() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().set("load", "hang").launch();
    wait::until("a load", || loads.pids().len() == 1);
    fleet.stop();
}

#[test]
fn template_ends_with_its_master_also_while_it_loads() {
    for load in ["", "hang"] {
        let loads = Loads::new(SERVER);
        let mut fleet = loads.server().set("load", load).launch();
        wait::until("a load", || loads.pids().len() == 1);
        if load.is_empty() {
            fleet.console.wait_for("ready (pids");
        }
        fleet.signal(Signal::SIGKILL);
        fleet.wait();
        wait::until("end of every process", || fleet.processes().is_empty());
    }
}

#[test]
fn child_more_is_forked_by_the_same_template() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    fleet.signal(Signal::SIGTTIN);
    fleet.wait_for_children(3, &[]);
    fleet.signal(Signal::SIGTTOU);
    fleet.wait_for_children(2, &[]);
    assert_eq!(loads.pids().len(), 1);
    fleet.stop();
}

#[test]
fn stopped_template_is_replaced_when_it_does_not_fork() {
    let loads = Loads::new(SERVER);
    let mut fleet = loads.server().set("start_timeout", "1s").start();
    let (before, old) = (fleet.children(), template(&fleet));
    send(old, Signal::SIGSTOP);
    send(before[0], Signal::SIGKILL);
    fleet.console.wait_for("did not fork a child within 1s (`start_timeout`); killing it");
    fleet.wait_for_children(2, &before[..1]);
    assert_ne!(template(&fleet), old);
    // Not `stop`, which wants that nothing was killed.
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
}

#[test]
fn template_that_does_not_fork_has_a_state_of_its_own() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().set("health", "127.0.0.1:0").start();
    let (before, template) = (fleet.children(), template(&fleet));
    send(template, Signal::SIGSTOP);
    send(before[0], Signal::SIGKILL);
    let expected = [(0, Some(template), "forking".to_owned())];
    wait::until("a template that does not answer", || states(&templates(&fleet)) == expected);
    send(template, Signal::SIGCONT);
    fleet.wait_for_children(2, &before[..1]);
    let expected = [(0, Some(template), "ready".to_owned())];
    wait::until("a template that has answered", || states(&templates(&fleet)) == expected);
    fleet.stop();
}

#[test]
fn template_that_is_executed_late_has_its_whole_time_to_load() {
    let (gate, timeout) = (ResponseGate::new(), Duration::from_secs(5));
    let server = Server::new(HOOKS_SERVER).set("preload", "yes").set("produces", "waits");
    let fleet = server.set("start_timeout", "5s").gate(&gate).launch();
    fleet.console.wait_for("listening on");
    // The time is over when `command_producer` returns, which was called a moment after that line.
    std::thread::sleep(timeout + Duration::from_millis(500));
    gate.open();
    fleet.console.wait_for("2 children ready");
    fleet.stop();
}

#[test]
fn load_that_takes_too_long_ends_the_start_with_the_option_that_limits_it() {
    let outcome = Loads::new(SERVER).server().set("load", "hang").set("start_timeout", "300ms").run();
    let error = outcome.error();
    let reason = "was not ready within 300ms (`start_timeout`)";
    assert!(error.contains("template of generation 0 (pid ") && error.contains(reason), "{error}");
}
