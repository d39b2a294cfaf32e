//! Values and types that arrive through `macro_rules!`, in invisible delimiters.
#![deny(warnings)]
#![allow(dead_code)]

macro_rules! server {
    ($name:ident, $listener:ty, $path:ty, $addr:expr, $workers:literal, $grace:literal) => {
        mod $name {
            #[prefork::main(
                addr = $addr,
                workers = $workers,
                shutdown_grace = $grace,
                cert = "cert.pem",
                key = "key.pem",
            )]
            fn serve(_: $listener, _: $path, _: $path) {}
        }
    };
}

server!(app, std::net::TcpListener, &std::path::Path, "127.0.0.1:8080", 4, "5s");

fn main() {}
