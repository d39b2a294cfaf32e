//! Whether a program would start.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;

/// Becomes the program, which checks itself, says what it finds, and exits with 0 or 2. Returns only if that fails.
///
/// The program is always named on the command line: what a running fleet says of itself must not decide what the user of
/// this command executes, and titles replace its arguments.
pub(crate) fn run(program: &[OsString]) -> Failure {
    let Some((program, arguments)) = program.split_first() else {
        return Failure::Usage("name the program: preforkctl check PROGRAM".to_owned());
    };
    let error = Command::new(program).args(arguments).env("PREFORK_CHECK", "1").exec();
    Failure::NotDone(format!("cannot execute {}: {error}", PathBuf::from(program).display()))
}
