//! What a reload and an upgrade make of a changed configuration file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;
use std::process::Command;

use prefork_tests::config_file::ConfigFile;
use prefork_tests::fleet::RunningFleet;
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, send};
use prefork_tests::tls::{TestCertificate, TlsClient};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");

/// The soft limit on open files of a process, which the file sets in these tests.
fn open_files(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

/// Kills a child, and returns its successor.
fn successor(fleet: &RunningFleet, victim: u32) -> u32 {
    let before = fleet.children();
    let after = fleet.replace(&[victim]);
    *after.iter().find(|child| !before.contains(child)).unwrap()
}

#[test]
fn setting_without_effect_is_named_by_a_check_and_once_by_reloads() {
    let config = ConfigFile::new("workers = 1\nruntime = \"multi_thread\"\n");
    let outcome = config.server(SERVER).env("PREFORK_CHECK", "1").run();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    let idle = config.at("2:11: runtime has no effect: the serve function is not `async`");
    assert_eq!(outcome.stderr, [format!("prefork: warning: {idle}")]);
    config.write("workers = 1\n");
    let fleet = config.server(SERVER).start();
    config.write("workers = 1\nruntime = \"multi_thread\"\n");
    for generation in 1..=2 {
        fleet.signal(Signal::SIGHUP);
        fleet.console.wait_for(&format!("reloaded: every child is of generation {generation}"));
    }
    let lines = fleet.console.lines();
    assert_eq!(lines.iter().filter(|line| line.contains(&idle)).count(), 1, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("runtime changed")), "{lines:#?}");
    fleet.stop();
}

#[test]
fn reload_applies_the_changed_file() {
    let config = ConfigFile::new("workers = 2\nshutdown_grace = \"50s\"\nrlimit_nofile = 300\n");
    let fleet = config.server(SERVER).start();
    assert_eq!(open_files(fleet.first_children()[0]), "300");
    config.write("workers = 3\nshutdown_grace = \"70s\"\nrlimit_nofile = 301\n");
    let old = successor(&fleet, fleet.first_children()[0]);
    assert_eq!(open_files(old), "300", "the file was not read again");
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    for change in [
        "workers changed from 2 to 3",
        "shutdown_grace changed from 50s to 1m 10s",
        "rlimit_nofile changed from 300 to 301",
        "resized from 2 to 3 children",
    ] {
        fleet.console.wait_for(change);
    }
    let children = fleet.wait_for_children(3, &fleet.first_children());
    assert!(children.iter().all(|child| open_files(*child) == "301"));
    assert_eq!(open_files(successor(&fleet, children[0])), "301");
    // Without a change nothing is logged, and the size that an operator chose stays.
    fleet.operate(Signal::SIGTTOU, 1, "resized from 3 to 2 children");
    fleet.operate(Signal::SIGHUP, 2, "reloaded:");
    assert_eq!(fleet.console.lines_with("changed from").len(), 3);
    fleet.wait_for_children(2, &[]);
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("children may take 1m 10s to finish");
    fleet.expect_stopped();
}

#[test]
fn options_of_sockets_change_while_they_listen() {
    if Command::new("ss").arg("-V").output().is_err() {
        return prefork_tests::skip::skipped("ss");
    }
    for reuseport in [false, true] {
        let config = ConfigFile::new("workers = 1\nbacklog = 7\nnodelay = true\n");
        let fleet = config.server(SERVER).reuseport(reuseport).start();
        let backlogs = || {
            let port = format!("sport = :{}", fleet.addr().port());
            let output = Command::new("ss").args(["-Hltn", &port]).output().unwrap();
            let output = String::from_utf8(output.stdout).unwrap();
            output.lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(backlogs(), ["7"]);
        config.write("workers = 2\nbacklog = 9\n");
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        fleet.console.wait_for("backlog changed from 7 to 9");
        fleet.console.wait_for("nodelay changed from true to false");
        assert_eq!(backlogs(), if reuseport { vec!["9"; 2] } else { vec!["9"] });
        client::serving_pid(fleet.addr());
        fleet.stop();
    }
}

#[test]
fn removed_lines_have_their_default_again() {
    let config = ConfigFile::new("workers = 2\nrlimit_nofile = 300\n");
    let fleet = config.server(SERVER).env("PREFORK_MAX_WORKERS", "1").start();
    config.write("");
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    fleet.console.wait_for("workers changed from 2 to 1");
    fleet.console.wait_for("rlimit_nofile changed from 300 to the master's limit");
    let child = fleet.wait_for_children(1, &fleet.first_children())[0];
    assert_eq!(open_files(child), open_files(fleet.master()));
    fleet.stop();
}

#[test]
fn reload_with_broken_file_is_refused_and_keeps_every_value() {
    let config = ConfigFile::new("workers = 2\nshutdown_grace = \"50s\"\nrlimit_nofile = 300\n");
    let fleet = config.server(SERVER).start();
    let first = fleet.first_children();
    config.write("workers = 3\nshutdown_grace = \"70s\"\nrlimit_nofile = 3\nstop_delay = soon\n");
    fleet.signal(Signal::SIGHUP);
    for part in ["3:17: rlimit_nofile cannot be `3`: expected a number from 16", "4:14: "] {
        let line = fleet.console.wait_for(&format!("cannot reload: {}", config.at(part)));
        assert!(line.ends_with("; the fleet keeps its options"), "{line}");
    }
    assert_eq!(fleet.children(), first);
    assert_eq!(open_files(successor(&fleet, first[0])), "300");
    fs::remove_file(config.path()).unwrap();
    fleet.operate(
        Signal::SIGHUP,
        1,
        "it cannot be read: no such file or directory; the fleet keeps its options",
    );
    assert_eq!(open_files(successor(&fleet, first[1])), "300", "children do not read the file");
    assert!(fleet.console.lines_with("changed from").is_empty());
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("children may take 50s to finish");
    fleet.expect_stopped();
}

#[test]
fn child_of_an_older_generation_keeps_the_options_of_that_generation() {
    let program = ProgramCopy::new(SERVER);
    let config = ConfigFile::new("workers = 2\nrlimit_nofile = 300\n");
    let fleet = config.server(program.path()).start();
    let first = fleet.first_children();
    config.write("workers = 2\nrlimit_nofile = 301\n");
    // Its children fail, so that the reload is aborted.
    program.replace_with("/bin/false");
    fleet.operate(Signal::SIGHUP, 1, "reload aborted");
    fleet.console.wait_for("rlimit_nofile changed from 300 to 301");
    assert_eq!(open_files(successor(&fleet, first[0])), "300");
    program.replace_with(SERVER);
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let children = fleet.wait_for_children(2, &first);
    assert!(children.iter().all(|child| open_files(*child) == "301"));
    fleet.stop();
}

#[test]
fn limits_that_children_check_themselves_come_with_the_handshake() {
    let config = ConfigFile::new("workers = 1\nmax_rss = \"1GiB\"\n");
    let fleet = config.server(SERVER).start();
    let child = fleet.first_children()[0];
    config.write("workers = 1\nmax_rss = \"1KiB\"\n");
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    // The new child is larger than the new limit.
    fleet.console.wait_for("is larger than `max_rss`");
    config.write("workers = 1\n");
    fleet.operate(Signal::SIGHUP, 2, "reloaded:");
    fleet.wait_for_children(1, &[child]);
    fleet.stop();
}

#[test]
fn other_certificates_are_served_by_the_new_children() {
    let certificates = [TestCertificate::new(), TestCertificate::new(), TestCertificate::new()];
    let text = |certificate: &TestCertificate| {
        let (cert, key) = (certificate.cert(), certificate.key());
        format!("workers = 1\ncert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display())
    };
    let config = ConfigFile::new(&text(&certificates[0]));
    let fleet = config.server(RUSTLS_CONFIG_SERVER).start();
    let client = TlsClient::new(&certificates.iter().collect::<Vec<_>>(), None);
    let served = || client.get(fleet.addr()).unwrap().cert;
    assert_eq!(served(), certificates[0].der());
    config.write(&format!("workers = 1\ncert = \"{}\"\n", certificates[1].cert().display()));
    fleet.signal(Signal::SIGHUP);
    let message = "app.toml: key is not set: expected the file of the private key that `cert` goes with";
    fleet.console.wait_for(message);
    // The file is as before, and what it names is gone.
    config.write(&text(&certificates[1]));
    fs::rename(certificates[1].key(), certificates[1].file("away")).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "; the fleet keeps its certificate");
    successor(&fleet, fleet.first_children()[0]);
    assert_eq!(served(), certificates[0].der());
    assert!(fleet.console.lines_with("changed from").is_empty());
    fs::rename(certificates[1].file("away"), certificates[1].key()).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    wait::until("the second certificate", || served() == certificates[1].der());
    config.write(&text(&certificates[2]));
    fleet.operate(Signal::SIGUSR2, 2, "reloaded:");
    wait::until("the third certificate", || served() == certificates[2].der());
    fleet.stop();
}

#[test]
fn what_only_an_upgrade_can_change_is_named_and_the_upgrade_changes_it() {
    let config = ConfigFile::new("addr = \"127.0.0.1:0\"\nworkers = 2\n");
    let fleet = config.server(SERVER).unset("addr").start();
    let old = fleet.addr();
    config.write("addr = \"127.0.0.2:0\"\nworkers = 2\ntitle = \"other\"\n");
    for time in 1..=2 {
        fleet.operate(Signal::SIGHUP, time, "reloaded:");
        let line =
            "addr changed from 127.0.0.1:0 to 127.0.0.2:0: only an upgrade applies it; the fleet keeps";
        fleet.console.wait_for_nth(time, line);
        fleet.console.wait_for_nth(time, "to other: only an upgrade applies it");
        client::serving_pid(old);
    }
    fleet.operate(Signal::SIGUSR2, 3, "reloaded:");
    let line = fleet.console.wait_for("upgraded: this program is master now");
    assert!(line.contains("on 127.0.0.2:"), "{line}");
    wait::until("closed port", || client::is_refused(old));
    assert!(proc::status_field(fleet.master(), "Name").unwrap().starts_with("other: master"));
    fleet.operate(Signal::SIGHUP, 4, "reloaded:");
    assert_eq!(fleet.console.lines_with("only an upgrade applies it").len(), 4, "all is applied");
    fleet.signal(Signal::SIGTERM);
    let mut fleet = fleet;
    assert_eq!(fleet.wait().code(), Some(0));
}

#[test]
fn upgrade_with_broken_file_keeps_the_fleet() {
    let config = ConfigFile::new("workers = 2\nrlimit_nofile = 300\n");
    let fleet = config.server(SERVER).start();
    config.write("workers = 0x\n");
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted");
    let line = fleet.console.wait_for("cannot start: ");
    assert!(line.contains(&config.at("1:11: ")), "{line}");
    let child = successor(&fleet, fleet.first_children()[1]);
    assert_eq!(open_files(child), "300");
    fs::remove_file(config.path()).unwrap();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("cannot upgrade: cannot use the configuration file");
    config.write("workers = 3\n");
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    fleet.wait_for_children(3, &[child]);
    fleet.stop();
}

#[test]
fn children_get_a_file_that_their_user_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let program = ProgramCopy::new(SERVER);
    let config = ConfigFile::new("workers = 2\nuser = \"nobody\"\nmax_rss = \"1GiB\"\n");
    fs::set_permissions(config.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let fleet = config.server(program.path()).unset("started").start();
    let uid = |child: u32| proc::status_field(child, "Uid").unwrap();
    assert!(!uid(fleet.first_children()[0]).starts_with('0'));
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    let old = fleet.wait_for_children(2, &fleet.first_children());
    fleet.operate(Signal::SIGUSR2, 2, "reloaded:");
    let child = fleet.wait_for_children(2, &old)[0];
    send(child, Signal::SIGKILL);
    fleet.console.wait_for(&format!("in place of pid {child}"));
    assert!(fleet.console.lines_with("cannot").is_empty(), "{:#?}", fleet.console.lines());
    fleet.stop();
}

#[test]
fn reload_to_no_workers_is_refused() {
    let config = ConfigFile::new("workers = 2\n");
    let fleet = config.server(SERVER).start();
    let children = fleet.first_children();
    config.write("workers = 0\n");
    let refused = format!("cannot reload: {} cannot be `0`: expected 1 or more", config.at("1:11: workers"));
    fleet.operate(Signal::SIGHUP, 1, &refused);
    assert_eq!(fleet.children(), children);
    fleet.stop();
}
