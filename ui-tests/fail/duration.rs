mod not_a_duration {
    #[prefork::main(recover_window = "60", recover_interval = "soon", shutdown_grace = "5 parsecs")]
    fn serve(_: std::net::TcpListener) {}
}

mod out_of_range {
    #[prefork::main(recover_window = "0s", shutdown_grace = "366days", start_timeout = "", hang_timeout = "10ms", keepalive = "10h")]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
