//! The user's items can have the names of standard items.
#![deny(warnings)]
#![allow(dead_code, non_camel_case_types, unused_imports, unused_macros)]

mod app {
    pub struct Result;
    pub struct Option;
    pub enum Mine {
        Ok,
        Err,
        Some,
        None,
    }
    pub use Mine::*;

    mod std {}
    mod core {}
    mod alloc {}
    mod prefork {}
    mod log {}
    mod __private {}

    pub struct Prefork;
    pub struct Duration;
    pub struct ExitCode;
    pub enum Network {}
    type u64 = ();
    type u32 = ();
    type bool = ();

    macro_rules! compile_error {
        () => {};
    }

    fn listener() {}
    fn argument() {}
    fn call() {}
    fn no_init() {}

    #[::prefork::main(
        network = "tcp4",
        reuseport,
        recover = {
            let __listener = 7;
            __listener
        },
        recover_window = "60s",
        shutdown_grace = "250ms",
    )]
    fn serve(_: ::std::net::TcpListener, _: ::prefork::Shutdown) {}
}

fn main() {}
