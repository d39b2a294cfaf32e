//! Resource usage: no wake-up while idle, no leaked descriptor and no zombie after failures.
#![cfg(any(target_os = "linux", windows))]

#[cfg(unix)]
use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::{proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[test]
fn twenty_killed_children_leave_no_descriptor_and_no_zombie() {
    for reuseport in [false, true] {
        let server = Server::new(SERVER).set("workers", 5).set("recover", 100);
        let fleet = server.reuseport(reuseport).start();
        let master = fleet.master();
        let before = proc::handle_count(master);
        for _ in 0..4 {
            fleet.replace(&fleet.children());
        }
        assert_eq!(fleet.console.lines_with("in place of pid").len(), 20);
        let same = || proc::handle_count(master) == before;
        wait::until("the same number of descriptors", same);
        assert_eq!(proc::zombies(master), Vec::<u32>::new());
        // On Windows the master has one more thread per child.
        #[cfg(unix)]
        assert_eq!(proc::threads(master).len(), 2, "the loop and the log's writer");
        fleet.stop();
    }
}

#[cfg(unix)]
fn check_idle_fleet(server: &str) {
    let fleet = Server::new(server).start();
    client::serving_pid(fleet.addr());
    let mut processes = fleet.first_children();
    processes.push(fleet.master());
    proc::wait_until_idle(&processes);
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn idle_fleet_does_not_wake() {
    check_idle_fleet(SERVER);
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn idle_tokio_fleet_does_not_wake() {
    check_idle_fleet(env!("CARGO_BIN_EXE_tokio_server"));
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn fleet_waiting_for_respawn_does_not_wake() {
    let fleet = Server::new(SERVER).set("recover_interval", "1h").start();
    let [victim, sibling] = fleet.first_children()[..] else { panic!("two children") };
    prefork_tests::signal::send(victim, prefork_tests::signal::Signal::SIGKILL);
    fleet.console.wait_for("restarts in");
    proc::wait_until_idle(&[sibling, fleet.master()]);
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn idle_process_without_children_does_not_wake_and_leaks_no_descriptor() {
    for server in [SERVER, env!("CARGO_BIN_EXE_tokio_server")] {
        let process = Server::new(server).set("workers", 0).env("PREFORK_HEALTH", "127.0.0.1:0").launch();
        process.console.wait_for("ready; stop with ");
        client::serving_pid(process.addr());
        proc::wait_until_idle(&[process.master()]);
        let before = proc::handle_count(process.master());
        for _ in 0..50 {
            client::serving_pid(process.addr());
            process.signal(prefork_tests::signal::Signal::SIGHUP);
        }
        wait::until("the same number of descriptors", || proc::handle_count(process.master()) == before);
        process.stop();
    }
}
