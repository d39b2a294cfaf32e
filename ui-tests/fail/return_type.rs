mod plain {
    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> Option<Vec<u8>> {
        None
    }
}

mod asynchronous {
    #[prefork::main]
    async fn serve(_: tokio::net::TcpListener) -> std::io::Result<usize> {
        Ok(1)
    }
}

mod error_without_debug {
    pub struct Error;

    #[prefork::main]
    pub fn serve(_: std::net::TcpListener) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
