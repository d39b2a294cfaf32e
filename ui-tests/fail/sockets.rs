mod addresses {
    #[prefork::main(addr = ["127.0.0.1:80", "localhost", 80, "unix:app.sock"])]
    fn serve(_: Vec<prefork::Listener>) {}
}

mod no_address {
    #[prefork::main(addr = [])]
    fn serve(_: Vec<prefork::Listener>) {}
}

mod host_as_path {
    #[prefork::main(network = "unix", addr = "127.0.0.1:80")]
    fn serve(_: std::os::unix::net::UnixListener) {}
}

mod mode {
    #[prefork::main(unix_mode = 660)]
    fn serve(_: std::os::unix::net::UnixListener) {}
}

mod sticky {
    #[prefork::main(unix_mode = 0o1777)]
    fn serve(_: std::os::unix::net::UnixListener) {}
}

mod letters {
    #[prefork::main(unix_mode = "rw-rw----", unix_owner = "")]
    fn serve(_: std::os::unix::net::UnixListener) {}
}

mod tcp {
    #[prefork::main(nodelay = 1, keepalive = "10ms", defer_accept = 5, fastopen = 0)]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
