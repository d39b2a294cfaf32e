//! The master as PID 1, as in a container: signals reach it, and nobody stays a zombie.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::process::{Command, Stdio};

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const UNSHARE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// Starts a server as PID 1 of a namespace of its own; returns it with the master's pid outside.
/// `None`, and says so, where that is not allowed.
fn as_pid_1(server: impl FnOnce(Server) -> Server) -> Option<(RunningFleet, u32)> {
    let mut probe = Command::new(UNSHARE[0]);
    let allowed = probe.args(&UNSHARE[1..]).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("namespaces");
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

/// What a Deployment asks for: no privileges, nothing to write to, its own user.
const CONTAINED: &str = r#"mount -o remount,bind,ro / &&
    exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set -all "$0" "$@""#;

#[test]
fn a_contained_master_is_taken_out_of_service_before_it_stops() {
    let contained = [&UNSHARE[..], &["sh", "-c", CONTAINED]].concat();
    let mut probe = Command::new(contained[0]);
    let allowed = probe.args(&contained[1..]).arg(SERVER).arg("role").stderr(Stdio::null()).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return skipped("namespaces");
    }
    let server = Server::through(&contained, SERVER).set("shutdown_grace", "30s");
    let server = server.env("PREFORK_HEALTH", "127.0.0.1:0").env("PREFORK_STOP_DELAY", "60s");
    let fleet = server.start();
    let [master] = proc::children(fleet.master())[..] else { panic!("unshare has one child") };
    assert_eq!(proc::status_field(master, "Uid").as_deref(), Some("65532\t65532\t65532\t65532"));
    assert_eq!(proc::status_field(master, "CapBnd").as_deref(), Some("0000000000000000"));
    let line = fleet.console.wait_for("health endpoint on ");
    let health = line.split_once(" on ").unwrap().1.parse().unwrap();
    let status = |path| client::status(health, path).unwrap();
    assert_eq!((status("/livez"), status("/readyz")), (200, 200));
    send(master, Signal::SIGTERM);
    let served = wait::for_value("the probe to notice", || {
        let served = client::try_get(fleet.addr(), "/role");
        (status("/readyz") == 503).then_some(served)
    });
    assert_eq!(served.unwrap(), "true", "served between the stop and the probe");
    assert_eq!(client::get(fleet.addr(), "/role"), "true", "the delay is not over");
    assert_eq!(status("/livez"), 200);
    // The second time, at once.
    send(master, Signal::SIGTERM);
    assert!(fleet.expect_end().status.success());
}
