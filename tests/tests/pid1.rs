//! The master as PID 1, as in a container: signals reach it, and nobody stays a zombie.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a helper of tests, a panic is a failure"
)]

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use prefork_tests::fleet::{Fleet, Server, send};
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const UNSHARE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// Starts a server as PID 1 of a namespace of its own; returns it with the master's pid outside.
/// `None`, and says so, where that is not allowed.
fn as_pid_1(server: impl FnOnce(Server) -> Server) -> Option<(Fleet, u32)> {
    let mut probe = Command::new(UNSHARE[0]);
    let allowed = probe.args(&UNSHARE[1..]).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no PID namespace can be made here");
        return None;
    }
    let fleet = server(Server::through(&UNSHARE, SERVER)).start();
    assert!(fleet.console.wait_for("listening on").ends_with("master pid 1"));
    let [master] = proc::children(fleet.master())[..] else { panic!("unshare has one child") };
    Some((fleet, master))
}

#[test]
fn a_master_that_is_pid_1_serves_and_stops() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some((fleet, master)) = as_pid_1(|server| server) else { return };
        client::serving_pid(fleet.addr());
        send(master, signal);
        // `unshare` ends as its child did.
        fleet.expect_stopped();
    }
}

#[test]
fn a_master_that_is_pid_1_replaces_children() {
    let Some((fleet, master)) = as_pid_1(|server| server) else { return };
    let children = proc::children(master);
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    wait::until("two others", || {
        let now = proc::children(master);
        now.len() == 2 && now.iter().all(|child| !children.contains(child) && proc::is_alive(*child))
    });
    client::serving_pid(fleet.addr());
    send(master, Signal::SIGTERM);
    fleet.expect_stopped();
}

#[test]
fn a_grandchild_that_is_orphaned_does_not_stay_a_zombie() {
    let Some((fleet, master)) = as_pid_1(|server| server.set("workers", 1)) else { return };
    client::get(fleet.addr(), "/leave");
    let [child] = proc::children(master)[..] else { panic!("one child") };
    let [orphan] = proc::children(child)[..] else { panic!("one grandchild") };
    send(child, Signal::SIGKILL);
    wait::until("an orphan that came to PID 1", || proc::parent(orphan) == Some(master));
    send(orphan, Signal::SIGKILL);
    wait::until("an orphan that is reaped", || proc::state(orphan).is_none());
    send(master, Signal::SIGTERM);
    fleet.expect_stopped();
}

#[test]
fn orphans_do_not_outlive_the_stop_of_pid_1() {
    let Some((fleet, master)) = as_pid_1(|server| server.set("workers", 1)) else { return };
    client::get(fleet.addr(), "/leave");
    send(master, Signal::SIGTERM);
    // The kernel ends what is left in the namespace.
    fleet.expect_stopped();
}
