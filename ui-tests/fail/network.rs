mod almost {
    #[prefork::main(network = "TCP4")]
    fn serve(_: std::net::TcpListener) {}
}

mod another {
    #[prefork::main(network = "udp")]
    fn serve(_: std::net::TcpListener) {}
}

mod v6_address {
    #[prefork::main(addr = "[::1]:8080", network = "tcp4")]
    fn serve(_: std::net::TcpListener) {}
}

mod v4_address {
    #[prefork::main(network = "tcp6", addr = "127.0.0.1:8080")]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
