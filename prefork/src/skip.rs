//! Reports of tests that this machine cannot run: `.ci/run` lists them at its end. For the unit tests of this
//! crate and, by path, for the crate `prefork-tests`.
#![allow(unreachable_pub, reason = "public in one crate, private in the other")]

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::{env, thread};

/// What a machine may lack: the name, as in `CI_MAY_SKIP`, and a description.
const REASONS: [(&str, &str); 15] = [
    ("root", "only root can change users and the owners of files"),
    ("two-cpus", "the CPUs 0 and 1 are not available"),
    ("ipv6", "the machine has no IPv6"),
    ("privileged-ports", "any user may bind port 81"),
    ("cpu-quota", "no cgroup with a CPU quota can be made"),
    ("namespaces", "no PID and mount namespaces can be made, or other users cannot read the program"),
    ("reuseport-groups", "the system has no reuseport groups that can be steered"),
    ("socket-filters", "no filter can be attached to a listener"),
    ("defer-accept", "the system cannot defer accepting"),
    ("systemd", "systemd's tools are not installed"),
    ("ss", "ss (iproute2) is not installed"),
    ("promtool", "promtool (Debian: prometheus) is not installed"),
    ("browser", "chromium-headless-shell is not installed"),
    ("io-uring", "the system has no io_uring"),
    ("repository", "the package is outside of its repository, which has inputs for this test"),
];

/// What no machine needs: other tests check the same without it, or much of it.
const OPTIONAL: [&str; 3] = ["browser", "promtool", "repository"];

/// Reports that a test cannot run here, or not all of it: `return skipped("ipv6")`.
///
/// Appends a line to the file that `CI_SKIPPED` names, if it is set. Root on Linux can have all that
/// `REASONS` lists, so there the test fails unless `CI_MAY_SKIP` (names, separated by commas) has `name`, or
/// `OPTIONAL` does.
///
/// # Panics
///
/// As root on Linux, as described; if `name` is not in `REASONS`; if the file cannot be written.
#[track_caller]
pub fn skipped(name: &str) {
    let (_, reason) = REASONS.iter().find(|(known, _)| *known == name).expect("a name in REASONS");
    let location = Location::caller();
    let thread = thread::current();
    // Tests run in a thread with their name; the only exception is `--test-threads=1`.
    let test = match thread.name() {
        Some(test) if test != "main" => format!("{} {test}", location.file()),
        _ => location.to_string(),
    };
    eprintln!("skipped: {test}: {reason}");
    if let Some(path) = env::var_os("CI_SKIPPED") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file CI_SKIPPED");
        // One write: tests run side by side.
        file.write_all(format!("{test}: {reason} ({name})\n").as_bytes()).expect("a line in CI_SKIPPED");
    }
    let allowed = OPTIONAL.contains(&name)
        || env::var("CI_MAY_SKIP").is_ok_and(|names| names.split(',').any(|allowed| allowed == name));
    assert!(
        allowed || !is_root_on_linux(),
        "{reason}: root on Linux may not skip this test; set CI_MAY_SKIP={name} if the machine cannot have it"
    );
}

fn is_root_on_linux() -> bool {
    #[cfg(target_os = "linux")]
    return nix::unistd::geteuid().is_root();
    #[cfg(not(target_os = "linux"))]
    false
}
