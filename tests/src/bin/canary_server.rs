//! A server whose new children are judged; see `judged.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    prefork_tests::judged::main(None)
}
