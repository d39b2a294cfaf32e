//! Privilege options of children: user, group, limits, CPUs and Landlock, checked from outside and by attempts
//! in the child.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::iter;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, User, geteuid};
use prefork_tests::fleet::{AS_NOBODY, RunningFleet, Server, preloads, wait_until_serving};
use prefork_tests::gate::ResponseGate;
use prefork_tests::program::{ProgramCopy, public_directory};
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;
use prefork_tests::{client, proc, wait};

const RESTRICTED_SERVER: &str = env!("CARGO_BIN_EXE_restricted_server");
const KEEP_ALIVE_SERVER: &str = env!("CARGO_BIN_EXE_keep_alive_server");
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const TOKIO_SERVER: &str = env!("CARGO_BIN_EXE_tokio_server");
const HOOKS_SERVER: &str = env!("CARGO_BIN_EXE_hooks_server");

/// Whether this test runs as root; prints a line if not.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skipped("root");
    }
    is_root
}

/// A free address with a privileged port, a different one at each call.
fn privileged_addr() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(600);
    let addrs = iter::repeat_with(|| format!("127.0.0.1:{}", NEXT.fetch_add(1, Ordering::SeqCst)));
    addrs.take(400).find(|addr| TcpListener::bind(addr).is_ok()).expect("a free port below 1024")
}

fn nobody() -> User {
    User::from_name("nobody").unwrap().expect("the user nobody exists")
}

fn assert_is_nobody(pid: u32) {
    let (uid, gid) = (nobody().uid, nobody().gid);
    let field = |name: &str| {
        let value = proc::status_field(pid, name).expect("a field of a live process");
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(field("Gid"), format!("{gid} {gid} {gid} {gid}"));
    assert_eq!(field("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
}

fn assert_all_are_nobody(fleet: &RunningFleet) {
    fleet.children().iter().for_each(|child| assert_is_nobody(*child));
    assert_eq!(proc::status_field(fleet.master(), "Uid").unwrap().split_whitespace().next(), Some("0"));
    // Each child logs one line, the first children and their successors.
    for line in fleet.console.lines_with("init of a child") {
        let User { uid, gid, .. } = nobody();
        assert_eq!(line, format!("init of a child: uid {uid}, gid {gid}, groups []; 0 ways to root"));
    }
    assert_eq!(client::get(fleet.addr(), "/become-root"), "0 ways to root");
}

/// Takes a fleet through crash, reload, upgrade and drain; checks that no child has root at any step.
fn check_runs_as_nobody(server: Server) {
    let gate = ResponseGate::new();
    let server = server.env("PREFORK_USER", "nobody").env("PREFORK_WORKERS", "2");
    let server = server.set("addr", privileged_addr()).gate(&gate);
    let fleet = server.env("PREFORK_SHUTDOWN_GRACE", "1m").start();
    assert_all_are_nobody(&fleet);
    fleet.replace(&fleet.first_children()[..1]);
    fleet.console.wait_for("in place of pid");
    assert_all_are_nobody(&fleet);
    let before = fleet.children();
    fleet.signal(Signal::SIGHUP);
    fleet.console.wait_for("reloaded: every child is of generation 1");
    let reloaded = fleet.wait_for_children(2, &before);
    assert_all_are_nobody(&fleet);
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded: every child is of generation 2");
    fleet.wait_for_children(2, &reloaded);
    assert_all_are_nobody(&fleet);
    // The check of the new program is one of them.
    assert_eq!(fleet.console.lines_with("init of a child").len(), 8, "{:#?}", fleet.console.lines());
    let addr = fleet.addr();
    let in_flight = client::begin_many(addr, "/gate", 6);
    fleet.signal(Signal::SIGTERM);
    // No client connects meanwhile, so the child must interrupt its threads that wait in `accept`.
    wait::until("closed port", || proc::listening_inodes(addr.port()).is_empty());
    gate.open();
    client::finish_all(in_flight);
    let lines = fleet.expect_stopped();
    assert!(!lines.iter().any(|line| line.contains("cannot")), "{lines:#?}");
}

#[test]
fn user_option_drops_root_in_every_child() {
    if is_root() {
        check_runs_as_nobody(Server::new(RESTRICTED_SERVER));
    }
}

#[test]
fn user_option_with_reuseport_drops_root_in_every_child() {
    if is_root() {
        check_runs_as_nobody(Server::new(RESTRICTED_SERVER).env("PREFORK_REUSEPORT", "true"));
    }
}

#[test]
fn term_to_idle_child_without_root_replaces_it() {
    if !is_root() {
        return;
    }
    for server in [SERVER, TOKIO_SERVER] {
        let fleet = Server::new(server).env("PREFORK_USER", "nobody").set("shutdown_grace", "1m").start();
        fleet.wait_until_ready_for_a_second();
        let [first, second] = fleet.first_children()[..] else { panic!("two children") };
        send(first, Signal::SIGTERM);
        wait::until("end of the child", || !proc::is_alive(first));
        fleet.console.wait_for("received SIGTERM");
        for child in fleet.wait_for_children(2, &[first]) {
            wait_until_serving(child);
            assert_is_nobody(child);
        }
        assert!(proc::is_alive(second));
        fleet.stop();
    }
}

#[test]
fn user_and_group_accept_names_and_numbers() {
    if !is_root() {
        return;
    }
    let cases = [("nobody", "0", "65534 0"), ("4711", "4712", "4711 4712"), ("65534", "daemon", "65534 1")];
    for (user, group, expected) in cases {
        // The master has more groups and capabilities; children must not inherit them.
        let server = Server::through(&["setpriv", "--groups=4,24", "--inh-caps=+chown"], RESTRICTED_SERVER);
        let server = server.env("PREFORK_WORKERS", "1");
        let fleet = server.env("PREFORK_USER", user).env("PREFORK_GROUP", group).start();
        let child = fleet.first_children()[0];
        let id =
            |name| proc::status_field(child, name).unwrap().split_whitespace().next().unwrap().to_owned();
        assert_eq!(format!("{} {}", id("Uid"), id("Gid")), expected);
        assert_eq!(proc::status_field(fleet.master(), "Groups").as_deref(), Some("4 24"));
        let groups = proc::status_field(child, "Groups").unwrap();
        assert!(!groups.split(' ').any(|group| ["4", "24"].contains(&group)), "{groups}");
        assert_eq!(proc::status_field(child, "CapInh").as_deref(), Some("0000000000000000"));
        fleet.stop();
    }
}

#[test]
fn upgrade_to_program_with_user_replaces_root_children() {
    if !is_root() {
        return;
    }
    let directory = public_directory();
    let overrides = directory.path().join("overrides");
    let fleet = Server::new(KEEP_ALIVE_SERVER).set("overrides", overrides.display()).start();
    let before = fleet.first_children();
    // The upgrade to a program with an unknown user is aborted.
    fs::write(&overrides, "127.0.0.1:0 2 no-such-user").unwrap();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("user cannot be `no-such-user`");
    fleet.console.wait_for("upgrade aborted");
    fs::write(&overrides, "127.0.0.1:0 2 nobody").unwrap();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded: every child");
    fleet.wait_for_children(2, &before).iter().for_each(|child| assert_is_nobody(*child));
    fleet.stop();
}

#[test]
fn nice_rlimit_and_cpu_affinity_apply_to_children_only() {
    let server = Server::new(SERVER).set("workers", 3).env("PREFORK_NICE", "7");
    let server = server.env("PREFORK_RLIMIT_NOFILE", "123").env("PREFORK_NO_NEW_PRIVS", "true");
    let fleet = server.env("PREFORK_CPU_AFFINITY", "auto").start();
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect();
    for (slot, child) in fleet.first_children().into_iter().enumerate() {
        assert_eq!(proc::nice(child), Some(7));
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
        let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(open_files.split_whitespace().nth(3), Some("123"));
        let cpu = cpus[slot % cpus.len()].to_string();
        assert_eq!(proc::status_field(child, "Cpus_allowed_list"), Some(cpu));
        assert_eq!(proc::status_field(child, "NoNewPrivs").as_deref(), Some("1"));
    }
    assert_eq!(proc::nice(fleet.master()), proc::nice(std::process::id()), "the master is unchanged");
    assert_eq!(proc::status_field(fleet.master(), "NoNewPrivs").as_deref(), Some("0"));
    fleet.stop();
}

#[test]
fn cpu_list_shorter_than_fleet_is_reused() {
    let fleet = Server::new(SERVER).set("workers", 2).env("PREFORK_CPU_AFFINITY", "0").start();
    for child in fleet.first_children() {
        assert_eq!(proc::status_field(child, "Cpus_allowed_list").as_deref(), Some("0"));
    }
    fleet.stop();
}

#[test]
fn reuseport_with_cpu_affinity_steers_connection_to_child_on_its_cpu() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    if !(allowed.is_set(0).unwrap() && allowed.is_set(1).unwrap()) {
        return skipped("two-cpus");
    }
    let server = Server::new(SERVER).set("reuseport", 1).env("PREFORK_CPU_AFFINITY", "0,1");
    let fleet = server.start();
    let before = fleet.first_children();
    // The steering changes while the slot is empty, and must be restored afterwards.
    fleet.replace(&before[..1]);
    let children: Vec<u32> = [fleet.wait_for_children(2, &before[..1]), before].concat();
    let place = |pid: u32| proc::status_field(pid, "Cpus_allowed_list").unwrap();
    for cpu in 0..2 {
        let mut here = CpuSet::new();
        here.set(cpu).unwrap();
        // On loopback a packet is received on the CPU that sends it.
        sched_setaffinity(Pid::from_raw(0), &here).unwrap();
        for _ in 0..20 {
            let pid = client::serving_pid(fleet.addr());
            assert!(children.contains(&pid));
            assert_eq!(place(pid), cpu.to_string());
        }
    }
    sched_setaffinity(Pid::from_raw(0), &allowed).unwrap();
    fleet.stop();
}

#[test]
fn invalid_privilege_options_are_refused_before_start() {
    let cases = [
        ("USER", "no-such-user", "expected a user of this system"),
        ("USER", "root", "expected a user other than root"),
        ("USER", "0", "expected a user other than root"),
        ("USER", "4711", "or `group` or PREFORK_GROUP beside it"),
        ("USER", "-1", "expected a user of this system"),
        ("GROUP", "daemon", "expected `user` or PREFORK_USER beside it"),
        ("NICE", "20", "a number from -20 to 19"),
        ("NICE", "-21", "a number from -20 to 19"),
        ("RLIMIT_NOFILE", "3", "a number from 16 to"),
        ("CPU_AFFINITY", "fast", "`auto`, or CPUs such as `0-3,8`"),
        ("CPU_AFFINITY", "1023", "CPUs that this process may use: 0"),
        ("NO_NEW_PRIVS", "perhaps", "`true` or `false`"),
    ];
    for (option, value, expected) in cases {
        let variable = format!("PREFORK_{option}");
        let outcome = Server::new(SERVER).env(&variable, value).run();
        outcome.assert_refused(&format!("{variable} cannot be `{value}`: expected"));
        outcome.assert_refused(expected);
    }
    let server = Server::new(SERVER).env("PREFORK_USER", "nobody").env("PREFORK_GROUP", "no-such-group");
    server.run().assert_refused("PREFORK_GROUP cannot be `no-such-group`: expected a group");
    let server = Server::new(SERVER).env("PREFORK_LANDLOCK_READ", "/no/such/place");
    server.run().assert_refused("cannot give children access to /no/such/place: no such file");
}

#[test]
fn privilege_options_without_root_are_refused() {
    if !is_root() {
        return;
    }
    let program = ProgramCopy::new(SERVER);
    let cases = [
        ("USER", "nobody", "cannot run children as nobody: only root can"),
        ("NICE", "-1", "cannot run children with nice -1: only root can"),
        ("RLIMIT_NOFILE", "1000000000", "cannot set rlimit_nofile to 1000000000: the hard limit is"),
    ];
    for (option, value, expected) in cases {
        let server = Server::through(&AS_NOBODY, program.path()).env(&format!("PREFORK_{option}"), value);
        server.run().assert_refused(expected);
    }
}

#[test]
fn child_that_cannot_drop_root_exits_before_user_code() {
    if !is_root() {
        return;
    }
    // The producer has already dropped root, so the child cannot change its user.
    let server = Server::new(HOOKS_SERVER).set("produces", "daemon").env("PREFORK_USER", "nobody");
    let outcome = server.set("workers", 1).set("recover", 0).set("log_file", "/dev/null").run();
    let lines = outcome.stderr.join("\n");
    assert!(lines.contains("cannot start: cannot run as user 65534: operation not permitted"), "{lines}");
    assert_eq!(outcome.status.code(), Some(1));
}

#[test]
fn child_with_threads_before_privilege_drop_exits() {
    if preloads() {
        // The template drops privileges before it has threads; a test in `preload.rs` is about threads.
        return;
    }
    let server = Server::new(SERVER).set("boot", "thread").set("workers", 1).set("recover", 0);
    let outcome = server.env("PREFORK_NICE", "5").run();
    let lines = outcome.stderr.join("\n");
    assert!(
        lines.contains("cannot start: cannot change what a child may do: it has other threads"),
        "{lines}"
    );
    assert_eq!(outcome.status.code(), Some(1));
}

#[test]
fn producer_can_set_user_and_group() {
    if !is_root() {
        return;
    }
    let fleet = Server::new(HOOKS_SERVER).set("produces", "daemon").start();
    for child in fleet.first_children() {
        assert!(proc::status_field(child, "Uid").unwrap().starts_with("1\t"));
    }
    fleet.stop();
}

fn in_directory(directory: &Path, server: Server) -> Server {
    let list = |name: &str| directory.join(name).display().to_string();
    server
        .env("PREFORK_LANDLOCK_READ", &format!("{}:/usr:/lib:/lib64:/bin", list("read me")))
        .env("PREFORK_LANDLOCK_WRITE", &list("write"))
}

#[test]
fn landlock_allows_named_paths_only() {
    let directory = public_directory();
    for name in ["read me", "write", "other"] {
        let inner = directory.path().join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "text").unwrap();
    }
    fs::rename(directory.path().join("read me"), directory.path().join("read")).unwrap();
    std::os::unix::fs::symlink("read", directory.path().join("read me")).unwrap();
    let server = in_directory(directory.path(), Server::new(RESTRICTED_SERVER)).env("PREFORK_WORKERS", "2");
    let fleet = server.env("PREFORK_SHUTDOWN_GRACE", "1m").start();
    let addr = fleet.addr();
    let ask =
        |what: &str, name: &str| client::get(addr, &format!("/{what}{}/{name}", directory.path().display()));
    let check = || {
        assert_eq!(ask("read", "read/file"), "ok: 4");
        assert!(ask("write", "read/file").starts_with("refused: Permission denied"));
        assert_eq!(ask("read", "write/file"), "ok: 4");
        assert_eq!(ask("write", "write/new"), "ok: ()");
        assert!(ask("read", "other/file").starts_with("refused: Permission denied"));
        assert!(ask("write", "other/new").starts_with("refused: Permission denied"));
        assert!(client::get(addr, "/read/etc/passwd").starts_with("refused: Permission denied"));
        assert!(client::get(addr, "/list/proc").starts_with("refused: Permission denied"));
        assert!(client::get(addr, "/list/proc/self/fd").starts_with("ok"));
        assert_eq!(client::get(addr, "/read/dev/null"), "ok: 0");
        assert!(client::get(addr, "/run/bin/true").starts_with("ok"));
    };
    check();
    fs::remove_file(directory.path().join("write/new")).unwrap();
    let before = fleet.children();
    fleet.signal(Signal::SIGUSR2);
    fleet.console.wait_for("reloaded: every child is of generation 1");
    fleet.wait_for_children(2, &before);
    check();
    for child in fleet.children() {
        assert_eq!(proc::status_field(child, "NoNewPrivs").as_deref(), Some("1"));
    }
    fleet.stop();
}

#[test]
fn landlock_and_user_options_apply_together() {
    if !is_root() {
        return;
    }
    let server = Server::new(RESTRICTED_SERVER).env("PREFORK_LANDLOCK_READ", "/etc");
    check_runs_as_nobody(server.env("PREFORK_REUSEPORT", "true"));
}
