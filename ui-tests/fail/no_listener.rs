mod nothing {
    #[prefork::main]
    fn serve() {}
}

mod nothing_async {
    #[prefork::main]
    async fn run() -> std::io::Result<()> {
        Ok(())
    }
}

mod not_first {
    #[prefork::main]
    fn serve(_: prefork::Shutdown, _ln: std::net::TcpListener) {}
}

fn main() {}
