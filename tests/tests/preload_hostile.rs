//! Templates that do what they must not do, because of what `preload` calls.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::fs;

use prefork_tests::fleet::Server;
use prefork_tests::gate::ResponseGate;
use prefork_tests::preload::template;
use prefork_tests::signal::{Signal, send};
use prefork_tests::{client, proc};

const SERVER: &str = env!("CARGO_BIN_EXE_preload_server");

/// The master would end the process, and reap it in place of the code that has started it.
#[test]
fn template_that_claims_a_process_of_user_code_for_a_child_is_killed() {
    let (gate, directory) = (ResponseGate::new(), tempfile::tempdir().unwrap());
    let tells = directory.path().join("tells");
    let server = Server::new(SERVER).set("early_helper", 1).set("load", "tell").set("tells", tells.display());
    let mut fleet = server.gate(&gate).start();
    let helper: u32 = fleet.console.wait_for("helper ")[7..].parse().unwrap();
    // The ids of the children that are ordered next.
    let claims: Vec<String> = (2..5).map(|child| format!("forked child={child} pid={helper}\n")).collect();
    fs::write(&tells, claims.concat()).unwrap();
    let victim = fleet.first_children()[0];
    // It does not answer the order itself.
    send(template(&fleet), Signal::SIGSTOP);
    send(victim, Signal::SIGKILL);
    fleet.console.wait_for(&format!("(pid {victim}) exited"));
    gate.open();
    fleet.console.wait_for(&format!("a pid that is none of a child ({helper}); killing it"));
    fleet.console.wait_for(&format!("in place of pid {victim}"));
    // Not `stop`, which wants that nothing was killed.
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0));
    assert!(proc::is_alive(helper), "{:#?}", fleet.console.lines());
    send(helper, Signal::SIGKILL);
}

#[test]
fn process_that_load_forks_and_returns_in_is_no_template() {
    let fleet = Server::new(SERVER).set("load", "fork").start();
    fleet.console.wait_for(&format!(
        "what `preload` calls has forked it from the template (pid {}), and has to end there",
        template(&fleet)
    ));
    for _ in 0..5 {
        let victim = fleet.children()[0];
        send(victim, Signal::SIGKILL);
        fleet.wait_for_children(2, &[victim]);
    }
    client::try_get(fleet.addr(), "/value").unwrap();
    fleet.stop();
}

#[test]
fn producer_that_panics_for_a_template_that_no_child_waits_for_does_not_end_the_fleet() {
    let gate = ResponseGate::new();
    let server =
        Server::new(env!("CARGO_BIN_EXE_hooks_server")).set("preload", 1).set("produces", "panic_at_gate");
    let mut fleet = server.gate(&gate).start();
    gate.open();
    send(template(&fleet), Signal::SIGKILL);
    fleet.console.wait_for("cannot start the template of generation 0");
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
}
