mod not_async {
    #[prefork::main(runtime = "current_thread")]
    fn serve(_: std::net::TcpListener) {}
}

mod unknown {
    #[prefork::main(runtime = "multithread")]
    async fn serve(_: tokio::net::TcpListener) {}
}

mod not_a_name {
    #[prefork::main(runtime = 4)]
    async fn serve(_: tokio::net::TcpListener) {}
}

fn main() {}
