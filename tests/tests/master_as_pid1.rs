//! The master as PID 1, as in a container: it handles signals and reaps orphans.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::process::{Command, Stdio};

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{Signal, send, try_send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const UNSHARE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// Starts a server as PID 1 of a new namespace; returns it with the pid of the master outside. `None` if
/// this process may not create a namespace.
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
fn pid_1_serves_and_stops_on_term_and_int() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some((fleet, master)) = as_pid_1(|server| server) else { return };
        client::serving_pid(fleet.addr());
        send(master, signal);
        // `unshare` exits with the status of its child.
        fleet.expect_stopped();
    }
}

#[test]
fn pid_1_replaces_killed_children() {
    let Some((fleet, master)) = as_pid_1(|server| server) else { return };
    let children = proc::children_of_fleet(master);
    children.iter().for_each(|child| send(*child, Signal::SIGKILL));
    wait::until("two successors", || {
        let now = proc::children_of_fleet(master);
        now.len() == 2 && now.iter().all(|child| !children.contains(child) && proc::is_alive(*child))
    });
    client::serving_pid(fleet.addr());
    send(master, Signal::SIGTERM);
    fleet.expect_stopped();
}

#[test]
fn pid_1_reaps_orphaned_grandchild() {
    let Some((fleet, master)) = as_pid_1(|server| server.set("workers", 1)) else { return };
    client::get(fleet.addr(), "/leave");
    let [child] = proc::children_of_fleet(master)[..] else { panic!("one child") };
    let [orphan] = proc::children(child)[..] else { panic!("one grandchild") };
    send(child, Signal::SIGKILL);
    wait::until("orphan with PID 1 as parent", || proc::parent(orphan) == Some(master));
    send(orphan, Signal::SIGKILL);
    wait::until("reaped orphan", || proc::state(orphan).is_none());
    send(master, Signal::SIGTERM);
    fleet.expect_stopped();
}

#[test]
fn stop_of_pid_1_ends_orphans() {
    let Some((fleet, master)) = as_pid_1(|server| server.set("workers", 1)) else { return };
    client::get(fleet.addr(), "/leave");
    send(master, Signal::SIGTERM);
    // The kernel kills the remaining processes of the namespace.
    fleet.expect_stopped();
}

/// The restrictions of the Kubernetes Deployment: its own user, no privileges, a read-only root.
const CONTAINED: &str = r#"mount -o remount,bind,ro / &&
    exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set -all "$0" "$@""#;

#[test]
fn stop_in_container_is_not_ready_while_serving() {
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
    let health = fleet.health_addr();
    let status = |path| client::status(health, path).unwrap();
    assert_eq!((status("/livez"), status("/readyz")), (200, 200));
    send(master, Signal::SIGTERM);
    let served = wait::for_value("failing readiness probe", || {
        let served = client::try_get(fleet.addr(), "/role");
        (status("/readyz") == 503).then_some(served)
    });
    assert_eq!(served.unwrap(), "true", "the fleet serves between the stop and the probe");
    assert_eq!(client::get(fleet.addr(), "/role"), "true", "the fleet serves during the stop delay");
    assert_eq!(status("/livez"), 200);
    fleet.insist(|| drop(try_send(master, Signal::SIGTERM)));
    assert!(fleet.expect_end().status.success());
}
