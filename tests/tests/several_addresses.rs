//! Several addresses and the options of TCP sockets.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use prefork_tests::client;
use prefork_tests::fleet::Server;

const MULTI_ADDRESS_SERVER: &str = env!("CARGO_BIN_EXE_multi_address_server");
const TWO: &str = "127.0.0.1:0,[::1]:0";

#[test]
fn several_addresses_are_served_through_scale_crash_reload_and_upgrade() {
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
fn addresses_unfit_for_serve_function_are_refused() {
    let run = |takes: &str, addrs: &str| {
        Server::new(MULTI_ADDRESS_SERVER).set("takes", takes).set("addrs", addrs).run()
    };
    let unix = "unix:/no/such/directory/app.sock";
    run("tcp", unix).assert_refused("expected `host:port`, because the serve function takes a `TcpListener`");
    run("pair", "127.0.0.1:0").assert_refused("addr cannot be `127.0.0.1:0`: expected 2 addresses");
    run("tcp", TWO).assert_refused("expected 1 address, as many as the serve function takes");
}

#[test]
fn all_socket_options_serve() {
    for reuseport in [false, true] {
        let fleet = Server::new(MULTI_ADDRESS_SERVER).set("socket_options", 1).reuseport(reuseport).start();
        client::serving_pid(fleet.addr());
        fleet.stop();
    }
}

// The tests of Unix sockets are in `unix_sockets.rs`.
#[cfg(windows)]
#[test]
fn unix_address_on_windows_is_refused() {
    for addrs in ["unix:/run/app.sock", "unix:@app", "127.0.0.1:0,unix:/run/app.sock"] {
        let unix = addrs.rsplit(',').next().unwrap();
        let outcome = Server::new(MULTI_ADDRESS_SERVER).set("addrs", addrs).run();
        outcome.assert_refused(&format!("addr cannot be `{unix}`: expected `host:port`: this system has no"));
    }
}
