//! Errors before the first child: one line that says what to do, status 1, and no child.
#![cfg(any(target_os = "linux", windows))]

use std::net::{Ipv6Addr, TcpListener};

use prefork_tests::fleet::Server;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
/// The part of the message for an address in use that does not depend on the system.
const IN_USE: &str = "another process listens there";

fn refused(option: &str, value: &str, reason: &str) {
    Server::new(SERVER).set(option, value).run().assert_refused(reason);
}

#[test]
fn busy_port_is_refused_with_and_without_reuseport() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap();
    let server = || Server::new(SERVER).set("addr", addr);
    for server in [server(), server().reuseport(true)] {
        let outcome = server.run();
        outcome.assert_refused(&format!("cannot bind {addr}: "));
        outcome.assert_refused(IN_USE);
    }
}

#[test]
fn second_fleet_on_same_port_is_refused_with_and_without_reuseport() {
    for first in [false, true] {
        let fleet = Server::new(SERVER).reuseport(first).start();
        for second in [false, true] {
            let server = Server::new(SERVER).set("addr", fleet.addr()).reuseport(second);
            server.run().assert_refused(IN_USE);
        }
        fleet.stop();
    }
}

#[test]
fn stopped_fleet_frees_its_port_at_once() {
    let fleet = Server::new(SERVER).start();
    let addr = fleet.addr();
    // The server closes first, so its side of these connections stays in TIME_WAIT.
    for _ in 0..10 {
        prefork_tests::client::serving_pid(addr);
    }
    fleet.stop();
    Server::new(SERVER).set("addr", addr).start().stop();
    Server::new(SERVER).set("addr", addr).reuseport(true).start().stop();
}

#[test]
fn address_of_other_machine_is_refused() {
    refused("addr", "192.0.2.1:8080", "cannot bind 192.0.2.1:8080");
}

#[test]
fn malformed_addresses_are_refused() {
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
fn address_outside_network_is_refused() {
    let server = || Server::new(SERVER);
    server().set("network", "tcp6").set("addr", "127.0.0.1:0").run().assert_refused("tcp6");
    server().set("network", "tcp4").set("addr", "[::1]:0").run().assert_refused("tcp4");
    server().set("network", "udp").run().assert_refused("network cannot be `udp`: expected `tcp4`");
}

#[test]
fn invalid_workers_are_refused() {
    refused(
        "workers",
        "8193",
        "workers cannot be `8193`: expected a number from 0 to 8192 (set by the builder)",
    );
    refused("workers", &usize::MAX.to_string(), "workers cannot be");
}

#[test]
fn invalid_durations_are_refused() {
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
fn invalid_backlogs_are_refused() {
    refused("backlog", "0", "backlog cannot be `0`");
    refused("backlog", &u32::MAX.to_string(), "backlog cannot be");
}

// Windows has no privileged ports.
#[cfg(unix)]
#[test]
fn privileged_port_without_capability_is_refused() {
    use std::fs;

    use prefork_tests::fleet::AS_NOBODY;
    use prefork_tests::program::ProgramCopy;

    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let protected = first.is_ok_and(|first| first.trim().parse::<u16>().is_ok_and(|first| first > 81));
    if !protected {
        return prefork_tests::skip::skipped("privileged-ports");
    }
    let program = ProgramCopy::new(SERVER);
    let server = if nix::unistd::geteuid().is_root() {
        Server::through(&AS_NOBODY, program.path())
    } else {
        Server::new(SERVER)
    };
    let outcome = server.unset("started").set("addr", "127.0.0.1:81").run();
    outcome.assert_refused("cannot bind 127.0.0.1:81: permission denied");
    assert!(outcome.error().contains("CAP_NET_BIND_SERVICE"), "{}", outcome.error());
}

#[test]
fn dual_stack_port_taken_on_ipv6_is_refused() {
    let Ok(busy) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
        return prefork_tests::skip::skipped("ipv6");
    };
    let port = busy.local_addr().unwrap().port();
    let server = Server::new(SERVER).set("network", "tcp").set("addr", format!(":{port}"));
    server.run().assert_refused(IN_USE);
}
