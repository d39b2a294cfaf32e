//! Children that a template forks, which has loaded for all of them.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use prefork_tests::control::ControlPath;
use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::preload::{Loads, get, template};
use prefork_tests::signal::{Signal, send};
use prefork_tests::status::Status;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_preload_server");

/// The sockets that a process holds, each once.
fn sockets(pid: u32) -> BTreeSet<String> {
    let sockets = proc::descriptors(pid).into_iter().map(|(_, target)| target);
    sockets.filter(|target| target.starts_with("socket:")).collect()
}

#[test]
fn children_are_the_masters_and_have_what_the_template_has_loaded() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let template = template(&fleet);
    assert_eq!(loads.pids(), [template]);
    assert_eq!(get(&fleet, "/loaded-by"), template.to_string());
    assert_eq!(get(&fleet, "/value"), (1 << 20).to_string());
    assert_eq!(proc::parent(template), Some(fleet.master()));
    let children = fleet.children();
    assert_eq!(children, fleet.first_children());
    for child in &children {
        assert_eq!((proc::parent(*child), proc::group(*child)), (Some(fleet.master()), Some(*child)));
    }
    // One socket is its link to the master: it holds none of a child, and no listener. No child holds that link.
    let links = sockets(template);
    assert_eq!(links.len(), 1, "{:?}", proc::descriptors(template));
    for child in &children {
        assert!(sockets(*child).is_disjoint(&links), "{:?}", proc::descriptors(*child));
    }
    assert_eq!(proc::thread_count(template), 1);
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("dropped")), "{lines:#?}");
}

#[test]
fn reload_loads_again_in_a_new_template() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let (before, old) = (fleet.children(), template(&fleet));
    fleet.operate(Signal::SIGHUP, 1, "every child is of generation 1");
    fleet.wait_for_children(2, &before);
    wait::until("end of the old template", || !proc::is_alive(old));
    let new = template(&fleet);
    assert_eq!(loads.pids(), [old, new]);
    assert_eq!(get(&fleet, "/loaded-by"), new.to_string());
    fleet.stop();
}

#[test]
fn reload_that_another_one_replaces_while_it_loads_ends_with_a_line_and_with_its_template() {
    let (loads, gate) = (Loads::new(SERVER), ResponseGate::new());
    let fleet = loads.server().gate(&gate).start();
    let before = fleet.children();
    loads.change("gate");
    fleet.signal(Signal::SIGHUP);
    wait::until("another load", || loads.pids().len() == 2);
    let replaced = loads.pids()[1];
    loads.change("");
    fleet.operate(Signal::SIGHUP, 1, "every child is of generation 2");
    let lines = fleet.console.lines_with("reload to generation 1 aborted: a later request takes its place");
    assert_eq!(lines.len(), 1, "{:#?}", fleet.console.lines());
    fleet.wait_for_children(2, &before);
    wait::until("end of its template", || !proc::is_alive(replaced));
    fleet.stop();
}

#[test]
fn load_that_fails_at_the_start_ends_the_fleet() {
    let loads = Loads::new(SERVER);
    let outcome = loads.server().set("load", "fail").run();
    assert!(outcome.stderr.iter().any(|line| line.contains("cannot start: load failed: no such index")));
    let error = outcome.error();
    assert!(
        error.contains("template of generation 0 (pid ") && error.contains("load failed: no such index"),
        "{error}"
    );
    assert_eq!(loads.pids().len(), 1);
}

#[test]
fn load_that_fails_in_a_reload_keeps_the_old_children() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let (before, old) = (fleet.children(), template(&fleet));
    loads.change("fail");
    fleet.operate(Signal::SIGHUP, 1, "reload aborted");
    assert_eq!(fleet.children(), before);
    assert_eq!(get(&fleet, "/loaded-by"), old.to_string());
    // The old template forks children of the old generation.
    send(before[0], Signal::SIGKILL);
    fleet.wait_for_children(2, &before[..1]);
    assert_eq!(get(&fleet, "/loaded-by"), old.to_string());
    loads.change("");
    fleet.operate(Signal::SIGHUP, 1, "every child is of generation 2");
    fleet.stop();
}

#[test]
fn outcome_of_a_reload_and_the_events_have_the_reason_that_the_template_gives() {
    let (loads, control) = (Loads::new(SERVER), ControlPath::default());
    let fleet = control.of(loads.server()).start();
    let events = control.begin("GET", "/events", "");
    assert_eq!(control.get("/livez").status, 200);
    for (load, reason) in
        [("fail", "load failed: no such index"), ("panic", "no such index"), ("thread", "`helper`")]
    {
        loads.change(load);
        let answer = control.post("/reload");
        assert!(answer.is(500, "aborted") && answer.says(reason), "{load}: {answer:?}");
    }
    fleet.stop();
    let events = events.answer().body;
    let told = |event: &str| events.lines().find(|line| line.contains(event)).unwrap_or_default();
    for (number, event) in [(1, "load failed"), (2, "panicked at"), (3, "it has threads")] {
        let line = told(event);
        let from = format!("\"generation\":{number},\"from\":\"template\"");
        assert!(line.contains(&from) && !line.contains("slot"), "{events}");
    }
}

#[test]
fn thread_that_load_leaves_behind_is_named() {
    let outcome = Loads::new(SERVER).server().set("load", "thread").run();
    let is_named =
        |line: &str| line.contains("it cannot fork children: it has threads") && line.contains("`helper`");
    assert!(outcome.stderr.iter().any(|line| is_named(line)) && is_named(outcome.error()), "{outcome:#?}");
    assert_eq!(outcome.status.code(), Some(1));
}

#[test]
fn max_rss_counts_what_a_child_takes_and_not_what_others_leave_to_it() {
    const LIMIT: u64 = 32 << 20;
    let (loads, gate) = (Loads::new(SERVER), ResponseGate::new());
    // With that option a child looks ten times in a second.
    let server = loads.server().gate(&gate).set("workers", 1).set("size", 64).set("health", "127.0.0.1:0");
    let server = server.env("PREFORK_MAX_RSS", &LIMIT.to_string()).env("PREFORK_HANG_TIMEOUT", "800ms");
    let fleet = server.start();
    let (child, template) = (fleet.children(), template(&fleet));
    let private = || Status::of(fleet.health_addr()).children()[0].get::<u64>("private_bytes").unwrap();
    assert!(private() < LIMIT);
    loads.change("gate");
    send(template, Signal::SIGKILL);
    // What it shared is its own now.
    wait::until("a child alone", || private() > LIMIT);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!fleet.console.says("is larger than `max_rss`"), "{:#?}", fleet.console.lines());
    get(&fleet, "/grow");
    fleet.console.wait_for("is larger than `max_rss`");
    gate.open();
    fleet.wait_for_children(1, &child);
    fleet.stop();
}

#[test]
fn confined_child_reads_its_own_size_and_nothing_else_in_proc() {
    let loads = Loads::new(SERVER);
    let server = loads.server().set("workers", 1).env("PREFORK_LANDLOCK_READ", "/usr:/lib:/etc");
    let server = server.env("PREFORK_LANDLOCK_WRITE", loads.path().to_str().unwrap());
    let server = server.env("PREFORK_MAX_RSS", "32MiB").env("PREFORK_HANG_TIMEOUT", "800ms");
    let fleet = server.start();
    let child = fleet.children();
    assert_eq!(get(&fleet, "/read/proc/self/comm").trim(), "true");
    assert_eq!(get(&fleet, &format!("/read/proc/{}/comm", fleet.master())).trim(), "false");
    get(&fleet, "/grow");
    fleet.console.wait_for("is larger than `max_rss`");
    fleet.wait_for_children(1, &child);
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("cannot read its size")), "{lines:#?}");
}

#[test]
fn upgrade_starts_a_template_of_the_new_program() {
    let loads = Loads::new(SERVER);
    let fleet = loads.server().start();
    let (before, old) = (fleet.children(), template(&fleet));
    fleet.operate(Signal::SIGUSR2, 1, "every child is of generation 1");
    fleet.wait_for_children(2, &before);
    assert!(!proc::is_alive(old));
    assert_eq!(get(&fleet, "/loaded-by"), template(&fleet).to_string());
    wait::until("no zombie", || proc::zombies(fleet.master()).is_empty());
    fleet.stop();
}

/// As with a C library that a template would not work with: what it asks the system is refused.
#[cfg(target_arch = "x86_64")]
#[test]
fn where_there_is_no_template_each_child_loads() {
    let loads = Loads::new(SERVER);
    let fleet = loads.of(Server::through(&[env!("CARGO_BIN_EXE_forbid"), "prctl"], SERVER)).start();
    assert!(fleet.console.says("each child loads for itself what `preload` gives"));
    assert_eq!(loads.pids().len(), 2);
    assert!(proc::children(fleet.master()).iter().all(|child| !proc::is_template(*child)));
    fleet.replace(&fleet.first_children()[..1]);
    assert_eq!(loads.pids().len(), 3);
    fleet.stop();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn template_that_may_not_fork_ends_the_start_with_that_reason() {
    let loads = Loads::new(SERVER);
    let outcome = loads.of(Server::through(&[env!("CARGO_BIN_EXE_forbid"), "clone"], SERVER)).run();
    assert!(outcome.error().contains("its template cannot fork: operation not permitted"), "{outcome:#?}");
    assert_eq!((outcome.status.code(), loads.pids().len()), (Some(1), 1), "{outcome:#?}");
}

#[test]
fn without_children_the_master_loads() {
    let loads = Loads::new(SERVER);
    let mut server = loads.server().set("workers", 0);
    server.command.stdout(Stdio::null());
    let fleet = server.launch();
    wait::until("an answer", || client::try_get(fleet.addr(), "/value").is_ok());
    assert_eq!(get(&fleet, "/loaded-by"), fleet.master().to_string());
    fleet.stop();
}

#[test]
fn what_was_loaded_is_not_dropped_and_what_was_buffered_is_written_once() {
    let (loads, directory) = (Loads::new(SERVER), tempfile::tempdir().unwrap());
    let output = directory.path().join("output");
    let mut server = loads.server();
    server.command.stdout(fs::File::create(&output).unwrap());
    let fleet = server.start();
    let before = fleet.children();
    send(before[0], Signal::SIGTERM);
    fleet.wait_for_children(2, &before[..1]);
    let ended = template(&fleet);
    fleet.operate(Signal::SIGHUP, 1, "every child is of generation 1");
    wait::until("end of the old template", || !proc::is_alive(ended));
    let lines = fleet.stop();
    assert!(!lines.iter().any(|line| line.contains("the data was dropped")), "{lines:#?}");
    // Once for each template.
    assert_eq!(fs::read_to_string(&output).unwrap(), "buffered".repeat(2));
}

#[test]
fn template_that_has_changed_its_user_cannot_be_traced_and_its_children_are_as_executed_ones() {
    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    // The owner of these files is root if the process cannot be traced by its user.
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    let directory = prefork_tests::program::public_directory();
    let server = Server::new(SERVER).set("next", directory.path().join("none").display());
    let fleet = server.env("PREFORK_USER", "nobody").env("PREFORK_NO_NEW_PRIVS", "true").start();
    let (children, template) = (fleet.children(), template(&fleet));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(owner(template), 0);
    for pid in children.iter().copied().chain([template]) {
        let user = proc::status_field(pid, "Uid").unwrap();
        assert!(user.split_whitespace().all(|uid| uid == nobody.to_string()), "{user}");
        assert_eq!(proc::status_field(pid, "NoNewPrivs").unwrap().trim(), "1");
    }
    children.iter().for_each(|child| assert_eq!(owner(*child), nobody));
    fleet.stop();
}

#[test]
fn attribute_takes_a_function_that_can_fail() {
    const SERVER: &str = env!("CARGO_BIN_EXE_preload_attribute_server");
    let fleet = Server::new(SERVER).start();
    let answer = get(&fleet, "/index");
    assert_eq!(answer.split(' ').next(), Some(template(&fleet).to_string().as_str()), "{answer}");
    fleet.stop();
    let outcome = Server::new(SERVER).set("load", "fails").run();
    let failed = outcome.stderr.iter().any(|line| line.contains("load failed: no such index"));
    assert!(failed, "{outcome:#?}");
}
