mod tokio_in_plain_fn {
    #[prefork::main]
    fn serve(_: tokio::net::TcpListener) {}
}

mod std_in_async_fn {
    #[prefork::main]
    async fn serve(_: std::net::TcpListener) {}
}

mod imported_std_in_async_fn {
    use std::net::TcpListener;

    #[prefork::main]
    async fn serve(_: TcpListener) {}
}

mod imported_tokio_in_plain_fn {
    use tokio::net::TcpListener;

    #[prefork::main]
    fn serve(_: TcpListener) {}
}

fn main() {}
