//! What a fleet uses up: nothing while it is idle, nothing more after failures, nothing at the end.
#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use prefork_tests::fleet::Server;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[test]
fn twenty_kills_leave_no_descriptor_and_no_zombie() {
    for reuseport in [false, true] {
        let server = Server::new(SERVER).set("workers", 5).set("recover", 100);
        let fleet = if reuseport { server.set("reuseport", 1) } else { server }.start();
        let master = fleet.master();
        let before = proc::descriptors(master).len();
        for _ in 0..4 {
            fleet.replace(&fleet.children());
        }
        assert_eq!(fleet.console.lines_with("in place of pid").len(), 20);
        let same = || proc::descriptors(master).len() == before;
        wait::until("as many descriptors as before", same);
        assert_eq!(proc::zombies(master), Vec::<u32>::new());
        assert_eq!(proc::threads(master).len(), 1, "the master has one thread");
        fleet.stop();
    }
}

/// Whether nobody in the fleet wakes up in a whole second.
fn sleeps(processes: &[u32]) -> bool {
    let switches = || processes.iter().map(|pid| proc::context_switches(*pid)).collect::<Vec<_>>();
    let before = switches();
    // Not in place of a condition: that nothing happens takes time to see.
    thread::sleep(Duration::from_secs(1));
    switches() == before
}

fn an_idle_fleet_sleeps(server: &str) {
    let fleet = Server::new(server).start();
    client::serving_pid(fleet.addr());
    let mut processes = fleet.first_children();
    processes.push(fleet.master());
    // It may still be settling at first; whoever wakes up by the clock never passes.
    wait::until("a second without a wake-up", || sleeps(&processes));
    fleet.stop();
}

#[test]
fn an_idle_fleet_makes_no_system_call() {
    an_idle_fleet_sleeps(SERVER);
}

#[test]
fn an_idle_tokio_fleet_makes_no_system_call() {
    an_idle_fleet_sleeps(env!("CARGO_BIN_EXE_tokio_server"));
}

#[test]
fn a_fleet_that_waits_to_respawn_sleeps_as_well() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    let [victim, sibling] = fleet.first_children()[..] else { panic!("two children") };
    prefork_tests::fleet::send(victim, nix::sys::signal::Signal::SIGKILL);
    fleet.console.wait_for("is started again in");
    wait::until("a second without a wake-up", || sleeps(&[sibling, fleet.master()]));
    fleet.stop();
}
