//! The next release of `canary_server`, which fails one request in ten.

use std::process::ExitCode;

fn main() -> ExitCode {
    prefork_tests::judged::main(Some(10))
}
