//! Signals to the master and to its children.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::net::TcpStream;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::gate::ResponseGate;
#[cfg(unix)]
use prefork_tests::signal::WITHOUT_EFFECT_IN_CHILD;
use prefork_tests::signal::{Signal, send};
use prefork_tests::terminal::Terminal;
use prefork_tests::{client, proc, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A fleet with an endless request in flight and an hour of grace.
fn with_endless_request() -> (RunningFleet, client::PendingRequest) {
    let fleet = Server::new(SERVER).set("shutdown_grace", "1h").start();
    let request = client::begin(fleet.addr(), "/hold");
    (fleet, request)
}

/// Waits for the end of a fleet whose children are killed; checks that no process is left. Returns the
/// exit code.
fn exit_code_after_kill(mut fleet: RunningFleet) -> Option<i32> {
    let status = fleet.wait();
    fleet.assert_nothing_left();
    status.code()
}

#[test]
fn term_and_int_stop_gracefully() {
    let signals = [
        Signal::SIGTERM,
        #[cfg(unix)]
        Signal::SIGINT,
    ];
    for signal in signals {
        let fleet = Server::new(SERVER).start();
        client::serving_pid(fleet.addr());
        fleet.signal(signal);
        let lines = fleet.expect_stopped();
        assert!(lines.last().unwrap().ends_with("stopped"), "{signal}: {lines:#?}");
    }
}

#[test]
fn second_stop_signal_kills_at_once() {
    let seconds = [
        Signal::SIGTERM,
        #[cfg(unix)]
        Signal::SIGINT,
        Signal::SIGQUIT,
    ];
    for second in seconds {
        let (fleet, request) = with_endless_request();
        fleet.signal(Signal::SIGTERM);
        fleet.console.wait_for("stopping");
        fleet.insist(|| fleet.try_signal(second));
        assert_eq!(exit_code_after_kill(fleet), Some(0), "{second}");
        assert!(request.finish().is_err(), "the request was answered");
    }
}

// An event of Windows that is set twice is set.
#[cfg(unix)]
#[test]
fn term_and_int_in_the_same_moment_are_one_graceful_stop() {
    let gate = ResponseGate::new();
    let fleet = Server::new(SERVER).gate(&gate).start();
    let in_flight = client::begin_many(fleet.addr(), "/gate", 4);
    // Both are pending when the master continues.
    fleet.signal(Signal::SIGSTOP);
    wait::until("stopped master", || proc::is_stopped(fleet.master()));
    fleet.signal(Signal::SIGTERM);
    fleet.signal(Signal::SIGINT);
    fleet.signal(Signal::SIGCONT);
    fleet.wait_until_it_refuses();
    gate.open();
    client::finish_all(in_flight);
    let lines = fleet.expect_stopped();
    assert!(!lines.iter().any(|line| line.contains("stopping at once")), "{lines:#?}");
}

#[test]
fn quit_kills_at_once() {
    let (fleet, request) = with_endless_request();
    fleet.signal(Signal::SIGQUIT);
    fleet.console.wait_for("stopping at once");
    assert_eq!(exit_code_after_kill(fleet), Some(0));
    assert!(request.finish().is_err());
}

#[test]
fn child_with_endless_request_is_killed_after_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let request = client::begin(fleet.addr(), "/hold");
    fleet.signal(Signal::SIGTERM);
    let line = fleet.console.wait_for("killing");
    assert!(line.contains("did not stop within 300ms"), "{line}");
    // On Windows an idle child waits for the connections of its siblings too.
    assert!(cfg!(windows) || fleet.console.lines_with("killing").len() == 1, "only the busy child is killed");
    assert_eq!(exit_code_after_kill(fleet), Some(0));
    assert!(request.finish().is_err());
}

#[test]
fn stop_with_silent_connection_ends_after_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let threads = || fleet.children().into_iter().map(proc::thread_count).sum::<usize>();
    let before = threads();
    let silent = TcpStream::connect(fleet.addr()).unwrap();
    wait::until("accepted connection", || threads() > before);
    fleet.signal(Signal::SIGTERM);
    assert_eq!(exit_code_after_kill(fleet), Some(0));
    drop(silent);
}

#[test]
fn suspended_child_is_killed_after_grace() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "300ms").start();
    let victim = fleet.first_children()[0];
    send(victim, Signal::SIGSTOP);
    wait::until("stopped child", || proc::is_stopped(victim));
    fleet.signal(Signal::SIGTERM);
    fleet.console.wait_for("did not stop within 300ms");
    assert_eq!(exit_code_after_kill(fleet), Some(0));
}

#[test]
fn quit_kills_suspended_children_at_once() {
    let fleet = Server::new(SERVER).set("shutdown_grace", "1h").start();
    fleet.first_children().iter().for_each(|child| send(*child, Signal::SIGSTOP));
    fleet.signal(Signal::SIGQUIT);
    assert_eq!(exit_code_after_kill(fleet), Some(0));
}

#[test]
fn stop_while_children_boot_exits_0() {
    let mut fleet = Server::new(SERVER).set("boot", "hang").set("shutdown_grace", "1h").launch();
    wait::until("two booting children", || fleet.children_started() == 2);
    fleet.signal(Signal::SIGTERM);
    assert_eq!(fleet.wait().code(), Some(0), "{:#?}", fleet.console.lines());
    fleet.assert_nothing_left();
}

// Windows has no signals that a fleet ignores.
#[cfg(unix)]
#[test]
fn ignored_signals_in_bulk_do_not_disturb_fleet() {
    let fleet = Server::new(SERVER).start();
    for signal in [Signal::SIGCHLD, Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCONT] {
        (0..50).for_each(|_| fleet.signal(signal));
    }
    assert_eq!(fleet.children(), fleet.wait_for_children(2, &[]));
    client::serving_pid(fleet.addr());
    fleet.stop();
}

// It reads `/proc`.
#[cfg(unix)]
#[test]
fn every_child_leads_its_process_group() {
    let fleet = Server::new(SERVER).start();
    for child in fleet.first_children() {
        assert_eq!(proc::group(child), Some(child));
    }
    fleet.stop();
}

#[test]
fn ctrl_c_stops_gracefully_and_answers_requests_in_flight() {
    let gate = ResponseGate::new();
    let terminal = Terminal::start(SERVER.as_ref(), |server| server.gate(&gate));
    let in_flight = client::begin_many(terminal.fleet.addr(), "/gate", 4);
    terminal.press_ctrl_c().unwrap();
    terminal.fleet.wait_until_it_refuses();
    gate.open();
    client::finish_all(in_flight);
    terminal.fleet.expect_stopped();
}

#[test]
fn second_ctrl_c_kills_at_once() {
    let terminal = Terminal::start(SERVER.as_ref(), |server| server.set("shutdown_grace", "1h"));
    let request = client::begin(terminal.fleet.addr(), "/hold");
    terminal.press_ctrl_c().unwrap();
    terminal.fleet.console.wait_for("ask again to stop at once");
    terminal.fleet.insist(|| drop(terminal.press_ctrl_c()));
    assert_eq!(exit_code_after_kill(terminal.fleet), Some(0));
    assert!(request.finish().is_err());
}

#[cfg(unix)]
#[test]
fn signals_without_meaning_do_not_end_the_master() {
    let fleet = Server::new(SERVER).start();
    for signal in [Signal::SIGALRM, Signal::SIGPIPE, Signal::SIGWINCH, Signal::SIGURG, Signal::SIGUSR1] {
        fleet.signal(signal);
    }
    fleet.console.wait_for("there is no hook on_log_reopen");
    assert_eq!(fleet.children(), fleet.first_children());
    fleet.stop();
}

/// A program that never takes its handshake stands for a child in the moment of its start.
#[cfg(unix)]
#[test]
fn signals_to_a_child_do_nothing_before_it_takes_its_handshake_either() {
    let program = prefork_tests::program::ProgramCopy::new(SERVER);
    let fleet = Server::new(program.path()).set("workers", 1).start();
    let first = fleet.first_children();
    program.replace_with("/usr/bin/yes");
    fleet.signal(Signal::SIGHUP);
    let starting = || fleet.children().into_iter().find(|child| !first.contains(child));
    let child = wait::for_value("the new child", starting);
    // Before, it is a copy of the master.
    let old = proc::executable(fleet.master());
    wait::until("the new program", || proc::executable(child).is_some_and(|new| Some(new) != old));
    let blocked = u64::from_str_radix(&proc::status_field(child, "SigBlk").unwrap(), 16).unwrap();
    let is_blocked = |signal: Signal| blocked & 1 << (signal as i32 - 1) != 0;
    for signal in WITHOUT_EFFECT_IN_CHILD {
        assert!(is_blocked(signal), "{signal}");
    }
    assert!(!is_blocked(Signal::SIGTERM), "it ends such a child");
    // One that has taken it has none of them blocked: what it starts would inherit that.
    assert_eq!(proc::status_field(first[0], "SigBlk").as_deref(), Some("0000000000000000"));
    fleet.signal(Signal::SIGQUIT);
    assert!(fleet.expect_end().status.success());
}

#[cfg(unix)]
#[test]
fn nohup_is_respected() {
    let fleet = Server::through(&["nohup"], SERVER).start();
    fleet.console.wait_for("SIGHUP stays ignored, as it was at the start (nohup): reload with SIGUSR2");
    fleet.signal(Signal::SIGHUP);
    fleet.signal(Signal::SIGTTIN);
    fleet.console.wait_for("resized from");
    assert!(fleet.console.lines_with("reload").len() == 1, "{:#?}", fleet.console.lines_with("reload"));
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded:");
    fleet.stop();
}

/// The pid of a master that a shell has started in the background of a terminal.
#[cfg(unix)]
fn master_in_background(fleet: &RunningFleet) -> u32 {
    fleet.console.wait_for("master pid").rsplit(' ').next().unwrap().parse().unwrap()
}

/// A server that a shell with job control starts in the background of its terminal; and the terminal.
#[cfg(unix)]
fn in_background(program: &str) -> (Server, std::os::fd::OwnedFd) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let script = r#"stty tostop; set -m; "$0" & wait"#;
    let mut server = Server::through(&["setsid", "--ctty", "sh", "-c", script], program);
    server.command.stdin(terminal.slave);
    (server, terminal.master)
}

/// With `stty tostop`, the terminal sends SIGTTOU to a background process that writes to it.
#[cfg(unix)]
#[test]
fn hook_that_prints_in_the_background_of_a_terminal_shrinks_no_fleet() {
    let (server, _terminal) = in_background(env!("CARGO_BIN_EXE_hooks_server"));
    let fleet = server.set("prints", "on_master_ready").start();
    // Printed after the hook, which would otherwise print for ever.
    let master = master_in_background(&fleet);
    send(master, Signal::SIGTTIN);
    fleet.console.wait_for("resized from 2 to 3 children");
    assert_eq!(fleet.console.lines_with("resized").len(), 1);
    send(master, Signal::SIGTERM);
    fleet.console.wait_for("stopped");
}

/// The terminal sends SIGTTIN for each attempt, and the thread attempts it again after each.
#[cfg(unix)]
#[test]
fn thread_that_reads_in_the_background_of_a_terminal_adds_no_child() {
    let gate = ResponseGate::new();
    let (server, _terminal) = in_background(SERVER);
    let fleet = server.set("reads", "1").gate(&gate).start();
    let master = master_in_background(&fleet);
    gate.open();
    fleet.console.wait_for("SIGTTIN is ignored from now on");
    send(master, Signal::SIGTTIN);
    send(master, Signal::SIGTTOU);
    fleet.console.wait_for("resized from 2 to 1 child");
    assert_eq!(fleet.console.lines_with("resized").len(), 1);
    send(master, Signal::SIGTERM);
    fleet.console.wait_for("stopped");
}
