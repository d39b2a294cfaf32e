mod another_type {
    #[prefork::main]
    fn serve(_: std::net::UdpSocket) {}
}

mod reference {
    #[prefork::main]
    fn serve(_: &std::net::TcpListener) {}
}

mod only_another_argument {
    #[prefork::main]
    fn serve(_: prefork::Shutdown) {}
}

fn main() {}
