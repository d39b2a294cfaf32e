mod empty {
    #[prefork::main(addr = "")]
    fn serve(_: std::net::TcpListener) {}
}

mod no_port {
    #[prefork::main(addr = "127.0.0.1")]
    fn serve(_: std::net::TcpListener) {}
}

mod only_a_port {
    #[prefork::main(addr = "8080")]
    fn serve(_: std::net::TcpListener) {}
}

mod port_is_a_name {
    #[prefork::main(addr = "localhost:http")]
    fn serve(_: std::net::TcpListener) {}
}

mod port_out_of_range {
    #[prefork::main(addr = "127.0.0.1:65536")]
    fn serve(_: std::net::TcpListener) {}
}

mod no_brackets {
    #[prefork::main(addr = "::1:8080")]
    fn serve(_: std::net::TcpListener) {}
}

mod v6_without_port {
    #[prefork::main(addr = "[::1]")]
    fn serve(_: std::net::TcpListener) {}
}

mod not_v6 {
    #[prefork::main(addr = "[127.0.0.1]:80")]
    fn serve(_: std::net::TcpListener) {}
}

mod not_v4 {
    #[prefork::main(addr = "127.0.0.256:80")]
    fn serve(_: std::net::TcpListener) {}
}

mod star {
    #[prefork::main(addr = "*:80")]
    fn serve(_: std::net::TcpListener) {}
}

mod url {
    #[prefork::main(addr = "http://127.0.0.1:80")]
    fn serve(_: std::net::TcpListener) {}
}

mod path {
    #[prefork::main(addr = "unix:server.sock")]
    fn serve(_: std::net::TcpListener) {}
}

mod space {
    #[prefork::main(addr = "local host:80")]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
