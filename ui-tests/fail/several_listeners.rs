mod side_by_side {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[prefork::main(addr = ["127.0.0.1:80", "unix:/run/app.sock"])]
    fn serve(_: TcpListener, _: UnixListener) {}
}

mod of_other_kind {
    use std::net::TcpListener;

    #[prefork::main(addr = ["127.0.0.1:80", "127.0.0.1:81"])]
    fn serve(_: (TcpListener, std::net::UdpSocket)) {}
}

fn main() {}
