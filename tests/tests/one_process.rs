//! `workers = 0`: one process that serves by itself, without children.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::signal::Signal;
use prefork_tests::tls::{TestCertificate, TlsClient};
use prefork_tests::{client, wait};
#[cfg(unix)]
use prefork_tests::{proc, skip::skipped};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");
const ARGUMENTS_SERVER: &str = env!("CARGO_BIN_EXE_arguments_server");
const ATTRIBUTE_SERVER: &str = env!("CARGO_BIN_EXE_attribute_server");
const ENDING_SERVER: &str = env!("CARGO_BIN_EXE_ending_server");
const FALLIBLE_ARGUMENTS_SERVER: &str = env!("CARGO_BIN_EXE_fallible_arguments_server");
const FLEET_HANDLE_SERVER: &str = env!("CARGO_BIN_EXE_fleet_handle_server");
#[cfg(unix)]
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");
const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");

fn server(executable: &str) -> Server {
    Server::new(executable).set("workers", 0)
}

fn start(server: Server) -> RunningFleet {
    let process = server.launch();
    process.console.wait_for("ready; stop with ");
    process
}

/// The process serves by itself, and no other one exists.
fn assert_is_alone(process: &RunningFleet) {
    assert_eq!(client::serving_pid(process.addr()), process.master());
    assert_eq!(process.children(), Vec::<u32>::new());
    assert_eq!(process.processes(), [process.master()]);
    assert_eq!(process.children_started(), 0);
}

#[test]
fn process_serves_by_itself_and_stops() {
    for executable in [SERVER, TOKIO_SERVER] {
        let process = start(server(executable));
        process.console.wait_for(&format!("without children; pid {}", process.master()));
        assert_is_alone(&process);
        let lines = process.stop();
        assert!(lines.last().unwrap().ends_with("stopped"), "{lines:#?}");
    }
    let process = start(server(SERVER));
    assert_eq!(client::get(process.addr(), "/role"), "false", "it is no child");
    process.stop();
}

#[test]
fn stop_finishes_what_is_in_flight_and_probes_fail_meanwhile() {
    for executable in [SERVER, TOKIO_SERVER] {
        let gate = ResponseGate::new();
        let process = start(server(executable).gate(&gate).env("PREFORK_HEALTH", "127.0.0.1:0"));
        let (addr, health) = (process.addr(), process.health_addr());
        wait::until("/readyz to be 200", || client::status(health, "/readyz").unwrap() == 200);
        let pid = process.master();
        let status = client::get(health, "/status");
        let child = format!(r#""children":[{{"slot":0,"pid":{pid},"generation":0,"state":"ready","#);
        assert!(
            status.contains(r#""slots":1,"ready":1,"failures":0,"#) && status.contains(&child),
            "{status}"
        );
        let in_flight = client::begin_many(addr, "/gate", 4);
        process.signal(Signal::SIGTERM);
        process.wait_until_it_refuses();
        assert_eq!(client::status(health, "/readyz").unwrap(), 503);
        assert_eq!(client::status(health, "/livez").unwrap(), 200);
        gate.open();
        assert_eq!(client::finish_all(in_flight), vec![process.master().to_string(); 4]);
        process.expect_stopped();
    }
}

// On Windows what is queued is reset.
#[cfg(unix)]
#[test]
fn stop_serves_what_is_queued() {
    let gate = ResponseGate::new();
    let process = start(server(SERVER).set("one_by_one", "yes").gate(&gate));
    let mut requests = vec![client::begin(process.addr(), "/gate")];
    let queued = (0..5).map(|_| client::send(process.addr(), "/").unwrap());
    requests.extend(queued);
    process.signal(Signal::SIGTERM);
    process.console.wait_for("stopping: this process may take 1m to finish");
    gate.open();
    assert_eq!(client::finish_all(requests).len(), 6);
    process.expect_stopped();
}

#[test]
fn second_request_to_stop_and_quit_end_the_process_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut process = start(server(SERVER).set("shutdown_grace", "1h"));
        let request = client::begin(process.addr(), "/hold");
        process.signal(signal);
        if signal == Signal::SIGTERM {
            process.console.wait_for("stopping: ");
            process.insist(|| process.try_signal(Signal::SIGTERM));
        }
        process.console.wait_for("stopping at once: ending this process");
        assert_eq!(process.wait().code(), Some(0));
        process.assert_nothing_left();
        request.finish().unwrap_err();
    }
}

#[test]
fn process_that_does_not_stop_within_its_grace_fails() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.pid");
    let server = server(SERVER).set("shutdown_grace", "300ms");
    let mut process = start(server.env("PREFORK_PIDFILE", &file.display().to_string()));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", process.master()));
    let _request = client::begin(process.addr(), "/hold");
    process.signal(Signal::SIGTERM);
    process.console.wait_for("this process did not stop within 300ms; ending it");
    assert_eq!(process.wait().code(), Some(1));
    process.assert_nothing_left();
    assert!(!file.exists(), "the pid file is removed");
}

#[test]
fn server_that_takes_shutdown_returns_from_its_function() {
    let process = start(server(TOKIO_SERVER).set("stop", "select"));
    process.signal(Signal::SIGTERM);
    process.console.wait_for("serve: stop requested, accepting: true");
    process.expect_stopped();
    for stop in ["poll", "wait"] {
        let process = start(server(ARGUMENTS_SERVER).set("stop", stop));
        let about = client::get(process.addr(), "/about");
        let master = process.master();
        assert_eq!(about, format!("slot 0 of 1, generation 0, master {master}, shard 0 of 1"));
        process.signal(Signal::SIGTERM);
        process.console.wait_for("serve: ");
        process.expect_stopped();
    }
}

#[test]
fn tls_configuration_is_that_of_the_options() {
    for form in ["blocking", "async"] {
        for embedded in [false, true] {
            let certificate = TestCertificate::new();
            let server = server(RUSTLS_CONFIG_SERVER).set("form", form);
            let server =
                server.set("cert", certificate.cert().display()).set("key", certificate.key().display());
            let process = start(if embedded { server.set("embedded", "yes") } else { server });
            let response = TlsClient::new(&[&certificate], None).get(process.addr()).unwrap();
            assert_eq!((response.pid, response.cert), (process.master(), certificate.der()));
            process.stop();
        }
    }
}

#[test]
fn variable_overrides_the_attribute_and_options_of_children_are_idle() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let server = Server::new(ATTRIBUTE_SERVER).set("log_file", log.display());
    let mut process = server.env("PREFORK_WORKERS", "0").launch();
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait::until("readiness in the log file", || read().contains("ready; stop with "));
    let text = read();
    assert!(text.contains("PREFORK_WORKERS=0 overrides workers = 2"), "{text}");
    let idle = "no effect without children: reuseport, recover, recover_window, recover_interval, start_timeout, \
                reload_parallel, max_lifetime, max_rss, on_child_recover";
    assert!(text.contains(idle), "{text}");
    assert_eq!((text.matches("init in a master").count(), text.matches("init in a child").count()), (1, 0));
    let addr = text.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert_eq!(client::serving_pid(addr.parse().unwrap()), process.master());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    assert!(read().contains("stopping in 1ms") && read().contains("stopped"), "{}", read());
}

#[test]
fn requests_about_children_are_refused_and_the_process_serves_on() {
    let process = start(server(SERVER));
    process.operate(Signal::SIGHUP, 1, "cannot reload: there are no children (workers = 0)");
    #[cfg(unix)]
    process.operate(Signal::SIGUSR2, 1, "cannot upgrade: there are no children (workers = 0)");
    process.operate(Signal::SIGTTIN, 1, "not resized: there are no children (workers = 0)");
    process.operate(Signal::SIGTTOU, 2, "not resized: there are no children (workers = 0)");
    process.operate(Signal::SIGUSR1, 1, "to reopen logs has no effect: there is no hook");
    assert_is_alone(&process);
    process.stop();
}

#[test]
fn handle_stops_and_describes_the_process_and_retirement_is_logged_once() {
    let directory = tempfile::tempdir().unwrap();
    let commands = directory.path().join("commands");
    let server = server(FLEET_HANDLE_SERVER).set("commands", commands.display());
    let process = start(server.set("max_requests", 1));
    assert_is_alone(&process);
    process.console.wait_for("this process asked to be replaced, and serves on: there are no children");
    fs::write(&commands, "status\nresize 0\nresize 3\nreload\n").unwrap();
    process.console.wait_for("status: serving generation 0 ready 1 of 1, 1 children");
    process.console.wait_for("resize: workers cannot be `0`: expected a number from 1 to 8192");
    process.console.wait_for("not resized: there are no children");
    process.console.wait_for("cannot reload: there are no children");
    assert_is_alone(&process);
    fs::write(&commands, "status\nresize 0\nresize 3\nreload\nstop\n").unwrap();
    assert_eq!(process.expect_stopped().iter().filter(|line| line.contains("asked to be")).count(), 1);
}

#[test]
fn hooks_about_children_do_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let server = || server(HOOKS_SERVER).set("journal", journal.display());
    let process = start(server().set("reopens", "yes").set("produces", "alters"));
    process.console.wait_for(
        "no effect without children: on_master_death, on_child_spawn, on_child_recover, command_producer",
    );
    process.operate(Signal::SIGUSR1, 1, "logs reopened");
    let master = process.master();
    process.stop();
    let written = fs::read_to_string(&journal).unwrap();
    assert_eq!(written, format!("on_master_ready {master}\non_log_reopen {master}\n"));
    for how in ["fails", "panics"] {
        let outcome = server().set(how, "on_master_ready").run();
        let status = if how == "fails" { 1 } else { 101 };
        assert_eq!(outcome.status.code(), Some(status), "{outcome:#?}");
        let reason = format!(
            "prefork: hook on_master_ready {}",
            how.replace("fails", "failed").replace("panics", "panicked")
        );
        assert!(outcome.stderr.iter().any(|line| line.starts_with(&reason)), "{outcome:#?}");
    }
}

#[test]
fn status_is_that_of_the_serve_function() {
    let end = |ends: &str| {
        let process = start(server(ENDING_SERVER).set("ends", ends));
        drop(client::send(process.addr(), "/"));
        process.expect_end()
    };
    for (ends, status) in [("0", 0), ("3", 3), ("error", 1), ("panic", 101)] {
        let outcome = end(ends);
        assert_eq!(outcome.status.code(), Some(status), "{outcome:#?}");
        let says = |text: &str| outcome.stderr.iter().any(|line| line.contains(text));
        assert_eq!(says("Error: Custom"), ends == "error", "{outcome:#?}");
        assert_eq!(says("the serve function panics on request"), ends == "panic", "{outcome:#?}");
        assert_eq!(says("returned without a request to stop"), ends != "panic", "{outcome:#?}");
    }
}

// Only Unix has upgrades.
#[cfg(unix)]
#[test]
fn upgrade_of_a_fleet_to_one_process_is_refused_and_the_fleet_stays() {
    let directory = tempfile::tempdir().unwrap();
    let overrides = directory.path().join("overrides");
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("overrides", overrides.display()).start();
    let children = fleet.first_children();
    fs::write(&overrides, "127.0.0.1:0 0").unwrap();
    fleet.signal(Signal::SIGUSR2);
    fleet
        .console
        .wait_for("cannot start: workers cannot be `0`: expected 1 or more, because a fleet that runs");
    fleet.console.wait_for("upgrade aborted: the new program failed its check; the fleet is unchanged");
    assert_eq!(fleet.wait_for_children(2, &[]), children);
    // What a reload starts is a child, whatever its program says.
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    fleet.wait_for_children(2, &children);
    // The last child stays.
    fleet.operate(Signal::SIGTTOU, 1, "resized from 2 to 1 child");
    fleet.operate(Signal::SIGTTOU, 1, "not resized: 1 child is the minimum");
    fleet.stop();
}

// Privileges are for Unix.
#[cfg(unix)]
#[test]
fn privileges_are_given_up_by_the_whole_process_before_it_serves() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("root");
    }
    let server = server(SERVER).env("PREFORK_USER", "nobody").env("PREFORK_NO_NEW_PRIVS", "true");
    // Messages from before the change of user need no thread.
    let process = start(server.env("PREFORK_HEALTH", "127.0.0.1:0").env("PREFORK_WORKRES", "1"));
    process.console.wait_for("did you mean PREFORK_WORKERS?");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    for thread in proc::threads(process.master()) {
        let field = |name| proc::status_field(thread, name).unwrap();
        let uids = field("Uid").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(uids, vec![nobody.to_string(); 4]);
        assert_eq!((field("CapEff").trim(), field("NoNewPrivs").trim()), ("0000000000000000", "1"));
    }
    assert_is_alone(&process);
    process.stop();
}

#[test]
fn start_that_fails_is_one_line() {
    let outcome = server(SERVER).set("addr", "127.0.0.1:70000").run();
    outcome.assert_refused("70000");
    for form in ["blocking", "async"] {
        let server = server(FALLIBLE_ARGUMENTS_SERVER).set("form", form).set("shard", "/no/such/file");
        let outcome = server.run();
        let reasons =
            outcome.stderr.iter().filter(|line| line.contains("cannot start: cannot make the argument"));
        let reasons: Vec<_> = reasons.collect();
        assert!(reasons.len() == 1 && reasons[0].starts_with("prefork: this process (pid "), "{outcome:#?}");
        assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    }
}
