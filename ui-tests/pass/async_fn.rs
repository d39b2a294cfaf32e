#![deny(warnings)]
#![allow(dead_code)]

mod app {
    #[prefork::main(runtime = "current_thread")]
    async fn serve(ln: tokio::net::TcpListener, stop: prefork::Shutdown) -> std::io::Result<()> {
        drop(ln);
        stop.await;
        Ok(())
    }
}

mod imported {
    use tokio::net::TcpListener;

    #[prefork::main(runtime = prefork::Runtime::MultiThread)]
    pub async fn serve(_: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
        std::future::pending().await
    }
}

fn main() {}
