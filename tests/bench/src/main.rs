//! Measures prefork beside what users would pick instead, in one run on one machine. See `tests/README.md`.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("The figures are read from /proc: run it on Linux.");
}
