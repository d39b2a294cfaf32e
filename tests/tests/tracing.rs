//! Messages with a `tracing` subscriber: their fields, and the span of a child.
#![cfg(any(target_os = "linux", windows))]

use prefork_tests::client;
use prefork_tests::fleet::Server;
use prefork_tests::signal::Signal;

const TRACING_SERVER: &str = env!("CARGO_BIN_EXE_tracing_server");

#[test]
fn messages_are_tracing_events_with_fields_and_appear_once() {
    let fleet = Server::new(TRACING_SERVER).start();
    let before = fleet.first_children();
    fleet.replace(&before[1..]);
    let line = fleet.console.wait_for("started in place of pid");
    let new = fleet.children().into_iter().find(|child| !before.contains(child)).expect("a successor");
    for field in ["INFO prefork: ", "event=\"child_replaced\"", "slot=1", "generation=0"] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(line.contains(&format!("pid={new}")), "{line}");
    assert_eq!(fleet.console.lines_with("started in place of pid").len(), 1);
    fleet.signal(Signal::SIGTERM);
    fleet.expect_stopped();
}

#[test]
fn child_messages_are_in_span_with_slot_and_pid() {
    for runtime in ["current_thread", "multi_thread"] {
        let fleet = Server::new(TRACING_SERVER).env("PREFORK_RUNTIME", runtime).start();
        let pid = client::serving_pid(fleet.addr());
        let slot = fleet.first_children().into_iter().position(|child| child == pid);
        let line = fleet.console.wait_for("answering");
        let span = format!("child{{slot={} generation=0 pid={pid}}}", slot.expect("one of the children"));
        assert_eq!(line.matches(&span).count(), 1, "{line}");
        fleet.stop();
    }
}
