//! The unit files say what systemd understands, and are strict. What needs tools from a registry is
//! left to `.ci/run`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use std::process::Command;

#[test]
fn systemd_has_nothing_to_complain_of() {
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/check");
    let output = Command::new(check).arg("systemd").output().unwrap();
    // Also what was skipped.
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
