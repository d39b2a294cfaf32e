//! `systemd-analyze` accepts the unit files, and the dashboard is one. The other checks need tools from a registry:
//! `.ci/run` runs them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::process::Command;

use prefork_tests::skip::skipped;

fn check(files: &str) {
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/check");
    let output = Command::new(check).arg(files).output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn unit_files_are_valid() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skipped("systemd");
    }
    check("systemd");
}

#[test]
fn dashboard_is_valid() {
    check("grafana");
}
