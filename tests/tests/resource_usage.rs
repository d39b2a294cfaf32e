//! What a fleet uses up: nothing while it is idle, nothing more after failures, nothing at the end.
#![cfg(any(target_os = "linux", windows))]

#[cfg(unix)]
use std::{thread, time::Duration};

#[cfg(unix)]
use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::{proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[test]
fn twenty_kills_leave_no_descriptor_and_no_zombie() {
    for reuseport in [false, true] {
        let server = Server::new(SERVER).set("workers", 5).set("recover", 100);
        let fleet = if reuseport { server.set("reuseport", 1) } else { server }.start();
        let master = fleet.master();
        let before = proc::handle_count(master);
        for _ in 0..4 {
            fleet.replace(&fleet.children());
        }
        assert_eq!(fleet.console.lines_with("in place of pid").len(), 20);
        let same = || proc::handle_count(master) == before;
        wait::until("as many descriptors as before", same);
        assert_eq!(proc::zombies(master), Vec::<u32>::new());
        // On Windows there is one for each child as well.
        #[cfg(unix)]
        assert_eq!(proc::threads(master).len(), 1, "the master has one thread");
        fleet.stop();
    }
}

/// Whether nobody in the fleet wakes up in a whole second.
#[cfg(unix)]
fn sleeps(processes: &[u32]) -> bool {
    let switches = || processes.iter().map(|pid| proc::context_switches(*pid)).collect::<Vec<_>>();
    let before = switches();
    // Not in place of a condition: that nothing happens takes time to see.
    thread::sleep(Duration::from_secs(1));
    switches() == before
}

#[cfg(unix)]
fn an_idle_fleet_sleeps(server: &str) {
    let fleet = Server::new(server).start();
    client::serving_pid(fleet.addr());
    let mut processes = fleet.first_children();
    processes.push(fleet.master());
    // It may still be settling at first; whoever wakes up by the clock never passes.
    wait::until("a second without a wake-up", || sleeps(&processes));
    fleet.stop();
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn an_idle_fleet_makes_no_system_call() {
    an_idle_fleet_sleeps(SERVER);
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn an_idle_tokio_fleet_makes_no_system_call() {
    an_idle_fleet_sleeps(env!("CARGO_BIN_EXE_tokio_server"));
}

// A view of `/proc`.
#[cfg(unix)]
#[test]
fn a_fleet_that_waits_to_respawn_sleeps_as_well() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    let [victim, sibling] = fleet.first_children()[..] else { panic!("two children") };
    prefork_tests::signal::send(victim, prefork_tests::signal::Signal::SIGKILL);
    fleet.console.wait_for("is started again in");
    wait::until("a second without a wake-up", || sleeps(&[sibling, fleet.master()]));
    fleet.stop();
}
