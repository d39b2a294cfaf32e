//! Options from environment variables.
#![cfg(any(target_os = "linux", windows))]

use std::env;
use std::net::Ipv4Addr;
use std::thread;

use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[test]
fn unset_addr_and_workers_come_from_environment() {
    let server = Server::new(SERVER).unset("addr").unset("workers");
    let fleet = server.env("PREFORK_ADDR", "127.0.0.2:0").env("PREFORK_WORKERS", "3").start();
    assert_eq!(fleet.addr().ip(), Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(fleet.first_children().len(), 3);
    assert!(fleet.first_children().contains(&client::serving_pid(fleet.addr())));
    fleet.stop();
}

#[test]
fn empty_environment_serves() {
    let mut server = Server::new(SERVER);
    let set =
        server.command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let set: Vec<_> = set.collect();
    server.command.env_clear().envs(set);
    // Windows needs this variable for sockets.
    if let Some(root) = env::var_os("SystemRoot") {
        server.command.env("SystemRoot", root);
    }
    let fleet = server.start();
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children());
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn builder_options_override_environment() {
    let server = Server::new(SERVER).set("workers", 1);
    let fleet = server.env("PREFORK_ADDR", "127.0.0.2:0").env("PREFORK_WORKERS", "3").start();
    assert_eq!(fleet.addr().ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(fleet.first_children().len(), 1);
    fleet.stop();
}

#[test]
fn builder_options_override_invalid_environment() {
    let server = Server::new(SERVER).set("workers", 1);
    server.env("PREFORK_ADDR", "rubbish").env("PREFORK_WORKERS", "rubbish").start().stop();
}

#[test]
fn empty_variable_counts_as_unset() {
    let fleet = Server::new(SERVER).unset("workers").env("PREFORK_WORKERS", "").start();
    assert_eq!(fleet.first_children().len(), thread::available_parallelism().unwrap().get());
    fleet.stop();
}

#[test]
fn invalid_variable_is_refused_by_name() {
    let workers = |value| Server::new(SERVER).unset("workers").env("PREFORK_WORKERS", value).run();
    for value in ["-1", "many", "1.5", "8193", "99999999999999999999"] {
        workers(value).assert_refused(&format!("PREFORK_WORKERS cannot be `{value}`: expected a number"));
    }
    let addr = |value| Server::new(SERVER).unset("addr").env("PREFORK_ADDR", value).run();
    addr("rubbish").assert_refused("`rubbish`");
    addr("127.0.0.1:70000").assert_refused("70000");
}

#[test]
fn non_unicode_variable_is_refused_by_name() {
    use std::ffi::OsString;
    #[cfg(unix)]
    let text: OsString = std::os::unix::ffi::OsStringExt::from_vec(b"\xff:80".to_vec());
    #[cfg(windows)]
    let text: OsString = std::os::windows::ffi::OsStringExt::from_wide(&[0xd800]);
    for (option, variable) in [("addr", "PREFORK_ADDR"), ("workers", "PREFORK_WORKERS")] {
        let mut server = Server::new(SERVER).unset(option);
        server.command.env(variable, &text);
        server.run().assert_refused(variable);
    }
}

#[test]
fn variables_have_effect_of_their_options() {
    let server = Server::new(SERVER).env("PREFORK_REUSEPORT", "true").env("PREFORK_SHUTDOWN_GRACE", "90s");
    let fleet = server.env("PREFORK_STOP_DELAY", "1ms").start();
    // On Windows the children share one socket with any value of the option.
    fleet.console.wait_for(if cfg!(windows) { "one shared socket" } else { "reuseport, a socket each" });
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("stopping in 1ms");
    fleet.console.wait_for("children may take 1m 30s to finish");
    assert!(fleet.expect_end().status.success());
}

#[test]
fn invalid_variables_are_refused_with_expected_value() {
    let cases = [
        ("backlog", "0", "a number from 1 to 2147483647"),
        ("backlog", "many", "a number from 1 to 2147483647"),
        ("recover", "-1", "a number from 0 to 4294967295"),
        ("recover_window", "0s", "at least 1ms"),
        ("shutdown_grace", "soon", "a duration such as"),
        ("shutdown_grace", "400days", "at most 365 days"),
        ("reload_parallel", "0", "a number from 1 to 8192"),
        ("canary", "-1", "a number from 0 to 8192"),
        ("hold", "0s", "at least 1ms"),
        ("max_lifetime", "5", "a duration such as"),
        ("max_rss", "huge", "a size such as"),
        ("max_rss", "0", "a size such as `512MiB` or `2GB`, or bytes, above zero"),
        ("keepalive", "10h", "at most 9h 6m 7s"),
        ("hang_timeout", "1ms", "at least 100ms"),
        ("network", "udp", "`tcp4`, `tcp6`, `tcp` or `unix`"),
        ("reuseport", "maybe", "`true` or `false`"),
        ("runtime", "fast", "`current_thread` or `multi_thread`"),
    ];
    for (option, value, expected) in cases {
        let variable = format!("PREFORK_{}", option.to_uppercase());
        let outcome = Server::new(SERVER).env(&variable, value).run();
        outcome.assert_refused(&format!("{variable} cannot be"));
        outcome.assert_refused(&format!("expected {expected}"));
    }
}

#[test]
fn max_workers_caps_the_automatic_count_and_no_other() {
    let server = Server::new(SERVER).unset("workers").env("PREFORK_MAX_WORKERS", "1");
    let fleet = server.start();
    assert_eq!(fleet.first_children().len(), 1);
    let cores = thread::available_parallelism().unwrap().get();
    let reason = if cores > 1 { &format!("`max_workers`, of {cores} cores") } else { "one per core" };
    fleet.console.wait_for(&format!("starting 1 child ({reason}); master pid"));
    fleet.stop();
    let fleet = Server::new(SERVER).set("workers", 3).env("PREFORK_MAX_WORKERS", "1").start();
    fleet
        .console
        .wait_for("PREFORK_MAX_WORKERS has no effect: `workers` is set (builder); `max_workers` limits only");
    fleet.console.wait_for("starting 3 children; master pid");
    fleet.stop();
}

#[test]
fn variables_that_fit_nothing_in_the_program_are_reported() {
    let server = Server::new(SERVER)
        .env("PREFORK_UNIX_MODE", "0o600")
        .env("PREFORK_RUNTIME", "multi_thread")
        .env("PREFORK_NETWORK", "tcp4");
    let fleet = server.set("network", "tcp4").start();
    fleet.console.wait_for("PREFORK_UNIX_MODE has no effect: no address is a Unix socket");
    fleet.console.wait_for("PREFORK_RUNTIME has no effect: the serve function is not `async`");
    fleet.stop();
}

#[test]
fn environment_that_is_off_sets_nothing() {
    let server =
        Server::new(SERVER).unset("workers").set("environment", "no").env("PREFORK_WORKERS", "rubbish");
    let fleet = server.start();
    assert_eq!(fleet.first_children().len(), thread::available_parallelism().unwrap().get());
    fleet.console.wait_for("PREFORK_WORKERS has no effect: the program sets `environment = false`");
    fleet.stop();
}

#[test]
fn variables_without_effect_are_logged() {
    let server = Server::new(SERVER).set("workers", 1).env("PREFORK_WORKERS", "3");
    let fleet = server.env("PREFORK_RECOVERY", "1").env("PREFORK_COLOUR", "blue").start();
    fleet.console.wait_for("PREFORK_WORKERS has no effect: the program itself sets `workers`");
    fleet.console.wait_for("unknown variable PREFORK_RECOVERY: did you mean PREFORK_RECOVER?");
    fleet.console.wait_for("unknown variable PREFORK_COLOUR has no effect");
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn control_characters_of_variables_do_not_reach_the_log() {
    let server = Server::new(SERVER).env("PREFORK_X\n<0>y", "\u{1b}[31m");
    let fleet = server.start();
    fleet.console.wait_for(r"unknown variable PREFORK_X\n<0>y has no effect");
    fleet.stop();
}
