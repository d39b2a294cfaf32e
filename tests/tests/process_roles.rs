//! The role of a process: the master alone assigns it, and no process inherits it.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::process::ExitStatus;

use prefork_tests::client;
use prefork_tests::fleet::Server;
#[cfg(unix)]
use prefork_tests::{proc, signal::Signal};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// The role of a process that no master has started.
fn role_of_a_fresh_process(marker: Option<&str>) -> String {
    let mut command = std::process::Command::new(SERVER);
    command.arg("role").env_remove("PREFORK_CHILD");
    if let Some(marker) = marker {
        command.env("PREFORK_CHILD", marker);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim_end().to_owned()
}

#[test]
fn is_child_is_true_in_child_and_false_in_fresh_process() {
    let fleet = Server::new(SERVER).start();
    assert_eq!(client::get(fleet.addr(), "/role"), "true");
    assert_eq!(role_of_a_fresh_process(None), "is_child false, marker None");
    fleet.stop();
}

#[test]
fn marker_without_handshake_is_refused() {
    assert!(role_of_a_fresh_process(Some("1")).starts_with("is_child false"));
    for marker in ["1", "", "4711", "rubbish"] {
        let outcome = Server::new(SERVER).env("PREFORK_CHILD", marker).run();
        outcome.assert_refused("PREFORK_CHILD is set");
    }
}

#[test]
fn grandchild_does_not_inherit_role() {
    let fleet = Server::new(SERVER).start();
    assert_eq!(client::get(fleet.addr(), "/variable/PREFORK_CHILD"), "None");
    assert_eq!(client::get(fleet.addr(), "/grandchild"), "is_child false, marker None");
    fleet.stop();
}

#[test]
fn child_can_start_nested_fleet() {
    let fleet = Server::new(SERVER).start();
    let result = client::get(fleet.addr(), "/nested");
    assert_eq!(result, format!(r#"ready true, is_child Some(Ok("true")), {}"#, ExitStatus::default()));
    fleet.stop();
}

#[test]
fn children_get_arguments_of_master() {
    let mut server = Server::new(SERVER);
    server.command.args(["one", "two words", ""]);
    let fleet = server.start();
    let arguments = client::get(fleet.addr(), "/arguments");
    assert!(arguments.ends_with(" one two words "), "{arguments}");
    // Windows may pass the path of the program in another form.
    assert!(cfg!(windows) || arguments.starts_with(SERVER), "{arguments}");
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn process_titles_name_role_and_slot() {
    let mut server = Server::new(SERVER);
    server.command.arg("two words");
    let fleet = server.start();
    let check = |title: &str| {
        let arguments = format!("{title}: master {SERVER} two words");
        assert_eq!(proc::arguments(fleet.master()), Some(arguments));
        assert_eq!(proc::name(fleet.master()), Some(format!("{title}: master")));
        let mut shown: Vec<_> = fleet.children().into_iter().map(proc::arguments).collect();
        shown.sort();
        assert_eq!(shown, [0, 1].map(|slot| Some(format!("{title}: child {slot}"))));
        let mut names: Vec<_> = fleet.children().into_iter().map(proc::name).collect();
        names.sort();
        assert_eq!(names, [0, 1].map(|slot| Some(format!("{title}: child {slot}"))));
    };
    check("server");
    // The program sees the arguments that it was started with.
    assert_eq!(client::get(fleet.addr(), "/arguments"), format!("{SERVER} two words"));
    fleet.replace(&fleet.first_children());
    check("server");
    let before = fleet.children();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded: every child");
    fleet.wait_for_children(2, &before);
    check("server");
    fleet.stop();
}

// Windows has no process titles.
#[cfg(unix)]
#[test]
fn title_option_sets_and_disables_process_titles() {
    let fleet = Server::new(SERVER).env("PREFORK_TITLE", "a title that is long").start();
    let child = fleet.first_children()[1];
    assert_eq!(proc::arguments(child).as_deref(), Some("a title that is long: child 1"));
    assert_eq!(proc::name(child).as_deref(), Some("a titl: child 1"));
    fleet.stop();
    let fleet = Server::new(SERVER).set("title", "").start();
    for process in [fleet.master(), fleet.first_children()[0]] {
        assert_eq!(proc::arguments(process).as_deref(), Some(SERVER));
        assert_eq!(proc::name(process).as_deref(), Some("server"));
    }
    fleet.stop();
    let outcome = Server::new(SERVER).env("PREFORK_TITLE", "a\u{7}bell").run();
    outcome.assert_refused("PREFORK_TITLE cannot be `a\\u{7}bell`: expected text without control characters");
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn children_inherit_only_stdout_stderr_and_shared_values_of_master() {
    let fleet = Server::new(SERVER).start();
    let inodes = proc::listening_inodes(fleet.addr().port());
    for child in fleet.first_children() {
        let descriptors = proc::descriptors(child);
        assert_eq!(descriptors[0], (0, "/dev/null".to_owned()));
        assert_eq!(descriptors[1..3], proc::descriptors(fleet.master())[1..3]);
        assert_eq!(proc::held_inodes(child, &inodes).len(), 1);
        let shared = |what: &str| what.starts_with("/memfd:prefork-shared");
        let (memory, others): (Vec<_>, Vec<_>) =
            descriptors[3..].iter().partition(|(_, what)| shared(what.as_str()));
        assert_eq!(memory.len(), usize::from(cfg!(target_os = "linux")), "{descriptors:?}");
        assert!(others.iter().all(|(_, what)| what.starts_with("socket:")), "{descriptors:?}");
        // The link three times (the main thread, the link thread, and what sends messages of the log), the listener, its
        // decoy, and a pair for signals.
        assert!(others.len() <= 7, "{descriptors:?}");
    }
    fleet.stop();
}
