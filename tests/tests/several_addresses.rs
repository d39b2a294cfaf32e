//! Several addresses, options of sockets, and Unix sockets.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use prefork_tests::client;
use prefork_tests::fleet::Server;

const MULTI_ADDRESS_SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");
const TWO: &str = "127.0.0.1:0,[::1]:0";

#[test]
fn one_fleet_serves_several_addresses_through_everything() {
    for takes in ["any", "pair"] {
        let server = Server::new(MULTI_ADDRESS_SERVER)
            .set("takes", takes)
            .set("addrs", TWO)
            .set("shutdown_grace", "30s");
        let fleet = server.start();
        let addrs = fleet.addrs();
        assert!(addrs.len() == 2 && addrs[0].is_ipv4() && addrs[1].is_ipv6(), "{addrs:?}");
        fleet.check_through_operations(|| {
            for addr in &addrs {
                client::serving_pid(*addr);
            }
        });
        fleet.stop();
    }
}

#[test]
fn addresses_that_the_serve_function_does_not_take_are_refused() {
    let run = |takes: &str, addrs: &str| {
        Server::new(MULTI_ADDRESS_SERVER).set("takes", takes).set("addrs", addrs).run()
    };
    let unix = "unix:/no/such/directory/app.sock";
    run("tcp", unix).assert_refused("expected `host:port`, for the serve function takes a `TcpListener`");
    run("pair", "127.0.0.1:0").assert_refused("addr cannot be `127.0.0.1:0`: expected 2 addresses");
    run("tcp", TWO).assert_refused("expected 1 address, as many as the serve function takes");
}

#[test]
fn a_fleet_with_every_option_of_sockets_serves() {
    for reuseport in [false, true] {
        let server = Server::new(MULTI_ADDRESS_SERVER).set("socket_options", 1);
        let fleet = if reuseport { server.set("reuseport", 1) } else { server }.start();
        client::serving_pid(fleet.addr());
        fleet.stop();
    }
}

// Where there are Unix sockets, they have tests of their own.
#[cfg(windows)]
#[test]
fn an_address_that_no_listener_can_have_here_is_refused() {
    for addrs in ["unix:/run/app.sock", "unix:@app", "127.0.0.1:0,unix:/run/app.sock"] {
        let unix = addrs.rsplit(',').next().unwrap();
        let outcome = Server::new(MULTI_ADDRESS_SERVER).set("addrs", addrs).run();
        outcome.assert_refused(&format!("addr cannot be `{unix}`: expected `host:port`: this system has no"));
    }
}
