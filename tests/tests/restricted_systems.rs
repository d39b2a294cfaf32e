//! Fleets where `/proc` is missing, hidden or read-only, or a system call is forbidden: they work, or one line
//! says what is missing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test")]

use std::process::{Command, Stdio};

use prefork_tests::client;
use prefork_tests::fleet::{AS_NOBODY, RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::Signal;
use prefork_tests::skip::skipped;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A wrapper that executes its arguments after `script` has changed the mounts; `None` if that is not allowed.
fn mounted(script: &str) -> Option<Vec<String>> {
    let script = format!(r#"{script} && exec "$0" "$@""#);
    let wrapper = ["unshare", "-m", "sh", "-c", &script].map(str::to_owned).to_vec();
    let allowed = Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").stderr(Stdio::null()).status();
    allowed.is_ok_and(|status| status.success()).then_some(wrapper)
}

fn through(wrapper: &[String], program: &str) -> Server {
    Server::through(&wrapper.iter().map(String::as_str).collect::<Vec<_>>(), program)
}

/// Replaces children in every way, and stops the fleet while it answers a request.
fn check_operations(server: Server, gate: &ResponseGate) -> Vec<String> {
    let fleet = server.gate(gate).set("shutdown_grace", "30s").start();
    client::serving_pid(fleet.addr());
    fleet.replace(&fleet.first_children()[..1]);
    fleet.operate(Signal::SIGHUP, 1, "is of generation 1");
    client::serving_pid(fleet.addr());
    check_stop(fleet, gate)
}

fn check_stop(fleet: RunningFleet, gate: &ResponseGate) -> Vec<String> {
    let request = client::begin(fleet.addr(), "/gate");
    fleet.signal(Signal::SIGTERM);
    fleet.wait_until_it_refuses();
    gate.open();
    request.finish().expect("the request under way is answered");
    fleet.expect_stopped()
}

#[test]
fn start_without_proc_is_refused() {
    for script in ["umount -l /proc", "mount -t tmpfs none /proc"] {
        let Some(wrapper) = mounted(script) else { return skipped("namespaces") };
        through(&wrapper, SERVER).run().assert_refused("Is /proc mounted?");
    }
}

#[test]
fn fleet_works_where_proc_hides_other_users_or_the_system_or_is_read_only() {
    let program = ProgramCopy::new(SERVER);
    let program = program.path();
    let scripts = [
        "mount -t proc -o hidepid=2 none /proc",
        "mount -t proc -o subset=pid none /proc",
        "mount -o remount,ro,bind /proc",
    ];
    for script in scripts {
        let Some(wrapper) = mounted(script) else { return skipped("namespaces") };
        let as_nobody = AS_NOBODY.map(str::to_owned);
        let wrapper = [wrapper, as_nobody.to_vec()].concat();
        let gate = ResponseGate::new();
        check_operations(through(&wrapper, program.to_str().unwrap()), &gate);
    }
}

#[cfg(target_arch = "x86_64")]
mod system_calls {
    use super::*;

    const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");
    const FORBID: &str = env!("CARGO_BIN_EXE_forbid");

    fn without(call: &str) -> Server {
        Server::through(&[FORBID, call], SERVER)
    }

    #[test]
    fn fleet_works_without_calls_that_it_can_do_without() {
        for call in
            ["close_range", "getsockopt", "memfd_create", "prctl", "prlimit64", "sched_getaffinity", "statx"]
        {
            eprintln!("without {call}");
            let gate = ResponseGate::new();
            check_operations(without(call), &gate);
        }
    }

    /// A thread that waits in `accept` stays there then, and the port is open until the process ends.
    #[test]
    fn stop_that_cannot_interrupt_threads_finishes_requests() {
        let gate = ResponseGate::new();
        let fleet = without("tgkill").gate(&gate).set("shutdown_grace", "30s").start();
        let request = client::begin(fleet.addr(), "/gate");
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping");
        gate.open();
        request.finish().expect("the request under way is answered");
        fleet.expect_stopped();
    }

    /// A thread that waits in `accept` cannot be found then. On a runtime there is none.
    #[test]
    fn async_server_that_cannot_list_its_descriptors_finishes_its_requests() {
        let gate = ResponseGate::new();
        check_operations(Server::through(&[FORBID, "getdents64"], TOKIO_SERVER), &gate);
    }

    #[test]
    fn start_without_calls_that_it_needs_ends_with_one_error() {
        for call in ["dup2", "kill", "readlink", "recvmsg", "sendmsg", "setpgid", "setsockopt", "socketpair"]
        {
            eprintln!("without {call}");
            let outcome = without(call).set("recover", 0).run();
            let hint = if call == "recvmsg" { "before it was ready" } else { "operation not permitted" };
            assert!(outcome.error().contains(hint), "{call}: {outcome:#?}");
        }
    }
}
