//! `PREFORK_CHECK=1`: the effective options, or every problem, without a start.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs::{self, File};

use prefork_tests::client;
use prefork_tests::fleet::{Outcome, Server};
use prefork_tests::tls::TestCertificate;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const ATTRIBUTE_SERVER: &str = env!("CARGO_BIN_EXE_attribute_server");
const CERT_KEY_SERVER: &str = env!("CARGO_BIN_EXE_cert_key_server");

/// Checks the configuration of a server. Returns its end, and the lines of standard output.
fn check(server: Server) -> (Outcome, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("output");
    let mut server = server.env("PREFORK_CHECK", "1");
    server.command.stdout(File::create(&path).unwrap());
    let outcome = server.run();
    assert_eq!(outcome.children, 0, "children were started: {outcome:#?}");
    (outcome, fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect())
}

#[track_caller]
fn assert_valid(server: Server) -> (Outcome, Vec<String>) {
    let (outcome, output) = check(server);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    (outcome, output)
}

/// The problems of an invalid configuration, without what all have in common.
#[track_caller]
fn problems(server: Server) -> Vec<String> {
    let (outcome, output) = check(server);
    assert_eq!((outcome.status.code(), output), (Some(2), Vec::new()), "{outcome:#?}");
    let strip = |line: &String| line.strip_prefix("prefork: error: ").map(str::to_owned);
    let problems: Vec<String> = outcome.stderr.iter().filter_map(strip).collect();
    assert_eq!(problems.len(), outcome.stderr.len(), "other lines: {outcome:#?}");
    problems
}

#[test]
fn effective_options_are_printed_with_their_sources() {
    let server = Server::new(SERVER).env("PREFORK_STOP_DELAY", "90s").env("PREFORK_KEEPALIVE", "1m");
    let (outcome, output) = assert_valid(server);
    assert_eq!(outcome.stderr, Vec::<String>::new());
    for line in [
        r#"addr = ["127.0.0.1:0"]  # builder"#,
        "workers = 2  # builder",
        r#"keepalive = "1m"  # variable PREFORK_KEEPALIVE"#,
        r#"stop_delay = "1m 30s"  # variable PREFORK_STOP_DELAY"#,
        r#"start_timeout = "60s"  # default"#,
        "# max_rss: unlimited",
    ] {
        assert!(output.contains(&line.replace("60s", "1m")), "{line}: {output:#?}");
    }
}

#[test]
fn check_does_not_load_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let loads = directory.path().join("loads");
    let server = Server::new(env!("CARGO_BIN_EXE_preload_server")).set("loads", loads.display());
    let (_, output) = assert_valid(server.set("load", "fail"));
    let is_told = |line: &&String| line.starts_with("# preload: ") && line.ends_with("a check does not load");
    assert_eq!(output.iter().filter(is_told).count(), 1, "{output:#?}");
    assert!(!loads.exists());
    let (_, output) = assert_valid(Server::new(SERVER).unset("preload"));
    assert_eq!(output.iter().filter(is_told).count(), 0, "{output:#?}");
}

#[test]
fn live_fleet_with_the_same_configuration_is_left_alone_by_a_check() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("app.pid");
    let server = || Server::new(SERVER).env("PREFORK_PIDFILE", &pid_file.display().to_string());
    let fleet = server().start();
    let child = client::serving_pid(fleet.addr());
    assert_valid(server().set("addr", fleet.addr()));
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", fleet.master()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the check wrote a file");
    assert!(fleet.children().contains(&child));
    client::serving_pid(fleet.addr());
    fleet.stop();
}

#[test]
fn every_problem_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let server = Server::new(SERVER)
        .set("addr", "no-such-host.invalid:80")
        .env("PREFORK_BACKLOG", "many")
        .env("PREFORK_MAX_RSS", "0")
        .env("PREFORK_HEALTH", "here")
        .env("PREFORK_PIDFILE", &missing.join("app.pid").display().to_string())
        .env("PREFORK_CERT", &missing.join("cert.pem").display().to_string());
    let found = problems(server);
    let expected = [
        "PREFORK_HEALTH: `here` has no port",
        "PREFORK_BACKLOG cannot be `many`",
        "PREFORK_MAX_RSS cannot be `0`",
        "PREFORK_CERT cannot be",
        "cannot look up `no-such-host.invalid`",
        "cannot use the pid file",
        "cert.pem: it cannot be read",
    ];
    for part in expected {
        assert_eq!(found.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn certificates_and_keys_are_read_and_every_problem_of_them_is_printed() {
    let (certificate, other) = (TestCertificate::new(), TestCertificate::new());
    let server = |cert: &std::path::Path, key: &std::path::Path| {
        Server::new(CERT_KEY_SERVER)
            .set("form", "files")
            .set("cert", cert.display())
            .set("key", key.display())
    };
    let (_, output) = assert_valid(server(&certificate.cert(), &certificate.key()));
    let key = output.iter().find(|line| line.starts_with("key = ")).unwrap();
    assert!(key.contains("key.pem") && key.ends_with("# builder"), "{key}");
    let swapped = problems(server(&certificate.key(), &certificate.cert()));
    assert!(swapped.len() == 2 && swapped[0].contains("no certificate"), "{swapped:#?}");
    let foreign = problems(server(&certificate.cert(), &other.key()));
    assert!(foreign.len() == 1 && foreign[0].contains("does not belong to"), "{foreign:#?}");
    let gone = problems(server(&certificate.file("none"), &certificate.file("no key")));
    assert!(gone.len() == 2 && gone.iter().all(|line| line.contains("cannot be read")), "{gone:#?}");
    let embedded = server(&certificate.cert(), &certificate.key()).set("form", "embedded");
    let (_, output) = assert_valid(embedded);
    assert!(output.contains(&r#"# key_pem = "embedded"  # builder"#.to_owned()), "{output:#?}");
    assert!(!output.iter().any(|line| line.contains("BEGIN")), "{output:#?}");
}

#[test]
fn warnings_do_not_fail_the_check() {
    let server = Server::new(SERVER).env("PREFORK_WORKER", "3").set("workers", 1);
    let (outcome, _) = assert_valid(server);
    let expected = "prefork: warning: unknown variable PREFORK_WORKER: did you mean PREFORK_WORKERS?";
    assert_eq!(outcome.stderr, [expected]);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_fails() {
    let mut server = Server::new(SERVER).env("PREFORK_CHECK", "1");
    server.command.stdout(File::options().write(true).open("/dev/full").unwrap());
    let outcome = server.run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    let expected = "prefork: error: cannot print the effective options: no space left on device";
    assert_eq!(outcome.stderr, [expected]);
}

#[cfg(target_os = "linux")]
#[test]
fn socket_of_the_service_manager_is_not_needed() {
    let (outcome, output) = assert_valid(Server::new(SERVER).set("addr", "systemd:http"));
    assert!(
        outcome.stderr[0].contains("the socket `http` of the service manager is not part of this check"),
        "{outcome:#?}"
    );
    assert!(output.contains(&r#"addr = ["systemd:http"]  # builder"#.to_owned()), "{output:#?}");
}

#[test]
fn program_with_the_attribute_is_checked_after_its_init() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let server = || Server::new(ATTRIBUTE_SERVER).set("log_file", log.display());
    let (outcome, output) = assert_valid(server().env("PREFORK_WORKERS", "3"));
    assert_eq!(outcome.stderr, Vec::<String>::new());
    for line in ["workers = 3  # variable PREFORK_WORKERS", r#"# ready = "manual"  # attribute"#] {
        assert!(output.contains(&line.to_owned()), "{line}: {output:#?}");
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "INFO : init in a master\n");
    assert_eq!(problems(server().env("PREFORK_WORKERS", "many")).len(), 1);
    assert_eq!(problems(server().set("init_fails", "yes")), ["init failed: failed on request"]);
}

#[test]
fn check_is_a_command_and_no_option() {
    let (outcome, output) = assert_valid(Server::new(SERVER).set("environment", "no"));
    assert_eq!(outcome.stderr, Vec::<String>::new());
    assert!(output.contains(&"# environment = false  # builder".to_owned()), "{output:#?}");
    let outcome = Server::new(SERVER).env("PREFORK_CHECK", "perhaps").run();
    assert_eq!((outcome.status.code(), outcome.children), (Some(2), 0));
    let expected = "PREFORK_CHECK cannot be `perhaps`: expected `1` or `true` to check the configuration, or `0` or `false`";
    assert!(outcome.stderr[0].contains(expected), "{outcome:#?}");
    for value in ["0", "false", ""] {
        Server::new(SERVER).env("PREFORK_CHECK", value).start().stop();
    }
}

#[test]
fn start_with_several_invalid_options_logs_all_of_them() {
    let server = Server::new(SERVER).env("PREFORK_BACKLOG", "many").env("PREFORK_MAX_RSS", "0");
    let outcome = server.run();
    assert_eq!(
        (outcome.status.code(), outcome.children, outcome.stderr.len()),
        (Some(1), 0, 2),
        "{outcome:#?}"
    );
    assert!(outcome.error().contains("PREFORK_MAX_RSS cannot be `0`"), "{outcome:#?}");
    let logged = outcome.stderr.iter().any(|line| line.starts_with("prefork: PREFORK_BACKLOG cannot be"));
    assert!(logged, "{outcome:#?}");
}
