//! Listeners of every kind, alone and in a tuple.

#![deny(warnings)]
#![allow(dead_code)]

mod unix {
    #[prefork::main(addr = "unix:/run/app.sock", unix_mode = 0o660, unix_owner = "www-data:www-data")]
    fn serve(_: std::os::unix::net::UnixListener) {}
}

mod network {
    #[prefork::main(network = "unix", addr = "@app", unix_mode = "660")]
    async fn serve(_: tokio::net::UnixListener) {}
}

mod pair {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[prefork::main(addr = ["127.0.0.1:80", ADMIN], nodelay, keepalive = "60s", defer_accept = "5s", fastopen = 256)]
    fn serve((web, admin): (TcpListener, UnixListener)) {
        drop((web, admin));
    }

    const ADMIN: &str = "unix:/run/admin.sock";
}

mod any {
    #[prefork::main(addr = ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"])]
    fn serve(_: Vec<prefork::Listener>, _: prefork::Shutdown) {}
}

fn main() {}
