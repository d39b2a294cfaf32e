//! The configuration file at a start: its place among the sources of options, its problems, and its check.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs::{self, File};

use prefork_tests::config_file::ConfigFile;
use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const ATTRIBUTE_SERVER: &str = env!("CARGO_BIN_EXE_attribute_server");

#[test]
fn file_is_above_the_attribute_and_below_variables() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let config = ConfigFile::new("workers = 3\nshutdown_grace = \"50s\"\nstop_delay = \"2ms\"\n");
    let server = Server::new(ATTRIBUTE_SERVER).set("log_file", log.display());
    let server = server.env("PREFORK_CONFIG", &config.path().display().to_string());
    let mut fleet = server.env("PREFORK_SHUTDOWN_GRACE", "40s").launch();
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait::until("readiness in the log file", || read().contains("3 children ready"));
    let text = read();
    let count = format!("configuration file {}: 3 options", config.path().display());
    for line in [
        &count,
        &config.at("1:11: workers = 3 overrides workers = 2"),
        &config.at("3:14: stop_delay = 2ms overrides stop_delay = 1ms"),
        "PREFORK_SHUTDOWN_GRACE=40s overrides shutdown_grace = 50s",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    let text = read();
    assert!(text.contains("stopping in 2ms") && text.contains("children may take 40s to finish"), "{text}");
}

#[test]
fn builder_overrides_the_file() {
    let config = ConfigFile::new("workers = 3\n");
    let fleet = config.server(SERVER).set("workers", 1).start();
    assert_eq!(fleet.first_children().len(), 1);
    fleet.console.wait_for(&config.at("1:11: workers has no effect: the program itself sets `workers`"));
    fleet.stop();
}

#[test]
fn invalid_file_is_refused_with_every_problem() {
    let config = ConfigFile::new("workers = -1\nbacklg = 5\n[server]\n");
    let outcome = config.server(SERVER).run();
    assert_eq!((outcome.status.code(), outcome.children), (Some(1), 0), "{outcome:#?}");
    let expected = config.at("1:11: workers cannot be `-1`: expected a number from");
    assert!(outcome.error().starts_with(&expected), "{outcome:#?}");
    for part in [
        "2:1: unknown option `backlg`: did you mean `backlog`?",
        "3:2: `server` is a table: options stand at the top of the file, without tables",
    ] {
        let line = format!("prefork: {}", config.at(part));
        assert!(outcome.stderr.contains(&line), "{line}: {outcome:#?}");
    }
    fs::remove_file(config.path()).unwrap();
    config.server(SERVER).run().assert_refused("app.toml: it cannot be read: no such file or directory");
}

#[test]
fn rules_across_options_name_the_place_in_the_file() {
    let cases = [
        ("group = \"nogroup\"", "1:9: group cannot be `nogroup`: expected `user`"),
        ("addr = \":80\"\nuser = \"nobody there\"", "2:8: user cannot be `nobody there`"),
        ("cert = \"cert.pem\"", "1:8: cert cannot be `cert.pem`: expected nothing"),
        ("addr = [\"unix:/x\"]\nreuseport = true", "2:13: reuseport cannot be `true`"),
    ];
    for (text, message) in cases {
        let config = ConfigFile::new(text);
        let outcome = config.server(SERVER).unset("addr").run();
        let expected = config.at(message);
        assert!(outcome.stderr.iter().any(|line| line.contains(&expected)), "{expected}: {outcome:#?}");
    }
}

#[test]
fn check_shows_the_file_as_source_and_its_output_is_a_file() {
    let check = |config: &ConfigFile| {
        let output = config.directory().join("output");
        let mut server = config.server(SERVER).unset("addr").env("PREFORK_CHECK", "1");
        server.command.stdout(File::create(&output).unwrap());
        let outcome = server.run();
        assert_eq!((outcome.status.code(), &outcome.stderr), (Some(0), &Vec::new()), "{outcome:#?}");
        fs::read_to_string(output).unwrap()
    };
    let config = ConfigFile::new(
        "addr = [\"127.0.0.1:0\", ]\nkeepalive = \"90s\"\nmax_rss = \"1GiB\"\ntitle = \"\"\n",
    );
    let first = check(&config);
    let line = format!("keepalive = \"1m 30s\"  # file {}", config.at("2:13"));
    assert!(first.lines().any(|found| found == line), "{line}: {first}");
    config.write(&first);
    let second = check(&config);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&second), values(&first));
}

#[test]
fn file_with_no_workers_starts_one_process() {
    let config = ConfigFile::new("workers = 0\n");
    let process = config.server(SERVER).launch();
    process.console.wait_for("ready; stop with ");
    assert_eq!(client::serving_pid(process.addr()), process.master());
    process.operate(Signal::SIGHUP, 1, "cannot reload: there are no children (workers = 0)");
    process.stop();
}
