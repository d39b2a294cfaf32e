//! What cannot be is refused before a child is started: one line that says what to do, status 1.
#![cfg(any(target_os = "linux", windows))]

use std::net::{Ipv6Addr, TcpListener};

use prefork_tests::fleet::Server;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
/// What is said where the system finds an address in use, in its own words.
const IN_USE: &str = "another process listens there";

fn refused(option: &str, value: &str, reason: &str) {
    Server::new(SERVER).set(option, value).run().assert_refused(reason);
}

#[test]
fn a_busy_port_is_the_masters_error_in_both_modes() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap();
    let server = || Server::new(SERVER).set("addr", addr);
    for server in [server(), server().set("reuseport", 1)] {
        let outcome = server.run();
        outcome.assert_refused(&format!("cannot bind {addr}: "));
        outcome.assert_refused(IN_USE);
    }
}

#[test]
fn a_second_fleet_on_the_same_port_is_refused_in_every_combination_of_modes() {
    for first in [false, true] {
        let server = Server::new(SERVER);
        let fleet = if first { server.set("reuseport", 1) } else { server }.start();
        for second in [false, true] {
            let server = Server::new(SERVER).set("addr", fleet.addr());
            let server = if second { server.set("reuseport", 1) } else { server };
            server.run().assert_refused(IN_USE);
        }
        fleet.stop();
    }
}

#[test]
fn a_port_can_be_had_again_at_once() {
    let fleet = Server::new(SERVER).start();
    let addr = fleet.addr();
    // The side that closes first keeps the connection in TIME_WAIT: here that is the server.
    for _ in 0..10 {
        prefork_tests::client::serving_pid(addr);
    }
    fleet.stop();
    Server::new(SERVER).set("addr", addr).start().stop();
    Server::new(SERVER).set("addr", addr).set("reuseport", 1).start().stop();
}

#[test]
fn an_address_of_another_machine_is_refused() {
    refused("addr", "192.0.2.1:8080", "cannot bind 192.0.2.1:8080");
}

#[test]
fn addresses_that_mean_nothing_are_refused() {
    for (addr, reason) in [
        ("", "empty"),
        ("rubbish", "no port"),
        ("127.0.0.1", "no port"),
        ("127.0.0.1:", "has no port"),
        ("127.0.0.1:http", "not a number"),
        ("127.0.0.1:-1", "not a number"),
        ("127.0.0.1:65536", "out of range"),
        ("127.0.0.1:99999999999999999999", "out of range"),
        ("::1:8080", "brackets"),
        ("[::1:8080", "lacks its `]`"),
        ("no-such-host.invalid:8080", "no-such-host.invalid"),
        ("256.256.256.256:8080", "256.256.256.256"),
        ("[not an address]:8080", "not an address"),
    ] {
        refused("addr", addr, reason);
    }
}

#[test]
fn an_address_that_its_network_does_not_admit_is_refused() {
    let server = || Server::new(SERVER);
    server().set("network", "tcp6").set("addr", "127.0.0.1:0").run().assert_refused("tcp6");
    server().set("network", "tcp4").set("addr", "[::1]:0").run().assert_refused("tcp4");
    server().set("network", "udp").run().assert_refused("network cannot be `udp`: expected `tcp4`");
}

#[test]
fn numbers_of_workers_that_cannot_be_are_refused() {
    refused("workers", "0", "workers cannot be `0`: expected a number from 1");
    refused("workers", "4097", "workers cannot be `4097`");
    refused("workers", &usize::MAX.to_string(), "workers cannot be");
}

#[test]
fn durations_that_cannot_be_are_refused() {
    for option in ["recover_window", "recover_interval", "shutdown_grace", "start_timeout"] {
        for rubbish in ["", "soon", "5", "-1s", "1000000y", "99999999999999999999s"] {
            refused(option, rubbish, option);
        }
        refused(option, "400days", "at most 365 days");
    }
    refused("recover_window", "0s", "at least");
    refused("start_timeout", "0s", "at least");
}

#[test]
fn backlogs_that_cannot_be_are_refused() {
    refused("backlog", "0", "backlog cannot be `0`");
    refused("backlog", &u32::MAX.to_string(), "backlog cannot be");
}

// No port is privileged elsewhere.
#[cfg(unix)]
#[test]
fn a_privileged_port_is_refused_to_others_than_root() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let protected = first.is_ok_and(|first| first.trim().parse::<u16>().is_ok_and(|first| first > 81));
    if !protected {
        return eprintln!("skipped: port 81 is not privileged here");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = if nix::unistd::geteuid().is_root() {
        // Where root's files are, others may not look.
        let copy = directory.path().join("server");
        fs::copy(SERVER, &copy).unwrap();
        Server::through(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], copy)
    } else {
        Server::new(SERVER)
    };
    let outcome = server.unset("started").set("addr", "127.0.0.1:81").run();
    outcome.assert_refused("cannot bind 127.0.0.1:81: permission denied");
    assert!(outcome.error().contains("CAP_NET_BIND_SERVICE"), "{}", outcome.error());
}

#[test]
fn a_port_that_is_taken_on_one_version_only_is_refused_where_both_are_wanted() {
    let Ok(busy) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
        return eprintln!("skipped: no IPv6 here");
    };
    let port = busy.local_addr().unwrap().port();
    let server = Server::new(SERVER).set("network", "tcp").set("addr", format!(":{port}"));
    server.run().assert_refused(IN_USE);
}
