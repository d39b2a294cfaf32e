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
use std::path::PathBuf;
use std::process::Stdio;

use prefork_tests::control::ControlPath;
use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::{Signal, send};
use prefork_tests::status::{Row, Status};
use prefork_tests::{client, metrics, proc, wait};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_preload_server");

/// A server, a file with the pids of the processes that have loaded, and one with options that can change.
struct Loads {
    directory: TempDir,
}

impl Loads {
    fn new() -> Self {
        let loads = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(loads.next(), "").unwrap();
        loads
    }

    fn server(&self) -> Server {
        self.of(Server::new(SERVER))
    }

    fn of(&self, server: Server) -> Server {
        let path = self.directory.path().join("loads");
        server.set("loads", path.display()).set("next", self.next().display())
    }

    fn next(&self) -> PathBuf {
        self.directory.path().join("next")
    }

    /// From now on the server's option `load` has this value.
    fn change(&self, load: &str) {
        fs::write(self.next(), format!("load={load}\n")).unwrap();
    }

    fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.directory.path().join("loads")).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

/// The template that the console has named last, and that lives.
fn template(fleet: &RunningFleet) -> u32 {
    wait::for_value_or(
        || format!("a template; {:#?}", fleet.console.lines()),
        || {
            let lines = fleet.console.lines();
            let ready =
                lines.iter().rfind(|line| line.contains("template of") && line.contains(" is ready"))?;
            let (_, rest) = ready.split_once("(pid ")?;
            let pid = rest.split_once(')')?.0.parse().ok()?;
            proc::is_alive(pid).then_some(pid)
        },
    )
}

/// The sockets that a process holds, each once.
fn sockets(pid: u32) -> BTreeSet<String> {
    let sockets = proc::descriptors(pid).into_iter().map(|(_, target)| target);
    sockets.filter(|target| target.starts_with("socket:")).collect()
}

fn get(fleet: &RunningFleet, path: &str) -> String {
    client::try_get(fleet.addr(), path)
        .unwrap_or_else(|error| panic!("{error}; {:#?}", fleet.console.lines()))
}

#[test]
fn children_are_the_masters_and_have_what_the_template_has_loaded() {
    let loads = Loads::new();
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
fn killed_child_is_forked_again_without_another_load() {
    let loads = Loads::new();
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
    let loads = Loads::new();
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
fn reload_loads_again_in_a_new_template() {
    let loads = Loads::new();
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
    let (loads, gate) = (Loads::new(), ResponseGate::new());
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
    let loads = Loads::new();
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
    let loads = Loads::new();
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
    let (loads, control) = (Loads::new(), ControlPath::default());
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
fn events_of_a_template_have_its_pid() {
    let (loads, control) = (Loads::new(), ControlPath::default());
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
fn thread_that_load_leaves_behind_is_named() {
    let outcome = Loads::new().server().set("load", "thread").run();
    let is_named =
        |line: &str| line.contains("it cannot fork children: it has threads") && line.contains("`helper`");
    assert!(outcome.stderr.iter().any(|line| is_named(line)) && is_named(outcome.error()), "{outcome:#?}");
    assert_eq!(outcome.status.code(), Some(1));
}

#[test]
fn killed_template_is_started_again_and_its_children_serve_on() {
    let loads = Loads::new();
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

fn templates(fleet: &RunningFleet) -> Vec<Row> {
    Status::of(fleet.health_addr()).templates()
}

/// Generation, pid and state of each template.
fn states(rows: &[Row]) -> Vec<(u32, Option<u32>, String)> {
    let state = |row: &Row| (row.get("generation").unwrap(), row.get("pid"), row.get("state").unwrap());
    rows.iter().map(state).collect()
}

#[test]
fn status_has_the_templates_while_they_load_serve_and_wait() {
    let (loads, gate) = (Loads::new(), ResponseGate::new());
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
    let loads = Loads::new();
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
    let loads = Loads::new();
    // Otherwise a child that is killed again and again is started ever more slowly.
    let fleet = loads.server().set("workers", 4).set("recover", 100_000).start();
    for round in 0..20 {
        let (victims, template) = (fleet.children(), template(&fleet));
        // The template is killed before, while or after it forks.
        victims.iter().for_each(|victim| send(*victim, Signal::SIGKILL));
        std::thread::sleep(std::time::Duration::from_micros(300 * round));
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
    let loads = Loads::new();
    let fleet = loads.server().set("load", "hang").launch();
    wait::until("a load", || loads.pids().len() == 1);
    fleet.stop();
}

#[test]
fn template_ends_with_its_master_also_while_it_loads() {
    for load in ["", "hang"] {
        let loads = Loads::new();
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
fn fleet_grows_and_shrinks() {
    let loads = Loads::new();
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
    let loads = Loads::new();
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
fn max_rss_counts_what_a_child_takes_and_not_what_others_leave_to_it() {
    const LIMIT: u64 = 32 << 20;
    let (loads, gate) = (Loads::new(), ResponseGate::new());
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
    let loads = Loads::new();
    let server = loads.server().set("workers", 1).env("PREFORK_LANDLOCK_READ", "/usr:/lib:/etc");
    let server = server.env("PREFORK_LANDLOCK_WRITE", loads.directory.path().to_str().unwrap());
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
fn template_that_does_not_fork_has_a_state_of_its_own() {
    let loads = Loads::new();
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
fn load_that_takes_too_long_ends_the_start_with_the_option_that_limits_it() {
    let outcome = Loads::new().server().set("load", "hang").set("start_timeout", "300ms").run();
    let error = outcome.error();
    let reason = "was not ready within 300ms (`start_timeout`)";
    assert!(error.contains("template of generation 0 (pid ") && error.contains(reason), "{error}");
}

#[test]
fn upgrade_starts_a_template_of_the_new_program() {
    let loads = Loads::new();
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
    let loads = Loads::new();
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
    let loads = Loads::new();
    let outcome = loads.of(Server::through(&[env!("CARGO_BIN_EXE_forbid"), "clone"], SERVER)).run();
    assert!(outcome.error().contains("its template cannot fork: operation not permitted"), "{outcome:#?}");
    assert_eq!((outcome.status.code(), loads.pids().len()), (Some(1), 1), "{outcome:#?}");
}

#[test]
fn without_children_the_master_loads() {
    let loads = Loads::new();
    let mut server = loads.server().set("workers", 0);
    server.command.stdout(Stdio::null());
    let fleet = server.launch();
    wait::until("an answer", || client::try_get(fleet.addr(), "/value").is_ok());
    assert_eq!(get(&fleet, "/loaded-by"), fleet.master().to_string());
    fleet.stop();
}

#[test]
fn what_was_loaded_is_not_dropped_and_what_was_buffered_is_written_once() {
    let (loads, directory) = (Loads::new(), tempfile::tempdir().unwrap());
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
