#![deny(warnings)]
#![allow(dead_code)]

mod app {
    use std::net::TcpListener;

    /// Serves.
    #[prefork::main(addr = ":8080")]
    pub fn main(ln: TcpListener) -> std::io::Result<()> {
        ln.set_nonblocking(false)
    }
}

mod async_app {
    #[prefork::main]
    pub(crate) async fn main(_: tokio::net::TcpListener) {}
}

fn main() {
    // Both have the visibility of the user's function.
    let _: fn() -> std::process::ExitCode = app::main;
    let _: fn() -> std::process::ExitCode = async_app::main;
}
